"""A USB device that answers every message with the CRC-32 of it: four bytes, little endian.

A message ends with a packet shorter than wMaxPacketSize, so the host closes one whose length is a multiple of it with a
zero-length packet.
"""

import zlib

from gadget import BulkIn, BulkOut, Function, Gadget, Setup, Stall, vendor_in, vendor_out


class Checksum(Function):
    interface_string = "Checksum"

    rx = BulkOut()
    tx = BulkIn()

    count = 0

    async def run(self) -> None:
        async for message in self.rx.messages():
            self.count += 1
            await self.tx.write(zlib.crc32(message).to_bytes(4, "little"))

    @vendor_in(request=1)
    async def get_count(self, setup: Setup) -> bytes:
        return self.count.to_bytes(4, "little")

    @vendor_out(request=2)
    async def reset(self, setup: Setup, data: memoryview) -> None:
        if setup.value != 0:
            raise Stall
        self.count = 0


checksum = Gadget(
    Checksum(),
    vendor_id=0x1D6B,
    product_id=0x0104,
    product="Checksum",
)
