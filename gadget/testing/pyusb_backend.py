"""A libusb for pyusb that knows the devices of this moment, and leaves no descriptor open behind it.

pyusb keeps one libusb for the life of the process. Where udev runs, it hears of new devices; in a virtual machine or
a container it knows only those that were there when it began. So each test gets one of its own. A libusb may only be
ended when every device that it has handed out is let go, or it crashes the process: it would use memory that it has
freed. pyusb itself leaves that order to chance.
"""

from __future__ import annotations

import ctypes.util
import functools
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: It does not move: looking for it is a process, and a tenth of a second where the machine is emulated.
_find_library = functools.cache(ctypes.util.find_library)

#: Those that cannot be ended yet: something still has a device of them.
_retired: list[Any] = []


@contextmanager
def own_backend() -> Iterator[Any]:
    """A libusb of its own for the length of a ``with`` block; let go of its devices with :func:`let_go`."""
    import usb.backend.libusb1 as module

    before, module._lib_object = module._lib_object, None
    backend = module.get_backend(_find_library)
    module._lib_object = before
    try:
        yield backend
    finally:
        if backend is not None:
            backend.finalize()


def let_go(device: Any) -> None:
    """Gives a ``usb.core.Device`` back to libusb; whoever uses it from then on gets an AttributeError and no crash."""
    device._ctx.dev.finalize()
    device._ctx.backend = None


def forget_backend() -> bool:
    """Ends the process's libusb, so that the next ``usb.core.find`` sees what is there then.

    One of which something still has a device, a fixture of a module for example, is ended by a later call.

    Returns:
        Whether there is no such one.
    """
    module: Any = sys.modules.get("usb.backend.libusb1")
    if module is None:
        return True
    if module._lib_object is not None:
        _retired.append(module._lib_object)
        module._lib_object = None
    if any(_is_in_use(number) for number in range(len(_retired))):
        gc.collect()  # It may be no more than a traceback that nobody sees.
    for number in reversed(range(len(_retired))):
        if not _is_in_use(number):
            _retired.pop(number).finalize()
    return not _retired


def _is_in_use(number: int) -> bool:
    """Whether anything but the list refers to it: each ``usb.core.Device`` does."""
    return sys.getrefcount(_retired[number]) > 2
