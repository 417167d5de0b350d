"""The background process of a session: owns the machine and runs its clients' commands."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from gadget.errors import GadgetError, UsageError
from gadget.vm.command import Command
from gadget.vm.errors import CommandNotStartedError, VmError, VmTimeoutError
from gadget.vm.machine import Machine
from gadget.vm.session import Message, receive_message, send_message, session_address, session_folder

#: Seconds without a client after which a session ends by itself.
IDLE_LIMIT = 600.0


class Owner:
    """Serves a machine to clients until it is told to stop, is idle for long, or loses the guest."""

    def __init__(self, name: str, machine: Machine, folder: Path, options: Message, listener: socket.socket) -> None:
        self._name = name
        self._machine = machine
        self._folder = folder
        self._options = options
        self._listener = listener
        self._clients = 0
        self._closed = False
        self._lock = threading.Lock()
        self._stop = os.eventfd(0)  # Unlike threading.Event it can be waited for together with a socket.

    def serve(self) -> None:
        """Takes clients, each in a thread of its own."""
        while True:
            ready, _, _ = select.select([self._listener.fileno(), self._stop], [], [], IDLE_LIMIT)
            if self._stop in ready or (not ready and self._clients == 0):
                return
            if ready:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve_client, args=(connection,), daemon=True).start()

    def _serve_client(self, connection: socket.socket) -> None:
        with self._lock:
            self._clients += 1
        try:
            with connection:
                self._answer(connection)
        except OSError:
            return  # The client left; its command was ended.
        finally:
            with self._lock:
                self._clients -= 1

    def _answer(self, connection: socket.socket) -> None:
        message, descriptors = receive_message(connection)
        try:
            if message is None:
                return
            if "stop" in message:
                self.close()
                send_message(connection, {"exit": 0})
            else:
                self._run(connection, message, descriptors)
        except CommandNotStartedError as error:
            send_message(connection, {"errno": error.errno})
        except GadgetError as error:
            send_message(connection, {"error": str(error)})
            if isinstance(error, VmError):
                self.close(in_order=False)  # The guest is lost; the next call boots another one.
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _run(self, connection: socket.socket, message: Message, descriptors: list[int]) -> None:
        self._check(message)
        size = message["size"]
        command = self._machine.start(
            message["argv"],
            stdin=descriptors[0],
            stdout=descriptors[1],
            stderr=descriptors[2],
            tty=size is not None,
            size=tuple(size) if size else None,
            cwd=Path(message["cwd"]),
            base_env=message["environment"],
        )
        threading.Thread(target=self._listen, args=(connection, command), daemon=True).start()
        send_message(connection, {"exit": command.wait()})

    def _check(self, message: Message) -> None:
        for name, value in message["options"].items():
            if self._options[name] != value:
                raise UsageError(
                    f"this session's machine has {name} {self._options[name]}, not {value}; end it with --stop first"
                )
        cwd = Path(message["cwd"]).resolve()
        if cwd != self._folder and self._folder not in cwd.parents:
            raise UsageError(f"this session's machine shares {self._folder}, not {cwd}; use another --session there")

    @staticmethod
    def _listen(connection: socket.socket, command: Command) -> None:
        """Passes on what the client says; when it goes away, its command is ended."""
        try:
            while True:
                message, _ = receive_message(connection)
                if message is None:
                    break
                if "signal" in message:
                    command.send_signal(message["signal"])
                elif "resize" in message:
                    command.resize(*message["resize"])
        except OSError:
            pass
        if command.returncode is None:
            command.send_signal(signal.SIGHUP)
            try:
                command.wait(2.0)
            except VmTimeoutError:
                command.kill()
            except GadgetError:
                return

    def close(self, *, in_order: bool = True) -> None:
        """Ends the machine; nobody finds the session any more once this returns.

        Args:
            in_order: Nobody needs the guest's console any more; else its log stays.
        """
        with self._lock:
            if not self._closed:
                for kind in ("socket", "log") if in_order else ("socket",):
                    session_folder().joinpath(f"{self._name}.{kind}").unlink(missing_ok=True)
                self._machine.close()
            self._closed = True
        os.eventfd_write(self._stop, 1)


def main(name: str, options: str, report: str) -> None:
    """The owner's process: boots, reports, serves.

    Args:
        name: The session's name.
        options: The arguments of :class:`Machine`, as JSON.
        report: The number of the descriptor on which the first client hears how the boot goes.
    """
    with open(int(report), "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor, not a path

        def tell(kind: str, text: str) -> None:
            print(json.dumps({kind: text}), file=file, flush=True)

        try:
            owner = _become_owner(name, json.loads(options), lambda line: tell("say", line))
        except GadgetError as error:
            tell("error", str(error))
            return
    try:
        owner.serve()
    finally:
        owner.close()


def _become_owner(name: str, options: Message, say: Callable[[str], None]) -> Owner:
    arguments = dict(options)
    kernel = arguments.pop("kernel")
    machine = Machine(**arguments, kernel=Path(kernel) if kernel else None, say=say, show_console=_log)
    machine.open()
    session_folder().joinpath(f"{name}.socket").unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with session_address(name) as address:
        listener.bind(address)
    listener.listen()
    return Owner(name, machine, Path.cwd().resolve(), options, listener)


def _log(data: bytes) -> None:
    os.write(1, data)
