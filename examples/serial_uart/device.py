"""Two serial ports that a CP210x driver drives: a bridge to a pseudo-terminal, and a sensor that speaks NMEA 0183.

On Linux, after ``modprobe cp210x``, the host's driver has to be told these numbers, as root:
``echo 1209 0001 ff > /sys/bus/usb-serial/drivers/cp210x/new_id``.
"""

import asyncio
import os
import pty
from contextlib import suppress
from functools import reduce
from operator import xor
from pathlib import Path

from gadget import Gadget
from gadget.classes.byte_stream import ByteStream
from gadget.classes.cp210x import Cp210x
from gadget.classes.terminal_stream import TerminalStream
from gadget.errors import HostNotReadingError


class Bridge(Cp210x):
    """What a program here writes to the pseudo-terminal, the host reads, and the other way round."""

    async def run(self) -> None:
        master, slave = pty.openpty()
        wire = TerminalStream()
        wire.open(Path(os.ttyname(slave)), master)
        print(f"the bridge ends at {os.ttyname(slave)}", flush=True)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(forward(self.reader, wire))
                tasks.create_task(forward(wire, self.writer))
        finally:
            wire.close()
            os.close(slave)


async def forward(source: ByteStream, sink: ByteStream) -> None:
    while data := await source.read():
        await sink.write(data, timeout=None)


class Thermometer(Cp210x):
    """A measurement a second, while a program on the host has the port open."""

    period = 1.0

    async def run(self) -> None:
        while True:
            await self.wait_open()
            with suppress(HostNotReadingError):
                await self.writer.write(sentence("WIMTW,21.5,C"))
            await asyncio.sleep(self.period)


def sentence(body: str) -> bytes:
    """A sentence with its checksum, the exclusive or of all that is between $ and *."""
    return f"${body}*{reduce(xor, body.encode()):02X}\r\n".encode()


# These numbers are for tests: a product needs its own.
uart = Gadget(Bridge(), Thermometer(), name="serial-uart", vendor_id=0x1209, product_id=0x0001, product="UART")
