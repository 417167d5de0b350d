"""Gadget zero: the device that Linux hosts test their USB stack against, here as a function in Python.

It sends a pattern as long as the host reads, takes what the host writes and compares it with the same pattern, and
keeps what the host stores in it by a control request. The kernel has one like it (f_sourcesink.c), and this one has its
IDs, so that the host's driver `usbtest` binds to it by itself. Serve one of

    gadget run device.py:gadget_zero     sends zeros
    gadget run device.py:mod63           sends a count, which shows packets that were lost or came twice
    gadget run device.py:interrupts      has a pair of interrupt endpoints, too
"""

import asyncio
import logging
from collections.abc import Callable

from gadget import (
    BulkIn,
    BulkOut,
    Function,
    Gadget,
    InEndpoint,
    InterruptIn,
    InterruptOut,
    OutEndpoint,
    Recipient,
    Setup,
    Stall,
    vendor_in,
    vendor_out,
)

log = logging.getLogger(__name__)

#: The bytes of one packet of this size.
Pattern = Callable[[int], bytes]


def zeros(packet_size: int) -> bytes:
    """Usbtest's pattern 0: the same everywhere."""
    return bytes(packet_size)


def count_to_63(packet_size: int) -> bytes:
    """Usbtest's pattern 1, mod63: each packet counts from 0 to 62 again and again, and starts over with the next."""
    return bytes(index % 63 for index in range(packet_size))


class GadgetZero(Function):
    """A source and a sink of bulk data, and a buffer behind endpoint 0.

    Args:
        pattern: What is sent, and what has to arrive.

    Attributes:
        corrupted: How many transfers have arrived with anything else.
    """

    interface_string = "source and sink data"

    source = BulkIn()
    sink = BulkOut()

    def __init__(self, pattern: Pattern = zeros) -> None:
        self.pattern = pattern
        self.corrupted = 0
        self.stored = b""

    async def run(self) -> None:
        async with asyncio.TaskGroup() as both:
            both.create_task(self.send(self.source))
            both.create_task(self.receive(self.sink))

    async def send(self, source: InEndpoint) -> None:
        """Sends the pattern without end: each write waits for a place in the queue."""
        data = self.transfer_of(source)
        while True:
            await source.write(data)

    async def receive(self, sink: OutEndpoint) -> None:
        """Takes everything. A transfer may end early, but it begins with a packet, and so with the pattern."""
        expected = self.transfer_of(sink)
        async for data in sink:
            if len(data) > len(expected):  # several transfers at once
                expected *= -(-len(data) // len(expected))
            if not expected.startswith(data):
                self.corrupted += 1
                log.error("%s: %d bytes that are not the pattern", sink.name, len(data))

    def transfer_of(self, endpoint: InEndpoint | OutEndpoint) -> bytes:
        """A full transfer of the pattern. How long a packet is, is only known once the host has chosen a speed."""
        return self.pattern(endpoint.packet_size) * (endpoint.transfer_size // endpoint.packet_size)

    # These two requests are those of Intel's USB 2.0 compliance device. They are addressed to the device as a whole.

    @vendor_out(request=0x5B, recipient=Recipient.DEVICE)
    async def store(self, setup: Setup, data: memoryview) -> None:
        self.stored = bytes(data)

    @vendor_in(request=0x5C, recipient=Recipient.DEVICE)
    async def give_back(self, setup: Setup) -> bytes:
        if setup.value or setup.index:
            raise Stall
        return self.stored


class WithInterrupts(GadgetZero):
    """The same on a pair of interrupt endpoints, beside the bulk ones."""

    interrupt_source = InterruptIn(interval=0.001)
    interrupt_sink = InterruptOut(interval=0.001)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as all_four:
            all_four.create_task(super().run())
            all_four.create_task(self.send(self.interrupt_source))
            all_four.create_task(self.receive(self.interrupt_sink))


def make(name: str, function: GadgetZero) -> Gadget:
    return Gadget(function, name=name, vendor_id=0x0525, product_id=0xA4A0, product="Gadget Zero in Python")


gadget_zero = make("zero", GadgetZero())
mod63 = make("zero-mod63", GadgetZero(count_to_63))
interrupts = make("zero-interrupts", WithInterrupts())
