"""What a port knows of its host: settings, lines, whether a program has it open; and waiting for any of that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ClassVar, Self

from gadget.classes.cp210x_chip import Change, Chip
from gadget.classes.cp210x_parts import FIRMWARE, PartNumber
from gadget.classes.cp210x_values import LineControl, ModemLine, Parity, StopBits


class HostSettings:
    """What the host has set, as the chip has it.

    Attributes:
        chip: The state of the chip.
    """

    part_number: ClassVar[PartNumber] = PartNumber.CP2102
    """What it says to be: a CP2102 has the standard baud rates up to 921600, a CP2104 almost any up to two million, a
    CP2102N up to three."""

    firmware_version: ClassVar[tuple[int, int, int]] = FIRMWARE
    """What the host is told of its firmware: host drivers know of faults by it."""

    chip: Chip
    _waiting: set[asyncio.Future[None]]

    def __new__(cls, *arguments: object, **keywords: object) -> Self:
        """Not in __init__: a subclass need not call that of this class."""
        self = super().__new__(cls)
        self.chip, self._waiting = Chip(cls.part_number, cls.firmware_version), set()
        return self

    @property
    def is_open(self) -> bool:
        """Whether a program on the host has the port open."""
        return self.chip.is_open

    @property
    def baudrate(self) -> int:
        """Bits per second. Data is moved as fast as USB can, whatever it says."""
        return self.chip.baudrate

    @property
    def line(self) -> LineControl:
        """Data bits, parity and stop bits together; as a text ``8N1``."""
        return self.chip.line

    @property
    def data_bits(self) -> int:
        """Bits of a character, 5 to 8; what has more is cut, as on a line."""
        return self.chip.line.data_bits

    @property
    def parity(self) -> Parity:
        """The parity bit. There is none on USB; :meth:`report` tells of errors of a line behind this port."""
        return self.chip.line.parity

    @property
    def stop_bits(self) -> StopBits:
        """The stop bits."""
        return self.chip.line.stop_bits

    @property
    def dtr(self) -> bool:
        """Data terminal ready, a line of the host's."""
        return bool(self.chip.lines & ModemLine.DTR)

    @property
    def rts(self) -> bool:
        """Request to send, a line of the host's. With RTS/CTS, it is off while the host does not read."""
        return bool(self.chip.lines & ModemLine.RTS)

    @property
    def in_break(self) -> bool:
        """Whether the host holds the line in the break condition."""
        return self.chip.in_break

    @property
    def wants_silence(self) -> bool:
        """Whether the host, which does not read, asks by its flow control not to be sent more.

        A write waits then, as always when there is no room. For programs that can stop a source of their own.
        """
        return self.chip.wants_silence

    def on_change(self, change: Change) -> None:
        """Called for everything that the host changes; does nothing unless overridden."""

    # ---- waiting -----------------------------------------------------------------------------------------------------

    async def wait_open(self) -> None:
        """Waits until a program on the host has the port open."""
        await self._until(lambda: self.chip.is_open)

    async def wait_closed(self) -> None:
        """Waits until no program on the host has the port open; also when the host has gone."""
        await self._until(lambda: not self.chip.is_open)

    async def wait_change(self) -> None:
        """Waits until the host has changed anything: opened or closed the port, settings, lines, break, flow."""
        await self._next()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._next()

    async def _next(self) -> None:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            await waiting
        finally:
            self._waiting.discard(waiting)

    def _tell(self, *changes: Change) -> None:
        for change in changes:
            self.on_change(change)
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
