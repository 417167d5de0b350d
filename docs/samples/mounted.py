"""A function served by a program without any rights, on what root has prepared."""

import asyncio
import sys

from gadget import Access, BulkIn, BulkOut, Function, Gadget, serve_mounted
from gadget.kernel_functions import Acm, Ffs

FOLDER = "/run/meter"


class Meter(Function):
    """Sends back whatever arrives."""

    rx = BulkOut()
    tx = BulkIn()

    async def run(self) -> None:
        """Serves one generation."""
        async for data in self.rx:
            await self.tx.write(data)


async def prepare() -> None:
    """Run by root: everything but the function itself."""
    access = Access(uid=1000, gid=1000, mode=0o600)
    meter = Ffs(instance="meter", folder=FOLDER, access=access, interface_count=1)
    async with Gadget(meter, Acm(), name="meter").up(bind=False) as device:
        await asyncio.to_thread(input, "Start the other program, then press Enter. ")
        device.bind()
        await asyncio.Event().wait()


async def serve() -> None:
    """Run by user 1000: the function, and nothing else."""
    async with serve_mounted(Meter(), FOLDER):
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(prepare() if sys.argv[1:] == ["prepare"] else serve())
