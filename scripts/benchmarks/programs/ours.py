"""The device written with this package, as its examples are: ``ours.py UDC MODE SIZE DEPTH SERIAL``."""

import asyncio
import struct
import sys
from collections.abc import Callable

from benchmarks.programs import ANSWER, ANSWER_BYTES, COUNTS, PRODUCT_ID, TAKE, VENDOR_ID
from gadget import BulkIn, BulkOut, Function, Gadget, Setup, vendor_in, vendor_out

#: What a program that has much to send hands over at once, at least; write() takes it apart.
LEAST_BLOCK = 65536


def make(mode: str, size: int, depth: int) -> type[Function]:
    """The device for one mode, with transfers of this size."""

    class Benchmark(Function):
        rx = BulkOut(transfer_size=size, depth=depth)
        tx = BulkIn(transfer_size=size, depth=depth)

        async def run(self) -> None:
            if mode == "in":
                block = bytes(max(depth * size, LEAST_BLOCK))
                while True:
                    await self.tx.write(block)
            elif mode == "out":
                async for _ in self.rx:
                    pass
            elif mode == "echo":
                async for data in self.rx:
                    await self.tx.write(data)

        @vendor_in(request=ANSWER)
        async def answer(self, setup: Setup) -> bytes:
            return ANSWER_BYTES

        @vendor_out(request=TAKE)
        async def take(self, setup: Setup, data: memoryview) -> None:
            pass

        @vendor_in(request=COUNTS)
        async def counts(self, setup: Setup) -> bytes:
            return struct.pack("<QQ", self.rx.counters.bytes, self.tx.counters.bytes)

    return Benchmark


async def served(make: Callable[[str, int, int], type[Function]]) -> None:
    """Serves it as the arguments of the program say, until SIGTERM."""
    udc, mode, size, depth, serial = sys.argv[1:]
    device = Gadget(
        make(mode, int(size), int(depth))(),
        name=f"bench-ours-{udc}",
        vendor_id=VENDOR_ID,
        product_id=PRODUCT_ID,
        product="benchmark",
        serial_number=serial,
    )
    await device.serve(udc)


if __name__ == "__main__":
    asyncio.run(served(make))
