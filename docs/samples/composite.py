"""A function of its own beside a serial port and a network link of the kernel's."""

from gadget import BulkIn, BulkOut, Function, Gadget
from gadget.kernel_functions import Acm, Ncm


class Echo(Function):
    """Sends back whatever arrives."""

    rx = BulkOut()
    tx = BulkIn()

    async def run(self) -> None:
        """Serves one generation."""
        async for data in self.rx:
            await self.tx.write(data)


composite = Gadget(Acm(), Ncm(), Echo(), name="composite", product="Three in one", serial_number="0001")
