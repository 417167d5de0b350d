"""A device that counts: each byte sent to it adds its value, and the sum comes back as four bytes."""

from gadget import BulkIn, BulkOut, Function, Gadget, Setup, Stall, vendor_in


class Counter(Function):
    rx = BulkOut()
    tx = BulkIn()

    def __init__(self) -> None:
        self.sum = 0

    async def run(self) -> None:
        async for message in self.rx.messages():
            self.sum += sum(message)
            await self.tx.write(self.sum.to_bytes(4, "little"))

    @vendor_in(request=1)
    async def get_sum(self, setup: Setup) -> bytes:
        if setup.value:
            raise Stall
        return self.sum.to_bytes(4, "little")


counter = Gadget(Counter(), vendor_id=0x1D6B, product_id=0x0104, product="Counter")
