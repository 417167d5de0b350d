"""Builds the extension ``gadget.aio._aio``: cffi in API mode, on Python's stable ABI."""

import sysconfig
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).parent

#: The names of linux/aio_abi.h, linux/fs.h and linux/ioprio.h; the compiler knows their values.
CONSTANTS = {
    "IOCB_CMD": "PREAD PWRITE FSYNC FDSYNC POLL NOOP PREADV PWRITEV",
    "IOCB_FLAG": "RESFD IOPRIO",
    "RWF": "HIPRI DSYNC SYNC NOWAIT APPEND NOAPPEND ATOMIC DONTCACHE NOSIGNAL",
    "IOPRIO_CLASS": "NONE RT BE IDLE SHIFT",
}

PARTS = "batch blocking context gates linger memory readers splice step steps streams syscalls wakeup writers"

#: The structs, whose layout (byte order included) the compiler knows.
STRUCTS = """
struct iocb {
    uint64_t aio_data; uint32_t aio_key; int aio_rw_flags; uint16_t aio_lio_opcode; int16_t aio_reqprio;
    uint32_t aio_fildes; uint64_t aio_buf; uint64_t aio_nbytes; int64_t aio_offset; uint32_t aio_flags;
    uint32_t aio_resfd; ...;
};
struct io_event { uint64_t data; uint64_t obj; int64_t res; int64_t res2; ...; };
"""


def declarations(header: str) -> str:
    """What a header of ours declares. cffi reads C declarations but no preprocessor directives, and needs none."""
    return "\n".join(line for line in (HERE / header).read_text().splitlines() if not line.startswith("#"))


ffibuilder = FFI()
for group, names in CONSTANTS.items():
    ffibuilder.cdef("\n".join(f"#define {group}_{name} ..." for name in names.split()))
ffibuilder.cdef(STRUCTS)
# The headers are the only place where the interface is declared.
ffibuilder.cdef(declarations("_abi.h"))
ffibuilder.cdef(declarations("_aio.h"))
ffibuilder.set_source(
    "gadget.aio._aio",
    '#include "_abi.h"\n#include "_aio.h"',
    # setuptools wants paths relative to the project, where it runs this file.
    sources=[f"gadget/aio/_{name}.c" for name in PARTS.split()],
    depends=[f"gadget/aio/_{name}.h" for name in ("abi", "aio", "ring", "steps", "table")],
    include_dirs=["gadget/aio"],
    extra_compile_args=["-std=gnu11", "-O2", "-Wall", "-Wextra", "-pthread", "-fvisibility=hidden"],
    extra_link_args=["-pthread"],
    # Free-threaded interpreters have no stable ABI yet.
    py_limited_api=not sysconfig.get_config_var("Py_GIL_DISABLED"),
)
