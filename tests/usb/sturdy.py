"""A device that has something to say to most of what a host may ask: what the tests of test_unbroken_*.py serve."""

from __future__ import annotations

import asyncio
import contextlib
import struct

from gadget import (
    BulkIn,
    BulkOut,
    DisconnectedError,
    Function,
    Gadget,
    Recipient,
    Setup,
    Stall,
    class_in,
    class_out,
    vendor_in,
    vendor_out,
)

#: The longest answer that the kernel can end: it cuts a longer request to 4096 bytes, and nobody is told how much the
#: host has really asked for, so an answer of 4096 bytes never gets the zero-length packet that would end it.
MOST = 4095
#: What ``how_it_stands`` answers.
STANDING = struct.Struct("<5H")


class Sturdy(Function):
    """Sends back whatever arrives, and answers control requests of every kind.

    Attributes:
        withdrawn: How many requests the host has given up while their handler was waiting.
        sabotage: Raised at the next transfer that arrives.
        returning: Whether ``run`` returns at the next transfer that arrives.
    """

    rx = BulkOut()
    tx = BulkIn()

    def __init__(self) -> None:
        self.stored = b""
        self.withdrawn = 0
        self.waiting = asyncio.Event()
        self.sabotage: BaseException | None = None
        self.returning = False

    async def run(self) -> None:
        async for data in self.rx:
            if self.sabotage is not None:
                raise self.sabotage
            if self.returning:
                return
            if self.rx.was_short:
                await self.tx.write_message(data)
            else:
                await self.tx.write(data)

    # ---- requests of every direction, type and recipient -------------------------------------------------------------

    @vendor_in(1)
    async def as_much_as_asked(self, setup: Setup) -> bytes:
        return b"\xa5" * min(setup.length, MOST)

    @vendor_in(1, Recipient.DEVICE)
    async def as_much_of_the_device(self, setup: Setup) -> bytes:
        return await self.as_much_as_asked(setup)

    @vendor_out(2)
    async def store(self, setup: Setup, data: memoryview) -> None:
        self.stored = bytes(data)

    @vendor_out(2, Recipient.DEVICE)
    async def store_in_the_device(self, setup: Setup, data: memoryview) -> None:
        self.stored = bytes(data)

    @vendor_in(3)
    async def give_back(self, setup: Setup) -> bytes:
        return self.stored

    @class_in(4)
    async def take_your_time(self, setup: Setup) -> bytes:
        for _ in range(setup.value % 8):
            await asyncio.sleep(0)
        return b"\x5a" * min(setup.index, MOST)

    @class_out(4)
    async def take_your_time_with(self, setup: Setup, data: memoryview) -> None:
        for _ in range(setup.value % 8):
            await asyncio.sleep(0)
        self.stored = bytes(data)

    @vendor_in(5, Recipient.ENDPOINT)
    async def of_an_endpoint(self, setup: Setup) -> bytes:
        return bytes([setup.index & 0xFF])

    @vendor_out(6, Recipient.OTHER)
    async def refuse(self, setup: Setup, data: memoryview) -> None:
        raise Stall

    @vendor_in(7)
    async def never(self, setup: Setup) -> bytes:
        """Waits until the host has given up."""
        return await self._never()

    @vendor_out(7)
    async def never_done(self, setup: Setup, data: memoryview) -> None:
        if not data:  # The kernel has acknowledged it, so the host has nothing to give up.
            await self._never()

    async def _never(self) -> bytes:
        self.waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.withdrawn += 1
        return b""

    @vendor_in(8)
    async def broken(self, setup: Setup) -> bytes:
        raise ZeroDivisionError("on purpose")

    @vendor_in(12)
    async def endless(self, setup: Setup) -> bytes:
        """As much as the kernel lets a handler know of; see ``MOST``."""
        return b"\xa5" * setup.length

    @vendor_in(9)
    async def how_it_stands(self, setup: Setup) -> bytes:
        """How many tasks there are, and what is in flight, of which what of an earlier generation."""
        rx, tx = self.rx.counters, self.tx.counters
        return STANDING.pack(len(asyncio.all_tasks()), rx.in_flight, rx.stale, tx.in_flight, tx.stale)

    @vendor_out(10)
    async def fail_within(self, setup: Setup, data: memoryview) -> None:
        """As a handler that uses an endpoint after the host has gone."""
        with contextlib.suppress(DisconnectedError):
            await self.tx.drain()


def sturdy_gadget(function: Sturdy | None = None, name: str = "sturdy") -> Gadget:
    return Gadget(function or Sturdy(), name=name, vendor_id=0x1D6B, product_id=0x0104, product="Sturdy")


sturdy = sturdy_gadget()
second = sturdy_gadget(name="second")
