"""Many reads or writes of one file, prepared once and started again and again: the fastest way through Linux AIO.

A call of :meth:`Batch.turn` starts as many operations as it is given offsets, and waits; Python touches none of them by
itself. What happens per operation is in ``_batch.c``.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from gadget.aio._aio import ffi, lib
from gadget.aio.operation import File, Opcode, descriptor
from gadget.aio.pinning import pinned
from gadget.aio.refusal import setup_error, wait_error
from gadget.aio.undrained import Owner, keep, let_go, opened, sweep
from gadget.aio.waiting import Deadline
from gadget.errors import ClosedError, NotDrainedError, UsageError

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from gadget.aio._aio import BatchPointer, BatchReport, IntPointer, VoidPointer

_WITHOUT_END: Final = -1
_OFFSETS: Final = ffi.typeof("int64_t[]")


class Batch(Owner):
    """Reads or writes of one file, each with a buffer of its own that is pinned once.

    One thread at a time may take a turn; a second one is refused, not queued.

    Attributes:
        ended: The numbers of the operations that ended in the last turn, in that order; it returned how many.
        results: The kernel's ``res`` of each operation, by its number: bytes moved, or a negative errno.

    Args:
        file: A file object or descriptor. It has to stay open.
        buffers: One for each operation: anything with a contiguous buffer, writable where it is read into. Its whole
            length in bytes is moved, whatever its items are.
        opcode: ``PREAD`` or ``PWRITE``.
        flags: RWF_* of preadv2(2), for each operation.
        priority: ioprio_set(2)'s value; 0 leaves the thread's own.

    Raises:
        KernelError: EAGAIN: the machine's limit, /proc/sys/fs/aio-max-nr, is reached.
        BufferError: A buffer is read-only and to be read into.
    """

    def __init__(
        self,
        file: File,
        buffers: Sequence[object],
        opcode: Opcode = Opcode.PREAD,
        *,
        flags: int = 0,
        priority: int = 0,
    ) -> None:
        if opcode not in (Opcode.PREAD, Opcode.PWRITE):
            raise UsageError(f"a batch of {opcode!r}: it is of PREAD or PWRITE")
        if not 1 <= len(buffers) <= 65536:
            raise UsageError(f"a batch of {len(buffers)} buffers: there must be 1 to 65536")
        fd = descriptor(file)
        sweep()
        reads = opcode is Opcode.PREAD
        self._pins = [pinned(buffer, reads) for buffer in buffers]
        self._report: BatchReport = ffi.new("kaio_batch_report *")
        # Kept as well as their views, which anybody may release.
        self._arrays = results, ended = ffi.new("int64_t[]", len(buffers)), ffi.new("uint32_t[]", len(buffers))
        self.results = memoryview(ffi.buffer(results)).cast("q").toreadonly()
        self.ended = memoryview(ffi.buffer(ended)).cast("I").toreadonly()
        error: IntPointer = ffi.new("int *")
        self._pointer: BatchPointer | None = lib.kaio_batch_open(len(buffers), self._report, results, ended, error)
        if not self._pointer:
            self._pointer = None
            raise setup_error(error[0])
        try:
            for number, (_, address, length) in enumerate(self._pins):
                lib.kaio_batch_prepare(self._pointer, number, opcode, fd, address, length, flags, priority)
        except BaseException:  # an argument is not what the kernel can be given
            self.close()
            raise
        self._outcome: IntPointer = ffi.new("int *")
        opened(self)

    def _open(self) -> BatchPointer:
        if self._pointer is None:
            raise ClosedError("this batch is closed")
        return self._pointer

    def turn(
        self, offsets: list[int] | tuple[int, ...] | Buffer = (), at_least: int = 1, timeout: float | None = None
    ) -> int:
        """Starts an operation for each offset, those that have ended first first, and waits for some to end.

        At first all are idle, in their order. Those that this returns are idle again: if the next turn starts as many,
        its offsets are for them, one by one.

        Args:
            offsets: Bytes from the start of the file, one for each operation to start: a list or tuple, which is
                fastest, or anything that has a buffer of signed 64-bit integers.
            at_least: How many to wait for, or as many as are in flight if that is less; 0 to look.
            timeout: Seconds to wait for them; None for no limit. A signal does not cut it short unless its handler
                raises.

        Returns:
            How many have ended: fewer than ``at_least`` only when the time is up. :attr:`ended` has their numbers.

        Raises:
            BlockingIOError: Fewer operations are idle than there are offsets. None was started.
            UsageError: Another thread is taking a turn.
        """
        pointer = self._pointer
        if pointer is None:
            raise ClosedError("this batch is closed")
        if timeout is not None:
            return self._turn_within(offsets, at_least, timeout)
        starts = offsets if isinstance(offsets, (list, tuple)) else _packed(offsets)
        count = lib.kaio_batch_turn(pointer, starts, len(starts), at_least, _WITHOUT_END)
        return count if count >= 0 else self._resumed(count, at_least, Deadline(None))

    def _turn_within(self, offsets: list[int] | tuple[int, ...] | Buffer, at_least: int, timeout: float) -> int:
        deadline = Deadline(timeout)
        starts = offsets if isinstance(offsets, (list, tuple)) else _packed(offsets)
        count = lib.kaio_batch_turn(self._open(), starts, len(starts), at_least, deadline.nanoseconds)
        return count if count >= 0 else self._resumed(count, at_least, deadline)

    def _resumed(self, count: int, at_least: int, deadline: Deadline) -> int:
        """Goes on after a signal, whose handler has run on the way here; anything else is an error."""
        while count == -errno.EINTR:
            count = lib.kaio_batch_resume(self._open(), at_least, deadline.nanoseconds)
        if count == -errno.EAGAIN:
            raise BlockingIOError(errno.EAGAIN, "too few operations of this batch are idle: wait for some first")
        if count == -errno.EBUSY:
            raise UsageError("another thread is taking a turn of this batch")
        if count < 0:
            raise wait_error(-count)
        return count

    def run(self, offset: int) -> int:
        """Starts the next idle operation, waits for it and returns the bytes moved: all in one call of the extension.

        Raises:
            OSError: The operation failed.
            BlockingIOError: Something is in flight already.
        """
        pointer = self._pointer
        if pointer is None:
            raise ClosedError("this batch is closed")
        result = lib.kaio_batch_run(pointer, offset, self._outcome)
        return result if result >= 0 else self._ran(result)

    def _ran(self, result: int) -> int:
        if self._outcome[0] != 1:
            self._resumed(result, 1, Deadline(None))
            result = self.results[self.ended[0]]
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return result

    def check(self) -> None:
        """Raises the error of the first operation of the last turn that failed, if any has.

        Raises:
            OSError: This is how it ended.
        """
        if not self._report.failed:
            return
        result = next(result for number in self.ended[: self._report.ended] if (result := self.results[number]) < 0)
        raise OSError(-result, os.strerror(-result))

    @property
    def failed(self) -> int:
        """How many operations of the last turn ended with an error."""
        return self._report.failed

    @property
    def moved(self) -> int:
        """Bytes moved since it was opened."""
        return self._report.bytes

    @property
    def submits(self) -> int:
        """Calls of io_submit since it was opened."""
        return self._report.submits

    @property
    def submitting(self) -> float:
        """Seconds spent in them. On a buffered file this is where reads happen, and where they block."""
        return self._report.submitting / 1e9

    @property
    def in_flight(self) -> int:
        """How many operations are with the kernel, as far as turns have told."""
        return lib.kaio_batch_in_flight(self._open())

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called, or this is a forked child, which has no part in it."""
        return self._pointer is None

    def __len__(self) -> int:
        """How many operations there are."""
        return len(self._pins)

    def cancel(self) -> int:
        """Asks for all operations in flight back; their ends still come, in later turns. From any thread.

        Returns:
            For how many that was agreed to. The kernel does not give reads and writes of regular files back.
        """
        return lib.kaio_batch_cancel(self._open())

    def close(self, timeout: float | None = 2.0) -> None:
        """Cancels what is in flight, waits for it, and lets go of the buffers. Idempotent.

        Raises:
            NotDrainedError: Something was still with the kernel after ``timeout`` seconds. The batch and its buffers
                then live on, since the kernel may still write to them; closing can be tried again.
        """
        deadline = Deadline(timeout)
        if self._pointer is None:
            return
        if self.in_flight:
            self.cancel()
            self._drain(deadline)
        if not self._give_up():
            keep(self)
            raise NotDrainedError(
                errno.ETIMEDOUT, f"{self.in_flight} operations did not complete within {timeout} s of being cancelled"
            )
        self._forget()
        let_go(self)

    def _drain(self, deadline: Deadline) -> None:
        while self.in_flight and deadline.left != 0:
            self.turn((), len(self), deadline.left)

    def _forget(self) -> None:
        self._pointer = None
        self._pins.clear()

    def _ask_back(self) -> None:
        self.cancel()

    def _give_up(self) -> bool:
        return lib.kaio_batch_close(self._open()) == 0


def _packed(offsets: Buffer) -> VoidPointer:
    view = memoryview(offsets)
    if view.format not in ("q", "l") or view.itemsize != 8:
        raise TypeError(f"offsets of format {view.format!r}: a list, or a buffer of signed 64-bit integers ('q')")
    return ffi.from_buffer(_OFFSETS, view)
