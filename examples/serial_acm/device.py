"""Two serial ports of class CDC ACM, which every host drives by itself: one sends lines back, the other is Python.

On the host, ``python -m serial.tools.miniterm /dev/ttyACM1`` is enough to talk to the second.
"""

import code
import contextlib
import io

from gadget import Gadget
from gadget.classes.acm import AcmPort
from gadget.errors import MessageTooLongError


class LineEcho(AcmPort):
    """Waits for a host that does not read, and drops what is too long for a line: an error would end the device."""

    async def run(self) -> None:
        while True:
            with contextlib.suppress(MessageTooLongError):
                async for line in self.reader:
                    await self.writer.write(line, timeout=None)


class Repl(AcmPort):
    """Each line ends with the key Enter, which sends a carriage return, or with CR LF."""

    async def run(self) -> None:
        console, output = code.InteractiveConsole({"__name__": "__repl__"}), io.StringIO()
        await self.writer.write(b">>> ", timeout=None)
        while True:
            line, more = await self.line(), False
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
                try:
                    more = console.push(line)
                except SystemExit:  # The host may leave; the device stays.
                    console.resetbuffer()
            text = output.getvalue().replace("\n", "\r\n")
            await self.writer.write(f"\r\n{text}{'... ' if more else '>>> '}".encode(), timeout=None)
            output.seek(0)
            output.truncate()

    async def line(self) -> str:
        while True:
            with contextlib.suppress(MessageTooLongError):
                return (await self.reader.readuntil(b"\r")).decode(errors="replace").strip("\r\n")


# These numbers are for tests: a product needs its own.
serial = Gadget(LineEcho(), Repl(), name="serial-acm", vendor_id=0x1209, product_id=0x0001, product="Echo and Python")
