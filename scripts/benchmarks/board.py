"""A controller on one machine and the host on another: ``scripts/bench usb --udc NAME`` and ``--host``.

The machine with the controller listens, on 127.0.0.1 alone, and serves one device at a time, as the host asks it to.
Each line is a JSON value: ``{"serve": NAME, "mode": ..., "size": ..., "serial": ...}`` serves a device, ``{"stop":
true}`` ends that, ``{"now": true}`` and ``{"idle": true}`` ask for the CPU time that it has used. The answer has
``error`` if that failed.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Self

from benchmarks.build import Programs
from benchmarks.clock import Clock, ProcessClock
from benchmarks.devices import DEVICES, Order
from benchmarks.errors import FAILURES, BenchmarkError, told
from benchmarks.host import Host, Slice, wait_gone
from benchmarks.results import Round
from benchmarks.rounds import Method, Side, device_mode, device_size, serials

ADDRESS = "127.0.0.1"
PORT = 7861


class Server:
    """Serves devices on one controller, as it is told.

    Args:
        udc: The controller.
        programs: What was compiled.
    """

    def __init__(self, udc: str, programs: Programs) -> None:
        self._udc = udc
        self._programs = programs
        self._serving = ExitStack()
        self._clock: Clock | None = None

    def serve_forever(self, port: int) -> None:
        """Takes one connection after the other; when one ends, so does what it has served."""
        with self._serving, socket.create_server((ADDRESS, port)) as listening:
            print(f"serving on {self._udc} for whoever connects to {ADDRESS}:{port}", flush=True)
            while True:
                connection, _ = listening.accept()
                with connection, connection.makefile("rw") as stream:
                    for line in stream:
                        stream.write(json.dumps(self._answer(json.loads(line))) + "\n")
                        stream.flush()
                self._answer({"stop": True})

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._obey(request)
        except FAILURES as error:
            return {"error": told(error)}

    def _obey(self, request: dict[str, Any]) -> dict[str, Any]:
        if "serve" in request:
            order = Order(self._udc, request["mode"], request["size"], request["serial"], self._programs)
            pid = self._serving.enter_context(DEVICES[request["serve"]].serve(order))
            self._clock = None if pid is None else ProcessClock(pid)
            return {"clock": self._clock is not None}
        if "stop" in request:
            self._serving.close()
            return {}
        if self._clock is None:
            raise BenchmarkError("nothing is served whose CPU time is known")
        return {"seconds": self._clock.now() if "now" in request else self._clock.idle()}


class Connection:
    """A connection to the machine with the controller; it is also the clock of what is served there."""

    def __init__(self, port: int) -> None:
        try:
            self._socket = socket.create_connection((ADDRESS, port))
        except OSError as error:
            raise BenchmarkError(f"cannot reach scripts/bench usb --udc at {ADDRESS}:{port}: {error}") from error
        self._stream = self._socket.makefile("rw")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stream.close()
        self._socket.close()

    def ask(self, **request: object) -> dict[str, Any]:
        """Has something done there.

        Raises:
            BenchmarkError: It failed there, or the connection did.
        """
        self._stream.write(json.dumps(request) + "\n")
        self._stream.flush()
        if not (line := self._stream.readline()):
            raise BenchmarkError("scripts/bench usb --udc has ended")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise BenchmarkError(f"scripts/bench usb --udc: {answer['error']}")
        return answer

    def now(self) -> float:
        """The CPU time that the device has used, in seconds."""
        return float(self.ask(now=True)["seconds"])

    def idle(self) -> float:
        """The same, once it uses no more."""
        return float(self.ask(idle=True)["seconds"])


class OneController:
    """A controller that is somewhere else, so that the devices have to take turns on it.

    Args:
        host: The host program, on this machine.
        connection: To the other one.
    """

    def __init__(self, host: Host, connection: Connection) -> None:
        self._host = host
        self._connection = connection

    @contextmanager
    def up(self, name: str, mode: str, size: int) -> Iterator[Side]:
        """A device that is served there, and opened by the host here."""
        serial = f"bench-{next(serials)}"
        size_there = device_size(mode, size)
        try:
            answer = self._connection.ask(serve=name, mode=device_mode(mode), size=size_there, serial=serial)
            with self._host.device(serial) as opened:
                yield Side(opened, self._connection if answer["clock"] else None, mode, size)
        finally:
            self._connection.ask(stop=True)
        wait_gone(serial)

    def block(self, name: str, mode: str, size: int, method: Method, number: int) -> Iterator[Round]:
        """Each is served anew for each slice, the competitor between the two."""
        below = DEVICES[name].floor
        for _ in range(min(method.block, method.rounds)):
            seen: list[Slice] = []
            for device in (below, name, below):
                with self.up(device, mode, size) as side:
                    side.run(method)
                    seen.append(side.run(method))
                    side.verify()
            yield Round(seen[1], seen[0], seen[2])
