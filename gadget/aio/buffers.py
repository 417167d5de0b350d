"""Page-aligned memory that the kernel can be given, and that cannot go away while the kernel has it."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from gadget.aio._aio import ffi, lib
from gadget.aio.operation import File, descriptor
from gadget.errors import KernelError, UnsupportedError, UsageError

if TYPE_CHECKING:
    from gadget.aio._aio import IntPointer


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
    return mmap.mmap(-1, _whole_pages(size))


def _whole_pages(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE


class Alignment(NamedTuple):
    """What O_DIRECT wants, in bytes.

    Attributes:
        memory: A buffer's address is a multiple of it.
        offset: Offsets and lengths are multiples of it.
        known: Whether the file says so itself; else this is what always does.
    """

    memory: int
    offset: int
    known: bool


def direct_alignment(file: File) -> Alignment:
    """What a file wants of buffers and offsets with O_DIRECT (statx(2), STATX_DIOALIGN, since Linux 6.1).

    Raises:
        UnsupportedError: The file says that it has no O_DIRECT.
    """
    fd = descriptor(file)
    memory: IntPointer = ffi.new("uint32_t *")
    offset: IntPointer = ffi.new("uint32_t *")
    if not lib.kaio_direct_alignment(fd, memory, offset):
        return Alignment(mmap.PAGESIZE, max(mmap.PAGESIZE, os.fstat(fd).st_blksize), known=False)
    if not offset[0]:
        raise UnsupportedError(errno.EINVAL, "this file has no O_DIRECT: open it without, or put it elsewhere")
    return Alignment(memory[0], offset[0], known=True)


class Pieces:
    """Buffers of one size, each page-aligned, cut from one allocation: a pool.

    Attributes:
        views: All of them.

    Args:
        count: How many.
        size: Bytes of each.
        locked: They stay in memory (mlock(2)), so that no operation waits for a page.

    Raises:
        KernelError: ENOMEM or EPERM: this user may not lock as much.
    """

    def __init__(self, count: int, size: int, *, locked: bool = False) -> None:
        if count < 1 or size < 1:
            raise UsageError(f"{count} buffers of {size} bytes: both must be at least 1")
        stride = _whole_pages(size)
        self._memory = allocate(count * stride)
        if locked:
            self._lock()
        with memoryview(self._memory) as whole:
            self.views = tuple(whole[start : start + size] for start in range(0, count * stride, stride))
        self._free = list(reversed(self.views))

    def _lock(self) -> None:
        length = len(self._memory)
        result = lib.kaio_lock(ffi.from_buffer(self._memory), length)
        if result < 0:
            self._memory.close()
            cure = "raise RLIMIT_MEMLOCK (ulimit -l), or LimitMEMLOCK= of the service"
            raise KernelError(-result, f"cannot lock {length} bytes: {os.strerror(-result)}; {cure}")

    @property
    def free(self) -> int:
        """How many are not taken."""
        return len(self._free)

    @contextmanager
    def take(self) -> Iterator[memoryview]:
        """One that nobody else has, within a ``with`` statement.

        Raises:
            BlockingIOError: All are taken.
        """
        if not self._free:
            raise BlockingIOError(errno.EAGAIN, f"all {len(self.views)} buffers are taken")
        view = self._free.pop()
        try:
            yield view
        finally:
            self._free.append(view)

    def close(self) -> None:
        """Gives the memory back. Idempotent.

        Raises:
            BufferError: The kernel has one of them, or somebody else a view of it.
        """
        for view in self.views:
            view.release()
        self._memory.close()

    def __len__(self) -> int:
        """How many there are."""
        return len(self.views)

    def __enter__(self) -> Pieces:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
