"""A serial port that speaks the vendor protocol of the CP210x USB-UART bridge: FunctionFS alone can serve it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Self

from gadget.classes.byte_stream import ByteStream
from gadget.classes.cp210x_chip import Change
from gadget.classes.cp210x_settings import HostSettings
from gadget.classes.cp210x_values import Cp210xRequest, LineError, ModemLine, Queues
from gadget.errors import DescriptorError, HostNotReadingError, Stall
from gadget.functionfs.declared_endpoints import BulkIn, BulkOut
from gadget.functionfs.endpoint_stream import PACKET
from gadget.functionfs.function import Function
from gadget.functionfs.handlers import vendor_in, vendor_out
from gadget.protocol.constants import EventType, Recipient
from gadget.protocol.declaration import Text
from gadget.protocol.functionfs_format import Setup

log = logging.getLogger("gadget")

#: How long the host is told that its data is still on the way while the program here does not read it, in seconds.
#: Linux waits for that in close(), for half a minute at most (``tty_port.c``, tty_port_close_start).
DRAIN_PATIENCE = 1.0


def _answered(request: Cp210xRequest) -> Callable[[Any, Setup], Awaitable[bytes]]:
    @vendor_in(request)
    async def answer(self: Cp210x, setup: Setup) -> bytes:
        return self.chip.answer(request, self._queues())

    return answer


def _carried_out(request: Cp210xRequest) -> Callable[[Any, Setup, memoryview], Awaitable[None]]:
    @vendor_out(request)
    async def carry_out(self: Cp210x, setup: Setup, data: memoryview) -> None:
        await self._command(request, setup.value, data)

    return carry_out


R = Cp210xRequest


class Cp210x(HostSettings, ByteStream, Function):
    """A serial port. Its settings, its lines and its data are attributes and methods of this object.

    Subclass it and write ``run``, which is started when the host has configured the device; whether a program has
    the port open there is another question: :meth:`wait_open`. Use IDs of your own: a host's driver is told about them
    (Linux: ``new_id``), and Silicon Laboratories' own are for Silicon Laboratories' chips.

    Attributes:
        chip: The state of the chip.
    """

    interface_string: ClassVar[Text | None] = "Serial port"
    device_requests_shared = True
    # The host's packets end at any length, and nothing closes a full one: each is handed over by itself.
    rx = BulkOut(transfer_size=PACKET, depth=32)
    tx = BulkIn(depth=4)

    _turn: asyncio.Lock
    _refused: set[Cp210xRequest]
    _openings = 0
    _handed_over = _taken = _purged = 0
    _held = b""
    _asked: tuple[int, float] | None = None

    def __new__(cls, *arguments: object, **keywords: object) -> Self:
        """Not in __init__: a subclass need not call that of this class."""
        self = super().__new__(cls)
        self._turn, self._refused = asyncio.Lock(), set()
        return self

    @property
    def reader(self) -> Self:
        """What comes from the host: this object, by the name that asyncio has for it."""
        return self

    @property
    def writer(self) -> Self:
        """What goes to the host: this object, too."""
        return self

    # ---- what this side tells ----------------------------------------------------------------------------------------

    async def set_lines(
        self, *, cts: bool | None = None, dsr: bool | None = None, ri: bool | None = None, dcd: bool | None = None
    ) -> None:
        """Drives the lines of this side, and tells the host of a change if it wants to be told.

        With CTS off, and a host that has asked for RTS/CTS, no data comes from the host until it is on again. All but
        RI are on in the beginning.

        Args:
            cts: Clear to send.
            dsr: Data set ready.
            ri: Ring indicator.
            dcd: Data carrier detect.
        """
        given = {ModemLine.CTS: cts, ModemLine.DSR: dsr, ModemLine.RI: ri, ModemLine.DCD: dcd}
        lines = self.chip.inputs
        for line, level in given.items():
            if level is not None:
                lines = lines | line if level else lines & ~line
        event = self.chip.set_inputs(lines)
        self._tell(Change.FLOW)
        await self._tell_host(event)

    async def report(self, errors: LineError, character: int | None = None) -> None:
        """Tells the host that something went wrong on the line behind this port.

        The host finds it in its next status; with embedded events (Linux: INPCK) in the stream, at this place.

        Args:
            errors: What.
            character: What came in all the same; the host gets it, marked or replaced as it has asked for.
        """
        await self._tell_host(self.chip.failed(errors, character))

    async def send_break(self) -> None:
        """A break on the line, for the host to see."""
        await self.report(LineError.BREAK, 0)

    async def _tell_host(self, data: bytes) -> None:
        if data and self.chip.is_open:
            await self._limited(self._send_event(data), self.write_timeout, "an event")

    async def _send_event(self, data: bytes) -> None:
        """Between two transfers of a task that writes, and only for who has the port open now."""
        async with self._turn:
            if await self._ready(self._openings):
                await self._put(data, is_last=True)

    # ---- data --------------------------------------------------------------------------------------------------------

    async def _receive(self) -> bytes:
        data = b""
        while not data:
            if not self._held:
                self._held = await self.rx.read_some()
            # What has arrived is not on the line before flow control lets it go.
            if self.chip.holds:
                await self._until(lambda: not self.chip.holds)
            arrived, self._held = self._held, b""
            purged = max(0, self._purged - self._taken)
            self._taken += len(arrived)
            data = self.chip.transmitted(arrived[purged:]) if purged < len(arrived) else b""
        return data

    async def _send(self, data: memoryview) -> None:
        opening = done = 0
        while done < len(data):
            async with self._turn:
                opening = await self._ready(opening)
                if not opening:
                    await self._sent_in_part(done, len(data))
                part = bytes(data[done : done + self._room_for()])
                done += len(part)
                await self._put(self._came_in(part), is_last=done == len(data))

    async def _ready(self, opening: int) -> int:
        """Waits until a program on the host has the port open, and there is room for a transfer.

        Args:
            opening: Which opening of the port it has to be, since part of the data was sent in that one; 0 for any.

        Returns:
            Which opening it is; 0 if the one that it has to be is over.
        """
        while not opening or (self.chip.is_open and opening == self._openings):
            await self.wait_open()
            if self.tx.has_room:
                return self._openings
            await self._wait_room()
        return 0

    async def _wait_room(self) -> None:
        """The host may have asked to be heard when it does not read: by RTS, or by an XOFF that nobody sees here."""
        self._set_full(True)
        try:
            await self.tx.wait_room()
        finally:
            self._set_full(False)

    def _set_full(self, full: bool) -> None:
        self.chip.is_full = full
        if self.chip.asks_for_silence:
            self._tell(Change.LINES)

    async def _sent_in_part(self, done: int, size: int) -> None:
        # A part that was held back while there was news of ep0 may have been queued after the host had closed the port
        # and all was taken back: nobody is going to read it. If the host has gone altogether, drain() says so.
        await self.tx.take_back(beside_writer=True)
        await self.tx.drain()
        message = f"{type(self).__name__}: the host closed the port after {done} of {size} bytes"
        raise HostNotReadingError(f"{message}; who opens it next does not get the rest")

    def _room_for(self) -> int:
        """One transfer: more would wait half way. An escaped character takes twice the room."""
        return self.tx.transfer_size // 2 if self.chip.escape else self.tx.transfer_size

    def _came_in(self, data: bytes) -> bytes:
        stopped = self.chip.is_stopped
        data = self.chip.received(data)
        if self.chip.is_stopped is not stopped:
            self._tell(Change.FLOW)
        return data

    async def _put(self, data: bytes, *, is_last: bool) -> None:
        """Without a zero-length packet a host that reads more than a packet at a time would wait for more."""
        if data:
            await (self.tx.write_message(data) if is_last else self.tx.write(data))
            self._handed_over += len(data)

    async def _sent(self) -> None:
        async with self._turn:
            await self.tx.drain()

    def _queues(self) -> Queues:
        return Queues(self._to_host(), self._to_device())

    def _to_host(self) -> int:
        counters = self.tx.counters
        return max(0, self._handed_over - counters.bytes) if counters.in_flight else 0

    def _to_device(self) -> int:
        """What the program here has not read; forgotten once it has not read any of it for a while."""
        left = max(0, self.rx.counters.bytes - max(self._taken, self._purged))
        if not left or self._asked is None or self._asked[0] != self._taken:
            self._asked = (self._taken, time.monotonic()) if left else None
        return left if self._asked and time.monotonic() - self._asked[1] < DRAIN_PATIENCE else 0

    # ---- requests ----------------------------------------------------------------------------------------------------

    async def _command(self, request: Cp210xRequest, value: int, data: memoryview) -> None:
        try:
            changes = self.chip.command(request, value, data)
        except DescriptorError as error:
            self._refuse(request, error)
            raise Stall from error
        if Change.OPENED in changes:
            self._openings += 1
        if Change.PURGED_TO_DEVICE in changes:
            self._purged = self.rx.counters.bytes
        self._tell(*changes)
        if {Change.PURGED_TO_HOST, Change.CLOSED} & set(changes):
            await self.tx.take_back(beside_writer=True)
            self._handed_over = self.tx.counters.bytes

    def _refuse(self, request: Cp210xRequest, error: DescriptorError) -> None:
        """Told once of each: a host may send it without end, and the log lies on somebody's disk."""
        level = logging.DEBUG if request in self._refused else logging.WARNING
        self._refused.add(request)
        log.log(level, "%s: %s is refused: %s", type(self).__name__, request.name, error)

    def on_event(self, event: EventType) -> None:
        """A host that has gone has closed the port. Whoever overrides this calls it as well."""
        if event is EventType.ENABLE:
            self._forget()
            # Waits of an event loop that has ended may have bound the one before.
            self._held, self._turn = b"", asyncio.Lock()
            self._taken, self._handed_over, self._purged = self.rx.counters.bytes, self.tx.counters.bytes, 0
        elif event is EventType.DISABLE:
            self._tell(*self.chip.command(R.IFC_ENABLE, 0))

    @vendor_in(R.VENDOR_SPECIFIC, recipient=Recipient.DEVICE)
    async def vendor_value(self, setup: Setup) -> bytes:
        """The part number, the version of the firmware, and what is configured of its pins."""
        return self.chip.vendor_answer(setup.value)

    _get_baudrate = _answered(R.GET_BAUDRATE)
    _get_bauddiv = _answered(R.GET_BAUDDIV)
    _get_line_ctl = _answered(R.GET_LINE_CTL)
    _get_mdmsts = _answered(R.GET_MDMSTS)
    _get_eventmask = _answered(R.GET_EVENTMASK)
    _get_eventstate = _answered(R.GET_EVENTSTATE)
    _get_chars = _answered(R.GET_CHARS)
    _get_props = _answered(R.GET_PROPS)
    _get_comm_status = _answered(R.GET_COMM_STATUS)
    _get_flow = _answered(R.GET_FLOW)
    _ifc_enable = _carried_out(R.IFC_ENABLE)
    _set_baudrate = _carried_out(R.SET_BAUDRATE)
    _set_bauddiv = _carried_out(R.SET_BAUDDIV)
    _set_line_ctl = _carried_out(R.SET_LINE_CTL)
    _set_break = _carried_out(R.SET_BREAK)
    _set_mhs = _carried_out(R.SET_MHS)
    _set_xon = _carried_out(R.SET_XON)
    _set_xoff = _carried_out(R.SET_XOFF)
    _set_eventmask = _carried_out(R.SET_EVENTMASK)
    _set_char = _carried_out(R.SET_CHAR)
    _set_chars = _carried_out(R.SET_CHARS)
    _reset = _carried_out(R.RESET)
    _purge = _carried_out(R.PURGE)
    _set_flow = _carried_out(R.SET_FLOW)
    _embed_events = _carried_out(R.EMBED_EVENTS)
