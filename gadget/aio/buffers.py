"""Page-aligned memory that the kernel can be given, and that cannot go away while the kernel has it."""

from __future__ import annotations

import errno
import mmap
import os
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    return mmap.mmap(-1, _up(size, mmap.PAGESIZE))


def _up(size: int, unit: int) -> int:
    return -(-size // unit) * unit


def _address(memory: mmap.mmap) -> int:
    return int(ffi.cast("uintptr_t", ffi.from_buffer(memory)))


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


def _give_back(free: list[int], number: int, memory: mmap.mmap) -> None:
    """Nobody has a part of a piece any more, of this memory, which has had to be there until now."""
    free.append(number)


class Pieces:
    """Buffers of one size, each page-aligned, cut from one allocation: a pool.

    Left with an exception while the kernel has one of them, it only warns (ResourceWarning): the memory then goes with
    the last that has a part of it.

    Attributes:
        views: All of them. After a :meth:`close` that has failed, some are new ones.

    Args:
        count: How many.
        size: Bytes of each.
        locked: They stay in memory (mlock(2)), so that no operation waits for a page.
        alignment: Each address is a multiple of it, instead of beginning a page: what a file wants is
            ``direct_alignment(file).memory``.

    Raises:
        KernelError: ENOMEM or EPERM: this user may not lock as much.
    """

    def __init__(self, count: int, size: int, *, locked: bool = False, alignment: int | None = None) -> None:
        if count < 1 or size < 1:
            raise UsageError(f"{count} buffers of {size} bytes: both must be at least 1")
        alignment = mmap.PAGESIZE if alignment is None else alignment
        if alignment < 1:
            raise UsageError(f"an alignment of {alignment} bytes: it must be at least 1")
        self._size, self._stride = size, _up(size, alignment)
        self._memory = allocate(count * self._stride + (0 if mmap.PAGESIZE % alignment == 0 else alignment))
        if locked:
            self._lock()
        self._start = -_address(self._memory) % alignment
        self.views = tuple(self._cut(number) for number in range(count))
        self._free = list(reversed(range(count)))

    def _cut(self, number: int) -> memoryview:
        start = self._start + number * self._stride
        with memoryview(self._memory) as whole:
            return whole[start : start + self._size]

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

        What the kernel has, or anybody has a part of, stays taken behind it, until it is let go of: a task that is
        cancelled leaves nobody a buffer that is still written to.

        Raises:
            BlockingIOError: All are taken.
        """
        if not self._free:
            raise BlockingIOError(errno.EAGAIN, f"all {len(self.views)} buffers are taken")
        number = self._free.pop()
        view = self._lend(number)
        try:
            yield view
        finally:
            with suppress(BufferError):  # it was handed to somebody who has it still
                view.release()

    def _lend(self, number: int) -> memoryview:
        """A view by an object of its own, which lives as long as a part of it: then the buffer is free again."""
        address = ffi.cast("char *", _address(self._memory) + self._start + number * self._stride)
        lent = ffi.buffer(address, self._size)
        weakref.finalize(lent, _give_back, self._free, number, self._memory).atexit = False
        return memoryview(lent)

    def close(self) -> None:
        """Gives the memory back, all of it or nothing. Idempotent.

        Raises:
            BufferError: The kernel has one of them, or somebody else a view of it.
        """
        if taken := len(self) - self.free:
            raise BufferError(f"{taken} of {len(self)} buffers are taken: close the pool when they are given back")
        try:
            for view in self.views:
                view.release()
            self._memory.close()
        except BufferError as error:
            self.views = tuple(self._renewed(number) for number in range(len(self)))
            cure = "wait for its operations, release prepared ones and views, and close the pool again"
            raise BufferError(f"a buffer of this pool is in use: {cure} ({error})") from None

    def _renewed(self, number: int) -> memoryview:
        view = self.views[number]
        try:
            len(view)
        except ValueError:  # it was released
            return self._cut(number)
        return view

    def __len__(self) -> int:
        """How many there are."""
        return len(self.views)

    def __enter__(self) -> Pieces:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except BufferError as error:
            if kind is None:
                raise
            with suppress(ResourceWarning):  # where warnings are errors, there is one already
                warnings.warn(f"{self!r} was left open: {error}", ResourceWarning, source=self, stacklevel=2)
