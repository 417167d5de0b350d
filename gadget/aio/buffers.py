"""Page-aligned memory that the kernel can be given, and that cannot go away while the kernel has it."""

from __future__ import annotations

import mmap

from gadget.errors import UsageError


def allocate(size: int) -> mmap.mmap:
    """Returns zeroed, page-aligned, anonymous memory of at least ``size`` bytes.

    The length is rounded up to whole pages of this machine (4096 bytes on most, 16384 on a Raspberry Pi 5), which
    also satisfies O_DIRECT. Closing it while an operation is in flight raises ``BufferError``: the operation holds
    an export of it.

    Raises:
        UsageError: ``size`` is less than one.
    """
    if size < 1:
        raise UsageError(f"a buffer of {size} bytes: a buffer has at least one byte")
    return mmap.mmap(-1, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)


class Pieces:
    """One allocation, cut into equal pieces: the buffers that a stream keeps in flight.

    Args:
        count: How many pieces.
        size: Bytes in each.

    Attributes:
        size: Bytes in each.
        views: The pieces.
    """

    def __init__(self, count: int, size: int) -> None:
        if count < 1 or size < 1:
            raise UsageError(f"{count} buffers of {size} bytes: both must be at least 1")
        self.size = size
        self.memory = allocate(count * size)
        whole = memoryview(self.memory)
        self.views = [whole[start : start + size] for start in range(0, count * size, size)]

    def replace(self, number: int, memory: mmap.mmap) -> memoryview:
        """Puts other memory in the place of a piece, and returns the piece, which is the caller's now.

        The first allocation lives as long as any of the pieces that were cut from it.
        """
        given, self.views[number] = self.views[number], memoryview(memory)[: self.size]
        return given
