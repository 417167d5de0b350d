"""Splices: a thread of the extension moves data between streams, or between a stream and a file, without Python.

What happens per transfer is in ``_splice.c``. Nothing here knows an event loop: a stream's ``on_change`` is called when
the splice has ended.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gadget.aio._aio import ffi, lib
from gadget.aio.operation import File
from gadget.aio.streams import ReadStream, WriteStream
from gadget.errors import EndpointBusyError, KernelError, UsageError

if TYPE_CHECKING:
    from gadget.aio._aio import IntPointer, SplicePointer, SpliceState

#: Splices whose thread did not end in time: it may still use their memory, so they live on.
_abandoned: set[RunningSplice] = set()

#: /dev/null, /dev/zero, /dev/full and /dev/urandom (Documentation/admin-guide/devices.txt): they never block.
_NEVER_BLOCKING: Final = frozenset({os.makedev(1, 3), os.makedev(1, 5), os.makedev(1, 7), os.makedev(1, 9)})
_UNLIMITED: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class OwnFile:
    """A descriptor of its own for a file that somebody else may close, or use, meanwhile.

    Attributes:
        fd: The descriptor.
        kind: How it can be used without blocking.
    """

    fd: int
    kind: int

    @classmethod
    def of(cls, file: File, *, writing: bool = False) -> OwnFile:
        """Opens one. The flags of the file that was given stay as they are.

        Raises:
            UsageError: Using it might block for ever: a terminal, or another device, without O_NONBLOCK.
            OSError: It is not open, or cannot be opened again.
        """
        fd = file if isinstance(file, int) else file.fileno()
        status = os.fstat(fd)
        if stat.S_ISFIFO(status.st_mode):
            return cls(_reopen(fd, os.O_WRONLY if writing else os.O_RDONLY), lib.KAIO_NONBLOCKING)
        if stat.S_ISSOCK(status.st_mode):
            kind = lib.KAIO_SOCKET
        elif stat.S_ISREG(status.st_mode) or stat.S_ISBLK(status.st_mode) or _never_blocks(status):
            kind = lib.KAIO_FILE
        elif os.get_blocking(fd):
            raise UsageError(f"a splice would block on {file!r}: open it with O_NONBLOCK")
        else:
            kind = lib.KAIO_NONBLOCKING
        return cls(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 0), kind)


def _never_blocks(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev in _NEVER_BLOCKING


def _reopen(fd: int, mode: int) -> int:
    """A pipe's open file description is shared with other processes, so it is not the place for O_NONBLOCK."""
    try:
        return os.open(f"/proc/self/fd/{fd}", mode | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:  # fs/pipe.c, fifo_open: a named pipe that nobody reads
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from None
        raise


class RunningSplice:
    """A splice from its start on: its thread runs until it has ended, whatever its user does.

    The streams are the splice's until then, and their users must leave them alone.

    Attributes:
        eventfd: What it was given: to be watched, or used again, when the splice has ended.

    Args:
        source: A stream that was started, or a file.
        target: The same; one of the two is a stream, and if both are, they are of one context.
        eventfd: A blocking one, for the completions of the streams.
        first: Bytes that go before those of the source.
        count: How many bytes to move at most.

    Raises:
        EndpointBusyError: Another splice has one of the streams.
        KernelError: There is no memory, or no thread, for it.
    """

    def __init__(
        self,
        source: ReadStream | OwnFile,
        target: WriteStream | OwnFile,
        eventfd: int,
        first: bytes = b"",
        count: int | None = None,
    ) -> None:
        _bury()
        #: What the thread uses stays allocated until it has ended.
        self._used: object = (source, target, pin := ffi.from_buffer(first))
        self.eventfd = eventfd
        self._state: SpliceState = ffi.new("kaio_splice_state *")
        error: IntPointer = ffi.new("int *")
        file = next((side for side in (source, target) if isinstance(side, OwnFile)), None)
        self._pointer: SplicePointer | None = lib.kaio_splice_start(
            source._open() if isinstance(source, ReadStream) else ffi.NULL,
            target._open() if isinstance(target, WriteStream) else ffi.NULL,
            file.fd if file else -1,
            file.kind if file else lib.KAIO_FILE,
            eventfd,
            pin,
            len(first),
            _UNLIMITED if count is None else count,
            error,
        )
        if not self._pointer:
            if file:
                os.close(file.fd)
            raise _start_error(error[0])

    def _look(self) -> SpliceState:
        # None of these calls takes a lock: a forked child, which has no such thread, cannot hang in one.
        if self._pointer is not None:
            lib.kaio_splice_get_state(self._pointer, self._state)
        return self._state

    @property
    def state(self) -> SpliceState:
        """How far it has come; see ``kaio_splice_state`` in ``_aio.h``."""
        return self._look()

    @property
    def ended(self) -> bool:
        """Whether its streams are their users' again."""
        return bool(self._look().ended)

    def stop(self) -> None:
        """Asks it to end. What it has not taken from its source stays there."""
        if self._pointer is not None:
            lib.kaio_splice_stop(self._pointer)

    def close(self) -> bool:
        """Forgets it. Does not wait: if the thread still runs, everything that it uses stays allocated.

        Returns:
            Whether the thread has ended, so that the eventfd can be watched or used again.
        """
        if self._pointer is None:
            return True
        if not self._look().ended:
            self.stop()
            _abandoned.add(self)
            return False
        pointer, self._pointer = self._pointer, None
        lib.kaio_splice_close(pointer)
        self._used = None
        _abandoned.discard(self)
        return True


def _bury() -> None:
    """Closes those that were abandoned and have ended since."""
    for splice in [splice for splice in _abandoned if splice.ended]:
        splice.close()


def _start_error(code: int) -> Exception:
    if code == errno.EBUSY:
        return EndpointBusyError("another splice uses this stream")
    return KernelError(code, f"cannot start a splice: {os.strerror(code)}")
