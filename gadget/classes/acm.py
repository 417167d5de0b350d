"""Serial ports of the kernel's with a program beside them: CDC ACM, which every host drives by itself."""

from __future__ import annotations

import asyncio
from typing import Self

from gadget.classes.byte_stream import ByteStream
from gadget.classes.terminal_stream import TerminalStream
from gadget.errors import DisconnectedError, GadgetError
from gadget.kernel_functions.kernel_function import KernelFunction, Place
from gadget.kernel_functions.serial import Acm, Gser


class _Port(KernelFunction):
    """A function with a terminal, and a program that uses it."""

    stream: TerminalStream

    def __new__(cls, *arguments: object, **keywords: object) -> Self:
        """Not in __init__: a subclass need not call that of this class."""
        self = super().__new__(cls)
        object.__setattr__(self, "stream", TerminalStream())
        return self

    @property
    def reader(self) -> ByteStream:
        """What comes from the host."""
        return self.stream

    @property
    def writer(self) -> ByteStream:
        """What goes to the host."""
        return self.stream

    async def run(self) -> None:
        """Started whenever the host has configured the device, and cancelled when it has gone.

        Reads and writes then raise :class:`~gadget.errors.DisconnectedError`, which need not be caught here. Any other
        error takes the gadget down.
        """
        await asyncio.Event().wait()

    def placed(self, place: Place | None) -> None:
        """The terminal is there before the host can see the device, and must be closed before it is removed."""
        if place is None:
            self.stream.close()
        else:
            self.stream.open(place.terminal())
        super().placed(place)

    async def attend(self) -> None:
        """Runs :meth:`run` for as long as the host is there, again and again."""
        while True:
            await self.stream.wait_host()
            await self._serve_host()

    async def _serve_host(self) -> None:
        run, gone = asyncio.ensure_future(self.run()), asyncio.ensure_future(self.stream.wait_gone())
        try:
            await asyncio.wait({run, gone}, return_when=asyncio.FIRST_COMPLETED)
            if run.cancelled():
                # By a task that it waited for: asyncio takes that for the end of this one, and says nothing.
                raise GadgetError(f"{type(self).__name__}.run ended with CancelledError, and it was not cancelled")
            if run.done():
                _check(run)
            await gone
            # Whatever waits for data learns why in this round of the loop; cancelled now, it would not.
            await asyncio.sleep(0)
        finally:
            run.cancel()
            gone.cancel()
            await asyncio.wait({run, gone})
        _check(run)


class AcmPort(_Port, Acm):
    """A serial port of class CDC ACM. Subclass it and write :meth:`run`.

    The arguments are those of :class:`~gadget.kernel_functions.Acm`.

    The terminal is open, and raw, from before the host sees the device until the gadget goes down, and so the host sees
    carrier (DCD) and DSR all that time. What the host does with the port's settings stays in the kernel: baud rate,
    framing, DTR, RTS and a break of the host's are nowhere to be read on Linux 6.1 (``f_acm.c``, acm_setup).

    Attributes:
        stream: What comes from the host and goes there; ``reader`` and ``writer`` are two names for it.
    """


class GserPort(_Port, Gser):
    """The same with a pair of bulk endpoints without a class, which Linux drives with ``usbserial``."""


def _check(run: asyncio.Future[None]) -> None:
    """Raises what went wrong, but for the host's going, of which several tasks may have learnt."""
    if run.cancelled():
        return
    try:
        run.result()
    except* DisconnectedError:
        pass
