"""Calls that block, for files that have no asynchronous form."""

from __future__ import annotations

import errno
import os
import warnings
import weakref
from typing import TYPE_CHECKING

from gadget.aio._aio import ffi, lib
from gadget.errors import ClosedError, KernelError, UsageError

if TYPE_CHECKING:
    from gadget.aio._aio import CallerPointer, IntPointer, VoidPointer


_live: weakref.WeakSet[Caller] = weakref.WeakSet()


class Caller:
    """Makes one blocking read or write at a time, in a thread of the extension that takes neither the GIL nor signals.

    Args:
        room: The most bytes of a call.

    Raises:
        KernelError: There can be no further thread.
    """

    def __init__(self, room: int) -> None:
        error: IntPointer = ffi.new("int *")
        pointer = lib.kaio_caller_open(room, error)
        if not pointer:
            raise KernelError(error[0], f"a thread for blocking calls: {os.strerror(error[0])}")
        self._pointer: CallerPointer | None = pointer
        self._room = room
        self._result: IntPointer = ffi.new("int64_t *")
        self._reads = False
        #: Whether a call was started whose result was not taken.
        self.busy = False
        _live.add(self)

    def _open(self) -> CallerPointer:
        if self._pointer is None:
            raise ClosedError("this caller is closed")
        return self._pointer

    def fileno(self) -> int:
        """An eventfd: it rings when a call has ended whose result :meth:`take` did not find."""
        return lib.kaio_caller_fileno(self._open())

    def read(self, fd: int, size: int, *, within: float = 0) -> bytes | None:
        """Starts read(2).

        Args:
            fd: What to read from.
            size: How many bytes at most.
            within: For so many seconds, this thread may make the call itself, which costs less than to wake the other.
                It is interrupted then, and must be one that can be made anew, as those of ep0 can.

        Returns:
            Its result, if it has ended already; None: it is for :meth:`take`.

        Raises:
            OSError: This is how it has ended already.
        """
        return self._start(fd, False, ffi.NULL, size, within)

    def write(self, fd: int, data: bytes, *, within: float = 0) -> bytes | None:
        """Starts write(2); otherwise as :meth:`read`. Its result is no bytes."""
        return self._start(fd, True, data, len(data), within)

    def _start(self, fd: int, writing: bool, data: VoidPointer | bytes, length: int, within: float) -> bytes | None:
        pointer = self._pointer
        if pointer is None:
            raise ClosedError("this caller is closed")
        if length > self._room:
            raise UsageError(f"a call of {length} bytes: there is room for {self._room}")
        if self.busy:
            raise UsageError("a call is under way already")
        self._reads = not writing
        nanoseconds = int(within * 1e9)
        if nanoseconds and lib.kaio_caller_try(pointer, fd, writing, data, length, nanoseconds, self._result) == 1:
            return b"" if writing and self._result[0] >= 0 else self._ended(pointer)
        lib.kaio_caller_start(pointer, fd, writing, data, length)
        self.busy = True
        return None

    def take(self) -> bytes | None:
        """The result of the call: what was read, no bytes for what was written. None: it has not ended.

        Raises:
            OSError: This is how the call ended.
        """
        pointer = self._open()
        taken = lib.kaio_caller_take(pointer, self._result)
        if taken == 0:
            return None
        if taken < 0:
            raise UsageError("there is no call to take a result of")
        self.busy = False
        return self._ended(pointer)

    def _ended(self, pointer: CallerPointer) -> bytes:
        result = self._result[0]
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return bytes(ffi.buffer(lib.kaio_caller_data(pointer), result)) if self._reads and result else b""

    def close(self) -> None:
        """Ends the thread. Idempotent.

        Raises:
            KernelError: EBUSY: a call is under way. It would go on with a file that may be another one by then.
        """
        if self._pointer is None:
            return
        if self.busy:
            raise KernelError(errno.EBUSY, "a blocking call has not ended")
        pointer, self._pointer = self._pointer, None
        lib.kaio_caller_close(pointer)

    def __del__(self) -> None:
        pointer = getattr(self, "_pointer", None)
        if pointer is None:
            return
        self._pointer = None
        lib.kaio_caller_close(pointer)  # never waits; the thread ends by itself when the call does
        warnings.warn("a Caller was not closed", ResourceWarning, source=self, stacklevel=2)


def _forget_in_child() -> None:
    # A forked child has the handles, but neither the threads nor the right to their locks.
    for caller in list(_live):
        caller._pointer = None


os.register_at_fork(after_in_child=_forget_in_child)
