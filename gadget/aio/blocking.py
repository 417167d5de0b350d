"""Calls that block, for files that have no asynchronous form."""

from __future__ import annotations

import errno
import os
import warnings
from typing import TYPE_CHECKING

from gadget.aio._aio import ffi, lib
from gadget.errors import ClosedError, KernelError, UsageError

if TYPE_CHECKING:
    from gadget.aio._aio import CallerPointer, IntPointer, VoidPointer


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
        self._process = os.getpid()
        self._room = room
        self._result: IntPointer = ffi.new("int64_t *")
        self._reads = False
        #: Whether a call was started whose result was not taken.
        self.busy = False

    def _open(self) -> CallerPointer:
        # A forked child has the handle, but neither the thread nor the right to its lock.
        if self._pointer is None or self._process != os.getpid():
            raise ClosedError("this caller is closed")
        return self._pointer

    def fileno(self) -> int:
        """An eventfd: it rings when a call has ended whose result :meth:`take` did not find."""
        return lib.kaio_caller_fileno(self._open())

    def read(self, fd: int, size: int, *, within: float = 0) -> bool:
        """Starts read(2).

        Args:
            fd: What to read from.
            size: How many bytes at most.
            within: For so many seconds, this thread may make the call itself, which costs less than to wake the other.
                It is interrupted then, and must be one that can be made anew, as those of ep0 can.

        Returns:
            Whether it has ended already.
        """
        return self._start(fd, False, ffi.NULL, size, within)

    def write(self, fd: int, data: bytes | bytearray | memoryview, *, within: float = 0) -> bool:
        """Starts write(2), with a copy of the data; otherwise as :meth:`read`."""
        pin = ffi.from_buffer(data)
        return self._start(fd, True, pin, len(pin), within)

    def _start(self, fd: int, writing: bool, data: VoidPointer, length: int, within: float) -> bool:
        pointer = self._open()
        if length > self._room:
            raise UsageError(f"a call of {length} bytes: there is room for {self._room}")
        if self.busy:
            raise UsageError("a call is under way already")
        self.busy, self._reads = True, not writing
        if within and lib.kaio_caller_try(pointer, fd, writing, data, length, int(within * 1e9)) == 1:
            return True
        lib.kaio_caller_start(pointer, fd, writing, data, length)
        return False

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
        result = self._result[0]
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return bytes(ffi.buffer(lib.kaio_caller_data(pointer), result)) if self._reads and result else b""

    def close(self) -> None:
        """Ends the thread. Idempotent.

        Raises:
            KernelError: EBUSY: a call is under way. It would go on with a file that may be another one by then.
        """
        if self._pointer is None or self._process != os.getpid():
            return
        if self.busy:
            raise KernelError(errno.EBUSY, "a blocking call has not ended")
        pointer, self._pointer = self._pointer, None
        lib.kaio_caller_close(pointer)

    def __del__(self) -> None:
        pointer = getattr(self, "_pointer", None)
        if pointer is None or self._process != os.getpid():
            return
        self._pointer = None
        lib.kaio_caller_close(pointer)  # never waits; the thread ends by itself when the call does
        warnings.warn("a Caller was not closed", ResourceWarning, source=self, stacklevel=2)
