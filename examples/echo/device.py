"""A USB device that sends back whatever arrives.

Framing: a message ends with a packet shorter than wMaxPacketSize, so one whose length is a multiple of it is closed
with a zero-length packet, by the host as by the device. That packet also ends the transfer it falls into: what was
ended so is the end of a message, and goes back as one. What was not is the middle of a message and goes back as it is,
so memory stays at `depth` transfers each way however long the message is.

Serve it with `gadget run device.py`, or `python device.py`; both need root.
"""

from gadget import BulkIn, BulkOut, Function, Gadget, Setup, Stall, vendor_in, vendor_out


class Echo(Function):
    interface_string = "Echo"

    rx = BulkOut()
    tx = BulkIn()

    mode = b"plain"

    async def run(self) -> None:
        async for data in self.rx:
            if self.rx.was_short:
                await self.tx.write_message(data)
            else:
                await self.tx.write(data)

    @vendor_in(request=1)
    async def version(self, setup: Setup) -> bytes:
        return b"1.0"

    @vendor_out(request=2)
    async def set_mode(self, setup: Setup, data: memoryview) -> None:
        self.mode = bytes(data)

    @vendor_in(request=3)
    async def get_mode(self, setup: Setup) -> bytes:
        return self.mode

    @vendor_out(request=4)
    async def reset_mode(self, setup: Setup, data: memoryview) -> None:
        if setup.value:
            raise Stall
        self.mode = b"plain"


echo = Gadget(
    Echo(),
    vendor_id=0x1D6B,
    product_id=0x0104,
    manufacturer="gadget",
    product="Echo",
    serial_number="0001",
)

if __name__ == "__main__":
    echo.run()
