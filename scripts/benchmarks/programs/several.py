"""Devices written with this package, several in one process: ``several.py MODE SIZE DEPTH PAIRS SERIAL UDC...``.

Each has so many pairs of bulk endpoints, and does the same on all of them. The device on the Nth controller has the
serial number SERIAL-N, from 0 on.
"""

import asyncio
import signal
import struct
import sys
from contextlib import AsyncExitStack
from typing import Any

from benchmarks.programs import ANSWER, ANSWER_BYTES, COUNTS, PRODUCT_ID, VENDOR_ID
from gadget import BulkIn, BulkOut, Function, Gadget, InEndpoint, OutEndpoint, Setup, vendor_in

#: How long the host may take to configure a device, in seconds, before it is bound once more; and how often.
PATIENCE, ATTEMPTS = 15.0, 3


class Several(Function):
    """What all of them have in common; a subclass has the endpoints."""

    pairs: int
    mode: str

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self.pairs):
                group.create_task(self.serve(getattr(self, f"rx{number}"), getattr(self, f"tx{number}")))

    async def serve(self, rx: OutEndpoint, tx: InEndpoint) -> None:
        if self.mode == "in":
            block = bytes(16 * tx.transfer_size)
            while True:
                await tx.write(block)
        elif self.mode == "out":
            async for _ in rx:
                pass
        else:
            async for data in rx:
                await tx.write(data)

    @vendor_in(request=ANSWER)
    async def answer(self, setup: Setup) -> bytes:
        return ANSWER_BYTES

    @vendor_in(request=COUNTS)
    async def counts(self, setup: Setup) -> bytes:
        received = sum(getattr(self, f"rx{number}").counters.bytes for number in range(self.pairs))
        sent = sum(getattr(self, f"tx{number}").counters.bytes for number in range(self.pairs))
        return struct.pack("<QQ", received, sent)


def make(mode: str, size: int, depth: int, pairs: int) -> Function:
    """A function with so many pairs of endpoints."""
    attributes: dict[str, Any] = {"mode": mode, "pairs": pairs}
    for number in range(pairs):
        attributes[f"rx{number}"] = BulkOut(transfer_size=size, depth=depth)
        attributes[f"tx{number}"] = BulkIn(transfer_size=size, depth=depth)
    function: Function = type("Made", (Several,), attributes)()
    return function


async def serve(mode: str, size: int, depth: int, pairs: int, serial: str, udcs: list[str]) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with AsyncExitStack() as stack:
        for number, udc in enumerate(udcs):
            device = Gadget(
                make(mode, size, depth, pairs),
                name=f"bench-{serial}-{number}",
                vendor_id=VENDOR_ID,
                product_id=PRODUCT_ID,
                product="benchmark",
                serial_number=f"{serial}-{number}",
            )
            await stack.enter_async_context(device.up(udc))
            await met(device, udc)
        await stop.wait()


async def met(device: Gadget, udc: str) -> None:
    """One device after the other: a host that has to look at several at once gives some of them up, for good."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            async with asyncio.timeout(PATIENCE):
                await device.wait_configured()
            return
        except TimeoutError:
            if attempt == ATTEMPTS:
                raise
            print(f"the host has not configured the device on {udc}: bound again", file=sys.stderr, flush=True)
            device.unbind()
            device.bind(udc)


def main() -> None:
    mode, size, depth, pairs, serial, *udcs = sys.argv[1:]
    asyncio.run(serve(mode, int(size), int(depth), int(pairs), serial, udcs))


if __name__ == "__main__":
    main()
