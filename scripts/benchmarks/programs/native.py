"""What the work of a gadget takes in Python, without a gadget: ``native.py WHAT COUNT FOLDER DEPTH [COMMAND...]``.

As ``native.c``. WHAT is ``control`` or ``echo``, with the classes that serve a gadget; ``asyncio-control``, the least
that an event loop of asyncio takes for it; or ``splice``, an echo without Python.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.programs.native_requests import ANSWER, EVENT
from gadget.aio import AsyncContext, Context, Gate, ReadStream, WriteStream
from gadget.aio.splice import RunningSplice
from gadget.functionfs.control_endpoint import ControlEndpoint
from gadget.functionfs.ending import Ending
from gadget.functionfs.endpoint import Endpoint
from gadget.functionfs.handlers import Request
from gadget.functionfs.in_endpoint import InEndpoint
from gadget.functionfs.out_endpoint import OutEndpoint
from gadget.protocol.constants import Direction, EventType, Recipient, RequestType
from gadget.protocol.functionfs_format import Setup

SIZE = 4096
MOST = 64


class Quiet:
    """Whom the events of ep0 concern: there are none but requests."""

    def foresee(self, event: EventType) -> None:
        raise AssertionError(event)

    async def report(self, event: EventType) -> None:
        raise AssertionError(event)

    def resume(self) -> None:
        """No transfer was held back."""


async def serve(count: int, eventfd: int, command: list[str]) -> None:
    """Runs the host until it has had its answers."""
    os.set_inheritable(eventfd, True)
    host = await asyncio.to_thread(subprocess.Popen, [*command, str(eventfd)], close_fds=False)
    if await asyncio.to_thread(host.wait):
        raise SystemExit("the host has failed")


async def control(count: int, folder: Path, depth: int, command: list[str]) -> None:
    async def answer(setup: Setup) -> bytes:
        return ANSWER

    request = Request(Direction.IN, RequestType.VENDOR, Recipient.INTERFACE, 1)
    endpoint = ControlEndpoint(folder, {request: answer})
    serving = asyncio.create_task(endpoint.serve(Quiet()))
    await serve(count, endpoint.eventfd, command)
    serving.cancel()
    await asyncio.wait({serving})
    await endpoint.close()


async def asyncio_control(count: int, folder: Path, depth: int, command: list[str]) -> None:
    fd, eventfd = os.open(folder / "ep0", os.O_RDWR | os.O_NONBLOCK), os.eventfd(0, os.EFD_NONBLOCK)

    def ring() -> None:
        os.eventfd_read(eventfd)
        if os.read(fd, 48) == EVENT:
            os.write(fd, ANSWER)

    asyncio.get_running_loop().add_reader(eventfd, ring)
    await serve(count, eventfd, command)


def on_file(endpoint: Endpoint, fd: int, context: AsyncContext, gate: Gate) -> None:
    """Starts an endpoint on a file that is none of FunctionFS, and so knows no descriptor."""
    composite: Any = SimpleNamespace(context=context, controller="a file")
    endpoint._composite, endpoint._fd = composite, fd
    stream = endpoint._open_stream(SIZE)
    stream.on_change = endpoint._on_change
    stream.set_gate(gate)
    endpoint._ending, endpoint._full = Ending(), SIZE
    stream.start(SIZE, joined=True)


def files(folder: Path) -> tuple[int, int]:
    """What is read, and what is written."""
    return os.open(folder / "data", os.O_RDONLY | os.O_DIRECT), os.open("/dev/null", os.O_WRONLY)


async def echo(count: int, folder: Path, depth: int, command: list[str]) -> None:
    context = AsyncContext(2 * MOST)
    rx, tx = OutEndpoint("rx", SIZE, depth), InEndpoint("tx", SIZE, depth)
    gate = Gate(os.eventfd(0, os.EFD_NONBLOCK))
    for endpoint, fd in zip((rx, tx), files(folder), strict=True):
        on_file(endpoint, fd, context, gate)
    left = count * SIZE
    async for data in rx:
        await tx.write(data)
        left -= len(data)
        if left <= 0:
            break
    await context.aclose()


async def splice(count: int, folder: Path, depth: int, command: list[str]) -> None:
    with Context(2 * MOST) as context:
        source_fd, target_fd = files(folder)
        source, target = ReadStream(context, source_fd, depth, SIZE), WriteStream(context, target_fd, depth, SIZE)
        source.start()
        target.start()
        running = RunningSplice(source, target, context._take_eventfd(), count=count * SIZE)
        while not running.ended:
            context.wait(10)
        if running.state.bytes != count * SIZE:
            raise SystemExit(f"it has moved {running.state.bytes} bytes")
        running.close()


DO: dict[str, Callable[..., Any]] = {
    "control": control,
    "asyncio-control": asyncio_control,
    "echo": echo,
    "splice": splice,
}


def main() -> None:
    what, count, folder, depth, *command = sys.argv[1:]
    asyncio.run(DO[what](int(count), Path(folder), int(depth), command))


if __name__ == "__main__":
    main()
