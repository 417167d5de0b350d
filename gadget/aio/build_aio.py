"""Builds the extension ``gadget.aio._aio``: cffi in API mode, on Python's stable ABI."""

from pathlib import Path

from cffi import FFI

HERE = Path(__file__).parent

ffibuilder = FFI()
# The header is the only place where the interface is declared. cffi reads C declarations but no
# preprocessor directives, and needs none of the header's.
ffibuilder.cdef("\n".join(line for line in (HERE / "_aio.h").read_text().splitlines() if not line.startswith("#")))
ffibuilder.set_source(
    "gadget.aio._aio",
    '#include "_aio.h"',
    # setuptools wants paths relative to the project, where it runs this file.
    sources=[f"gadget/aio/_{name}.c" for name in ("batch", "blocking", "context", "splice", "streams")],
    depends=["gadget/aio/_aio.h", "gadget/aio/_ring.h", "gadget/aio/_table.h"],
    include_dirs=["gadget/aio"],
    extra_compile_args=["-std=gnu11", "-O2", "-Wall", "-Wextra", "-pthread", "-fvisibility=hidden"],
    extra_link_args=["-pthread"],
    py_limited_api=True,
)
