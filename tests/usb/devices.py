"""Devices for the tests of this tier."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from gadget import BulkIn, BulkOut, Function, Gadget, Recipient, Setup, Speed, Stall, vendor_in, vendor_out


async def do(what: Callable[[], object]) -> None:
    """Calls it within the loop of a gadget, as in ``served.call(do(gadget.unbind))``."""
    what()


class Echo(Function):
    """As examples/echo/device.py, with requests that a test can look at."""

    interface_string = "Echo"

    rx = BulkOut()
    tx = BulkIn()

    def __init__(self) -> None:
        self.mode = b"plain"
        self.seen: list[Setup] = []
        self.withdrawn = 0
        self.entered = False
        self.allowed = asyncio.Event()

    async def run(self) -> None:
        async for data in self.rx:
            if self.rx.was_short:
                await self.tx.write_message(data)
            else:
                await self.tx.write(data)

    @vendor_in(request=1)
    async def version(self, setup: Setup) -> bytes:
        self.seen.append(setup)
        return b"1.0"

    @vendor_out(request=2)
    async def set_mode(self, setup: Setup, data: memoryview) -> None:
        self.seen.append(setup)
        self.mode = bytes(data)

    @vendor_in(request=3)
    async def get_mode(self, setup: Setup) -> bytes:
        return self.mode

    @vendor_out(request=4)
    async def command(self, setup: Setup, data: memoryview) -> None:
        self.seen.append(setup)
        if setup.value:
            raise Stall

    @vendor_in(request=5)
    async def refuse(self, setup: Setup) -> bytes:
        raise Stall

    @vendor_in(request=6)
    async def never(self, setup: Setup) -> bytes:
        self.entered = True
        try:
            await asyncio.Event().wait()
        finally:
            self.withdrawn += 1
        return b""

    @vendor_in(request=8, recipient=Recipient.DEVICE)
    async def device_wide(self, setup: Setup) -> bytes:
        return b"device"

    @vendor_in(request=10)
    async def obstinate(self, setup: Setup) -> bytes:
        while not self.allowed.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await self.allowed.wait()
        return b"too late"

    @vendor_out(request=9)
    async def ponder(self, setup: Setup, data: memoryview) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.withdrawn += 1

    @vendor_in(request=7)
    async def broken(self, setup: Setup) -> bytes:
        raise ZeroDivisionError("on purpose")


def echo_gadget(function: Echo | None = None, name: str = "test-echo", max_speed: Speed | None = None) -> Gadget:
    """An echo device of its own, at most at this speed."""
    return Gadget(
        function or Echo(),
        name=name,
        vendor_id=0x1D6B,
        product_id=0x0104,
        device_version=0x0234,
        manufacturer="gadget",
        product="Echo \u00fcber USB",
        serial_number="0001",
        max_speed=max_speed,
        max_power_ma=100,
    )
