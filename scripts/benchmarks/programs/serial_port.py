"""A serial port to be measured: ``serial_port.py cp210x|acm|gser in|out UDC SERIAL``.

It says the process whose CPU time counts when it is ready: itself, or the one that uses the kernel's terminal.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gadget import Gadget
from gadget.classes.acm import AcmPort
from gadget.classes.byte_stream import ByteStream
from gadget.classes.cp210x import Cp210x
from gadget.kernel_functions import Gser

VENDOR_ID = 0x1209
#: The host's drivers are told by these which of them is meant.
PRODUCT_IDS = {"cp210x": 0x0001, "acm": 0x0002, "gser": 0x0003}
SIZE = 16384


async def move(stream: ByteStream, mode: str) -> None:
    data = bytes(SIZE)
    while True:
        await (stream.write(data, timeout=None) if mode == "in" else stream.read())


class MovingCp210x(Cp210x):
    mode = ""

    async def run(self) -> None:
        await move(self, self.mode)


class MovingAcm(AcmPort):
    mode = ""

    async def run(self) -> None:
        await move(self.stream, self.mode)


@contextmanager
def cat(terminal: Path, mode: str) -> Iterator[int]:
    """A program in C at the kernel's terminal; its number."""
    fd = os.open(terminal, os.O_RDWR | os.O_NOCTTY)
    try:
        tty.setraw(fd)
        other = os.open("/dev/zero" if mode == "in" else os.devnull, os.O_RDWR)
        source, sink = (other, fd) if mode == "in" else (fd, other)
        program = subprocess.Popen(["cat"], stdin=source, stdout=sink)
        os.close(other)
        yield program.pid
        program.kill()
        program.wait()
    finally:
        os.close(fd)


async def serve_gser(mode: str, udc: str, gadget: Gadget, gser: Gser) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with gadget.up(udc):
        with cat(gser.terminal, mode) as pid:
            print(pid, flush=True)
            await stop.wait()
            # The terminal would not be closed before the host has read all.
            gadget.unbind()


def main() -> None:
    kind, mode, udc, serial = sys.argv[1:]
    MovingCp210x.mode = MovingAcm.mode = mode
    function = {"cp210x": MovingCp210x, "acm": MovingAcm, "gser": Gser}[kind]()
    gadget = Gadget(
        function,
        name=f"bench-{kind}-{udc.replace('.', '-')}",
        vendor_id=VENDOR_ID,
        product_id=PRODUCT_IDS[kind],
        serial_number=serial,
    )
    if isinstance(function, Gser):
        asyncio.run(serve_gser(mode, udc, gadget, function))
    else:
        print(os.getpid(), flush=True)
        gadget.run(udc)


if __name__ == "__main__":
    main()
