"""What splice() is for, in three functions."""

import asyncio
import socket
from pathlib import Path

from gadget import BulkIn, BulkOut, Function, Splice, splice


class Loopback(Function):
    """Sends back what arrives."""

    rx = BulkOut()
    tx = BulkIn()

    async def run(self) -> None:
        await splice(self.rx, self.tx)


class Bridge(Function):
    """The host talks to a server."""

    rx = BulkOut()
    tx = BulkIn()

    async def run(self) -> None:
        with socket.create_connection(("localhost", 7777)) as server:
            async with asyncio.TaskGroup() as group:
                group.create_task(splice(self.rx, server))
                group.create_task(splice(server, self.tx))


class Download(Function):
    """Sends a file, once a generation."""

    tx = BulkIn()
    file = Path("firmware.bin")

    async def run(self) -> None:
        with self.file.open("rb", buffering=0) as file:
            sending = splice(file, self.tx)
            telling = asyncio.create_task(self.tell(sending))
            try:
                length = await sending
            finally:
                telling.cancel()
        if length % self.tx.packet_size == 0:
            await self.tx.write(b"")
        await self.tx.drain()

    async def tell(self, sending: Splice) -> None:
        while True:
            print(f"{sending.moved} bytes")
            await asyncio.sleep(1)
