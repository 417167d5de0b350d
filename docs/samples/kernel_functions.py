"""A measuring device with a protocol of its own, a serial console, and a disk with its manual."""

import asyncio

from gadget import BulkIn, BulkOut, Function, Gadget
from gadget.kernel_functions import Acm, Lun, MassStorage
from gadget.services.identity import machine_serial


class Meter(Function):
    """Answers every question."""

    rx = BulkOut()
    tx = BulkIn()

    async def run(self) -> None:
        """Serves one generation."""
        async for question in self.rx.messages():
            await self.tx.write_message(b"42: " + question)


console = Acm()
manual = MassStorage(luns=(Lun(file="/usr/share/meter/manual.iso", cdrom=True),))
device = Gadget(Meter(), console, manual, product="Meter", serial_number=machine_serial("meter"))


async def main() -> None:
    """Serves it, and greets whoever opens the console."""
    async with device.up():
        await device.wait_configured()
        with console.terminal.open("wb", buffering=0) as terminal:
            terminal.write(b"Meter ready\r\n")
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
