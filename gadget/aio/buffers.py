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
