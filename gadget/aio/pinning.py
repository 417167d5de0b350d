"""Buffers that stay where they are while the kernel has them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from gadget.aio._aio import ffi

if TYPE_CHECKING:
    from gadget.aio._aio import VoidPointer

#: Made once: to parse the type, and to pass a keyword, takes longer than to pin.
BYTES: Final = ffi.typeof("char[]")


def pinned(buffer: object, writable: bool = False) -> tuple[object, VoidPointer, int]:
    """Pins a buffer for as long as the first of these lives; the others are its address and its length in bytes.

    Raises:
        BufferError: It is not contiguous, or read-only and to be written to.
    """
    if type(buffer) is memoryview:
        return pinned_view(buffer, writable)
    pin = ffi.from_buffer(BYTES, buffer, writable)
    return pin, pin, len(pin)


def pinned_view(view: memoryview, writable: bool = False) -> tuple[memoryview, VoidPointer, int]:
    """The same of a memoryview, by another view of what it shows.

    Before Python 3.13, a collector that finds a view in a cycle while something has a pin on the view itself crashes
    (memoryobject.c, memory_clear).
    """
    pin = ffi.from_buffer(BYTES, view, writable)
    return memoryview(view), pin + 0, len(pin)  # a pointer holds nothing, and this makes one faster than a cast


def pinned_vector(buffers: Iterable[object], writable: bool = False) -> tuple[object, VoidPointer, int]:
    """Several, as a vector of readv(2): its address, and how many there are."""
    pins = [pinned(buffer, writable) for buffer in buffers]
    vector: VoidPointer = ffi.new("kaio_iovec[]", [(address, length) for _, address, length in pins])
    return (vector, [held for held, _, _ in pins]), vector, len(pins)
