"""One boot shared by several calls of ``gadget vm``: a process in the background owns the machine.

A client hands over its own standard streams (SCM_RIGHTS), so that the owner moves the bytes between them and
the guest and nothing passes through the client. What is left for the socket are small messages in JSON, one a
packet: the command, signals and window sizes one way, the status the other way.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gadget.errors import UsageError
from gadget.vm.environment import guest_environment
from gadget.vm.errors import CommandNotStartedError, VmError, VmTimeoutError
from gadget.vm.kernel import cache_folder, locked

#: Seconds without a client after which a session ends by itself.
IDLE_LIMIT = 600.0
_MESSAGE_LIMIT = 1024 * 1024

Message = dict[str, Any]


def session_folder() -> Path:
    """Where the sockets and logs of this user's sessions are."""
    folder = cache_folder() / "sessions"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@contextmanager
def session_address(name: str) -> Iterator[str]:
    """The path of a session's socket, through /proc: as a socket's address it may not be longer than 107 bytes."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name):
        raise UsageError(f"session {name!r}: use letters, digits, '_', '.' and '-'")
    descriptor = os.open(session_folder(), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}.socket"
    finally:
        os.close(descriptor)


def send_message(connection: socket.socket, message: Message, descriptors: Sequence[int] = ()) -> None:
    """Sends one message, and descriptors with it."""
    socket.send_fds(connection, [json.dumps(message).encode()], list(descriptors))


def receive_message(connection: socket.socket) -> tuple[Message | None, list[int]]:
    """Waits for a message and its descriptors; None if the other side has gone."""
    data, descriptors, _, _ = socket.recv_fds(connection, _MESSAGE_LIMIT, 3)
    return (json.loads(data) if data else None), descriptors


class SessionCommand:
    """A command in a session's machine."""

    def __init__(self, connection: socket.socket, program: str) -> None:
        self._connection = connection
        self._program = program

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the exit status; see :meth:`gadget.vm.command.Command.wait`."""
        self._connection.settimeout(timeout)
        try:
            message, _ = receive_message(self._connection)
        except TimeoutError:
            raise VmTimeoutError(f"{self._program} still runs after {timeout:g} s") from None
        except ConnectionResetError:
            message = None
        if message is None:
            raise VmError("the session's process ended; the next call starts another one")
        if "errno" in message:
            raise CommandNotStartedError(message["errno"], os.strerror(message["errno"]), self._program)
        if "error" in message:
            raise VmError(message["error"])
        return int(message["exit"])

    def send_signal(self, number: int) -> None:
        """Sends a signal to the command's process group."""
        send_message(self._connection, {"signal": number})

    def resize(self, rows: int, columns: int) -> None:
        """Gives the command's terminal another size."""
        send_message(self._connection, {"resize": [rows, columns]})


@contextmanager
def session_command(
    name: str,
    options: Mapping[str, Any],
    argv: Sequence[str],
    size: tuple[int, int] | None,
    say: Callable[[str], None],
) -> Iterator[SessionCommand]:
    """Starts a command in a session's machine, on our own standard streams; boots the machine if need be.

    Args:
        name: The session's name.
        options: The arguments of :class:`Machine`, as far as JSON can carry them.
        argv: The program and its arguments.
        size: Rows and columns of our terminal, to give the command one; None for plain streams.
        say: Told what takes long.

    Raises:
        UsageError: The session's machine was booted with other options, or shares another folder.
    """
    with _connect_or_boot(name, options, say) as connection:
        environment = guest_environment(os.environ, Path(sys.executable).parent)
        message = {
            "options": dict(options),
            "argv": list(argv),
            "cwd": str(Path.cwd()),
            "environment": environment,
            "size": size,
        }
        send_message(connection, message, (0, 1, 2))
        yield SessionCommand(connection, argv[0])


def stop_session(name: str) -> bool:
    """Ends a session's machine; returns whether there was one."""
    connection = _connect(name)
    if connection is None:
        return False
    with connection:
        send_message(connection, {"stop": True})
        receive_message(connection)
    return True


def _connect(name: str) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with session_address(name) as address:
            connection.connect(address)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    except BaseException:
        connection.close()
        raise
    return connection


def _connect_or_boot(name: str, options: Mapping[str, Any], say: Callable[[str], None]) -> socket.socket:
    connection = _connect(name)
    if connection is not None:
        return connection
    with locked(session_folder()):
        connection = _connect(name)  # Another call may have booted it while we waited.
        if connection is None:
            _boot(name, options, say)
            connection = _connect(name)
    if connection is None:
        raise VmError(f"session {name!r} ended right after its boot; see {session_folder() / name}.log")
    return connection


def _boot(name: str, options: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """Starts the owner in the background and waits until its machine is up."""
    watch, report = os.pipe()
    package_root = str(Path(__file__).resolve().parents[2])
    program = "import sys; sys.path.append(sys.argv[1]); from gadget.vm.session_owner import main; main(*sys.argv[2:])"
    with (session_folder() / f"{name}.log").open("wb") as log:
        subprocess.Popen(
            [sys.executable, "-c", program, package_root, name, json.dumps(dict(options)), str(report)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[report],
            start_new_session=True,
        ).returncode = 0  # It outlives us on purpose, which Popen would complain about.
    os.close(report)
    with open(watch, encoding="utf-8") as lines:  # noqa: PTH123 - a descriptor, not a path
        for line in lines:
            message = json.loads(line)
            if "say" in message:
                say(message["say"])
            elif "error" in message:
                raise VmError(message["error"])
