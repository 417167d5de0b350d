"""A command in the guest, as this machine sees it: its streams, its signals, its end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from gadget.vm import frames
from gadget.vm.errors import VmTimeoutError

if TYPE_CHECKING:
    from gadget.vm.link import Link


@dataclass(frozen=True)
class Completed:
    """How a command ended.

    Attributes:
        returncode: Its exit status, 128 + N after signal N, as a shell reports it.
        stdout: What it wrote to its standard output, if that was captured, else nothing.
        stderr: The same for its standard error.
    """

    returncode: int
    stdout: bytes = b""
    stderr: bytes = b""


class Source:
    """Where a command's standard input comes from: a file descriptor, read as the guest grants it."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.credit = frames.WINDOW
        self.ended = False

    def read(self) -> bytes:
        """The next bytes, at most a chunk; nothing at the end. Call it when the descriptor is readable."""
        try:
            data = os.read(self.descriptor, min(self.credit, frames.CHUNK))
        except BlockingIOError:
            return b""
        except OSError:  # EIO from a terminal that is gone.
            data = b""
        self.credit -= len(data)
        self.ended = not data
        return data


class Sink:
    """Where one of a command's outputs goes: a file descriptor, written as it becomes writable.

    The descriptor may be shared with other programs, so it is not made non-blocking: ``poll`` says when a
    pipe has room for ``PIPE_BUF`` bytes, and no more is written at once.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.pending = bytearray()
        self.broken = False
        self.ended = False

    def put(self, data: bytes) -> int:
        """Takes bytes; returns how many of them are dropped, because nobody reads any more."""
        if self.broken:
            return len(data)
        self.pending += data
        return 0

    def flush(self) -> int:
        """Writes some of what is pending, once the descriptor is writable; returns how much is gone."""
        try:
            gone = os.write(self.descriptor, self.pending[: select_pipe_buffer()])
        except BlockingIOError:
            return 0
        except OSError:  # EPIPE: the reader left. The command must not wait for it.
            self.broken = True
            gone = len(self.pending)
        del self.pending[:gone]
        return gone


def select_pipe_buffer() -> int:
    """How many bytes a writable pipe surely takes (pipe(7), PIPE_BUF)."""
    return 4096


class Command:
    """A command that was started in the guest.

    Attributes:
        stdin: Its standard input to write to, if it was started with ``stdin=subprocess.PIPE``; close it to end
            the input. None otherwise.
        stdout: Its standard output to read from, if it was started with ``stdout=subprocess.PIPE``.
        stderr: The same for its standard error.
        extra: The same for its file descriptor 3, if it was started with ``extra=subprocess.PIPE``.
    """

    def __init__(self, link: Link, number: int, argv: list[str]) -> None:
        self.argv = argv
        self.stdin: IO[bytes] | None = None
        self.stdout: IO[bytes] | None = None
        self.stderr: IO[bytes] | None = None
        self.extra: IO[bytes] | None = None
        self._link = link
        self._number = number
        self._ended = threading.Event()
        self._status: int | None = None
        self._error: BaseException | None = None
        self._when_done: list[Callable[[], None]] = []

    @property
    def returncode(self) -> int | None:
        """The exit status, or None while the command runs."""
        return self._status

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end of the command; all its output has been handed on by then.

        Args:
            timeout: Seconds to wait; the command goes on if they pass.

        Raises:
            VmTimeoutError: It still runs.
            CommandNotStartedError: The guest could not start it.
            VmError: The guest was lost.
        """
        if not self._ended.wait(timeout):
            raise VmTimeoutError(f"{self.argv[0]} still runs after {timeout:g} s")
        if self._error is not None:
            raise self._error
        assert self._status is not None
        return self._status

    def send_signal(self, number: int) -> None:
        """Sends a signal to the command's process group in the guest."""
        self._link.send(frames.SIGNAL, self._number, payload=bytes([number]))

    def terminate(self) -> None:
        """Asks the command to end (SIGTERM)."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the command (SIGKILL)."""
        self.send_signal(signal.SIGKILL)

    def resize(self, rows: int, columns: int) -> None:
        """Gives the command's terminal another size; does nothing if it has none."""
        self._link.send(frames.RESIZE, self._number, payload=frames.SIZE.pack(rows, columns))

    def _finish(self, status: int | None, error: BaseException | None) -> None:
        """Called by the link, once."""
        self._status, self._error = status, error
        self._ended.set()
        for callback in self._when_done:
            callback()
