"""A libusb for pyusb that knows the devices of this moment, and leaves no descriptor open behind it.

pyusb keeps one libusb for the life of the process. Where udev runs, it hears of new devices; in a virtual machine or a
container it knows only those that were there when it began.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def own_backend() -> Iterator[Any]:
    """A libusb of its own for the length of a ``with`` block."""
    import usb.backend.libusb1 as module

    before, module._lib_object = module._lib_object, None
    backend = module.get_backend()
    module._lib_object = before
    try:
        yield backend
    finally:
        if backend is not None:
            backend.finalize()


def forget_backend() -> None:
    """Ends the process's libusb, so that the next ``usb.core.find`` sees what is there then."""
    module: Any = sys.modules.get("usb.backend.libusb1")
    if module is not None and module._lib_object is not None:
        backend, module._lib_object = module._lib_object, None
        backend.finalize()
