"""A terminal of the kernel's serial functions, ``/dev/ttyGS0``: raw, and open for as long as its host is there.

The kernel hangs the terminal up when the host goes (``u_serial.c``, gserial_disconnect): what is open then is of no use
any more, and has to be opened again. Nothing tells when the host comes, but that there is room for data then.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import struct
import termios
import time
import tty
from pathlib import Path
from types import TracebackType
from typing import Self

from gadget.errors import ClosedError, DisconnectedError, HostNotReadingError, KernelError

#: What one read takes at most; n_tty has no more (``n_tty.c``, N_TTY_BUF_SIZE).
READ_SIZE = 4096

#: ``asm-generic/ioctls.h``; the termios module does not have them.
_TIOCSBRK, _TIOCCBRK = 0x5427, 0x5428

#: How the kernel says that a terminal was hung up.
_HUNG_UP = frozenset({errno.EIO, errno.ENODEV, errno.ENXIO})


class Terminal:
    """One opening of a terminal, non-blocking and raw.

    Args:
        path: Its node.
        fd: A file that is open already, to be used in its place.

    Attributes:
        fd: The open file.

    Raises:
        KernelError: It cannot be opened.
    """

    _was_hung_up = False

    def __init__(self, path: Path, fd: int | None = None) -> None:
        self.path = path
        self.fd = _open(path) if fd is None else fd
        os.set_blocking(self.fd, False)
        try:
            make_raw(self.fd)
        except termios.error as error:
            self.close()
            raise self._gone() from error

    @property
    def is_hung_up(self) -> bool:
        """Whether the host has gone since this was opened."""
        return self.fd < 0 or bool(self._ready(0) & (select.POLLHUP | select.POLLERR))

    @property
    def is_connected(self) -> bool:
        """Whether the host has configured the device and there is room for data, which comes with that."""
        ready = self._ready(select.POLLOUT) if self.fd >= 0 else 0
        return bool(ready & select.POLLOUT) and not ready & select.POLLHUP

    def _ready(self, events: int) -> int:
        return self.wait(events, 0)

    def wait(self, events: int, seconds: float | None) -> int:
        """Waits in poll(2) for events, or a hang-up; returns what there is.

        Args:
            events: POLLIN, POLLOUT.
            seconds: For how long at most; None is for ever.
        """
        poll = select.poll()
        poll.register(self._open(), events)
        ready = poll.poll(None if seconds is None else max(0, int(seconds * 1000)))
        return ready[0][1] if ready else 0

    def _open(self) -> int:
        if self.fd < 0:
            raise self._gone() if self._was_hung_up else ClosedError(f"{self.path} was closed")
        return self.fd

    def read(self, size: int = READ_SIZE) -> bytes:
        """What has arrived; nothing if nothing has.

        Raises:
            DisconnectedError: The host has gone.
        """
        try:
            data = os.read(self._open(), size)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise self._error(error) from error
        if not data:  # A terminal that was hung up is at its end.
            raise self._gone()
        return data

    def write(self, data: bytes | memoryview) -> int:
        """Writes what there is room for, and returns how much that was.

        Raises:
            DisconnectedError: The host has gone.
        """
        try:
            return os.write(self._open(), data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._error(error) from error

    @property
    def unsent(self) -> int:
        """Bytes that the kernel has not given to the controller.

        Raises:
            DisconnectedError: The host has gone.
        """
        try:
            (count,) = struct.unpack("i", fcntl.ioctl(self._open(), termios.TIOCOUTQ, bytes(4)))
        except OSError as error:
            raise self._error(error) from error
        return int(count)

    def set_break(self, on: bool) -> None:
        """Begins or ends a break, for the host to see.

        Raises:
            DisconnectedError: The host has gone.
        """
        try:
            fcntl.ioctl(self._open(), _TIOCSBRK if on else _TIOCCBRK)
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> Exception:
        if error.errno in _HUNG_UP:
            return self._gone()
        code = error.errno or errno.EIO
        return KernelError(code, f"{self.path}: {os.strerror(code)}", str(self.path))

    def _gone(self) -> DisconnectedError:
        return DisconnectedError(f"{self.path}: the host has gone; what is open has to be opened again")

    def detach(self) -> int:
        """Gives the open file away, for the caller to close, since it was hung up."""
        fd, self.fd, self._was_hung_up = self._open(), -1, True
        return fd

    def close(self) -> None:
        """Closes it. Idempotent.

        The kernel waits for a host that is there and does not read, for fifteen seconds at most (``u_serial.c``,
        gs_close).
        """
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        code = error.errno or errno.EIO
        raise KernelError(code, f"cannot open {path}: {os.strerror(code)}", str(path)) from error


def make_raw(fd: int) -> None:
    """Every byte passes as it is, and nothing is echoed."""
    tty.setraw(fd, termios.TCSANOW)
    settings = termios.tcgetattr(fd)
    settings[0] &= ~(termios.IGNBRK | termios.PARMRK | termios.INLCR | termios.IGNCR | termios.IXOFF | termios.IXANY)
    termios.tcsetattr(fd, termios.TCSANOW, settings)


class TerminalFile:
    """The same as a plain file for programs without an event loop: its calls block, each for a time.

    What arrives before it is raw, at its first opening, is echoed, as on every terminal. Open it before the host sees
    the device, or use :class:`~gadget.classes.acm.AcmPort`, which does.

    Args:
        path: The node, as :attr:`Acm.terminal <gadget.kernel_functions.Acm.terminal>` says it.
        timeout: Seconds that any call may wait; None is for ever.

    Raises:
        KernelError: It cannot be opened.
    """

    def __init__(self, path: Path | str, timeout: float | None = 10.0) -> None:
        self.timeout = timeout
        self._terminal = Terminal(Path(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """The file descriptor, which is non-blocking."""
        return self._terminal.fd

    @property
    def is_connected(self) -> bool:
        """Whether the host has configured the device."""
        return self._terminal.is_connected

    def wait_host(self) -> None:
        """Waits until the host has configured the device; opens the terminal anew if it was hung up.

        Raises:
            HostNotReadingError: It did not within ``timeout`` seconds.
        """
        if self._terminal.is_hung_up:
            self._terminal.close()
            self._terminal = Terminal(self._terminal.path)
        if not self._terminal.wait(select.POLLOUT, self.timeout) & select.POLLOUT:
            message = f"{self._terminal.path}: no host has configured the device within {self.timeout} s"
            raise HostNotReadingError(message)

    def read(self, size: int = READ_SIZE) -> bytes:
        """Waits for data, and returns what has arrived; nothing if nothing did within ``timeout`` seconds.

        Raises:
            DisconnectedError: The host has gone: :meth:`wait_host` waits until it is back.
        """
        self._terminal.wait(select.POLLIN, self.timeout)
        return self._terminal.read(size)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Writes all of it.

        Raises:
            DisconnectedError: The host has gone.
            HostNotReadingError: It did not take it within ``timeout`` seconds.
        """
        left = memoryview(data).cast("B")
        deadline = None if self.timeout is None else time.monotonic() + self.timeout
        while left:
            seconds = None if deadline is None else deadline - time.monotonic()
            if seconds is not None and seconds <= 0:
                message = f"{self._terminal.path}: the host did not take {len(left)} bytes within {self.timeout} s"
                raise HostNotReadingError(f"{message}; does a program have the port open there, and read?")
            self._terminal.wait(select.POLLOUT, seconds)
            left = left[self._terminal.write(left) :]

    def send_break(self, seconds: float = 0.25) -> None:
        """A break, for the host to see."""
        self._terminal.set_break(True)
        time.sleep(seconds)  # The length of a break is all that it says.
        self._terminal.set_break(False)

    def close(self) -> None:
        """Closes it, which has to be before the gadget goes down.

        The kernel waits for a host that is there and does not read, for fifteen seconds at most.
        """
        self._terminal.close()
