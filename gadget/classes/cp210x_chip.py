"""The CP210x as a state machine: requests of the host go in, answers and what has happened come out.

It has two sides. Towards the host it is a USB device; towards the program on this side it is the far end of a serial
line without any delay: what the host sends is transmitted when the program takes it, and what the program sends has
been received at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from gadget.classes.cp210x_parts import BAUDDIV_CLOCK, FIRMWARE, BaudRates, PartNumber, vendor_answer
from gadget.classes.cp210x_stream import escaped, framed, line_status, modem_status, replaced
from gadget.classes.cp210x_values import (
    INPUTS,
    Cp210xRequest,
    FlowControl,
    Handshake,
    Hold,
    LineControl,
    LineError,
    ModemLine,
    PortEvent,
    Purge,
    Queues,
    Replace,
    RtsMode,
    SpecialCharacters,
    comm_status,
    properties,
)
from gadget.errors import Stall

R = Cp210xRequest

_NO_LINES, _NO_EVENTS, _NO_ERRORS, _NO_HOLDS = ModemLine(0), PortEvent(0), LineError(0), Hold(0)

#: Room of a real part; what is said to hosts that ask.
QUEUE = 576

#: wValue of SET_MHS: which of the two lines the host means (AN571, 5.9).
_MEANS_DTR, _MEANS_RTS = 0x0100, 0x0200

#: What the host is told of a line from outside that has changed.
_CHANGED = {
    ModemLine.CTS: PortEvent.CTS_CHANGED,
    ModemLine.DSR: PortEvent.DSR_CHANGED,
    ModemLine.DCD: PortEvent.DCD_CHANGED,
}


class Change(Enum):
    """What a request has changed."""

    OPENED = auto()
    CLOSED = auto()
    SETTINGS = auto()
    LINES = auto()
    BREAK = auto()
    FLOW = auto()
    PURGED_TO_HOST = auto()
    PURGED_TO_DEVICE = auto()


@dataclass(slots=True)
class Chip:
    """The state of one port.

    Attributes:
        part: Which part it says to be.
        version: That of its firmware.
        is_open: The host has the port open.
        baudrate: In bits per second, as the part can do it.
        line: How characters are framed.
        flow: Flow control.
        characters: The special characters.
        outputs: DTR and RTS as the host wants them.
        inputs: CTS, DSR, RI and DCD.
        in_break: The host holds the line in the break condition.
        event_mask: Which events the host wants to be told.
        events: Which of them have happened.
        escape: The character that begins an embedded event; 0 for none.
        errors: What has gone wrong since the host asked last.
        is_stopped: XOFF was received and no XON since: nothing is transmitted.
        is_full: The host does not read, and there is no room for more.
    """

    part: PartNumber = PartNumber.CP2102
    version: tuple[int, int, int] = FIRMWARE
    is_open: bool = False
    baudrate: int = 115200
    line: LineControl = field(default_factory=LineControl)
    flow: FlowControl = field(default_factory=FlowControl)
    characters: SpecialCharacters = field(default_factory=SpecialCharacters)
    outputs: ModemLine = _NO_LINES
    inputs: ModemLine = ModemLine.CTS | ModemLine.DSR | ModemLine.DCD
    in_break: bool = False
    event_mask: int = 0
    events: PortEvent = _NO_EVENTS
    escape: int = 0
    errors: LineError = _NO_ERRORS
    is_stopped: bool = False
    is_full: bool = False

    # ---- requests ----------------------------------------------------------------------------------------------------

    def answer(self, request: int, queues: Queues) -> bytes:
        """What a request with data to the host returns.

        Raises:
            Stall: There is no such request.
        """
        match request:
            case R.GET_BAUDRATE:
                return self.baudrate.to_bytes(4, "little")
            case R.GET_BAUDDIV:
                return (BAUDDIV_CLOCK // self.baudrate).to_bytes(2, "little")
            case R.GET_LINE_CTL:
                return int(self.line).to_bytes(2, "little")
            case R.GET_MDMSTS:
                return bytes([self.lines])
            case R.GET_EVENTMASK:
                return self.event_mask.to_bytes(2, "little")
            case R.GET_EVENTSTATE:
                events, self.events = self.events, PortEvent(0)
                return int(events).to_bytes(2, "little")
            case R.GET_CHARS:
                return self.characters.to_bytes()
            case R.GET_PROPS:
                return properties(BaudRates(self.part).most, QUEUE, QUEUE)
            case R.GET_COMM_STATUS:
                errors, self.errors = self.errors, LineError(0)
                return comm_status(errors, self.holds, queues)
            case R.GET_FLOW:
                return self.flow.to_bytes()
        raise Stall

    def vendor_answer(self, value: int) -> bytes:
        """What VENDOR_SPECIFIC returns.

        Raises:
            Stall: The part has no such value.
        """
        return vendor_answer(self.part, self.version, value)

    def command(self, request: int, value: int, data: bytes | memoryview = b"") -> tuple[Change, ...]:
        """Carries out a request without data, or with data from the host.

        Raises:
            Stall: There is no such request.
            DescriptorError: A value makes no sense.
        """
        match request:
            case R.IFC_ENABLE:
                return self._enable(bool(value & 1))
            case R.RESET:
                self.errors, self.events, self.is_stopped = LineError(0), PortEvent(0), False
                return (Change.FLOW,)
            case R.SET_BAUDRATE | R.SET_BAUDDIV | R.SET_LINE_CTL:
                return self._set_line(request, value, data)
            case R.SET_MHS:
                return self._set_lines(value)
            case R.SET_BREAK:
                self.in_break = bool(value & 1)
                return (Change.BREAK, Change.FLOW)
            case R.SET_XON | R.SET_XOFF:
                self.is_stopped = request == R.SET_XOFF
                return (Change.FLOW,)
            case R.SET_FLOW:
                return self._set_flow(FlowControl.parse(data))
            case R.PURGE:
                return self._purge(value)
        return self._set_reports(request, value, data)

    def _purge(self, value: int) -> tuple[Change, ...]:
        # What was sent to this side is on the line already, but for what is held: there is no taking it back.
        to_device = (Change.PURGED_TO_DEVICE,) if value & Purge.TRANSMIT and self.holds else ()
        return (Change.PURGED_TO_HOST, *to_device) if value & Purge.RECEIVE else to_device

    def _set_reports(self, request: int, value: int, data: bytes | memoryview) -> tuple[Change, ...]:
        match request:
            case R.SET_EVENTMASK:
                self.event_mask, self.events = value, self.events & value
            case R.SET_CHAR:
                self.characters = self.characters.replaced(value & 0xFF, value >> 8)
            case R.SET_CHARS:
                self.characters = SpecialCharacters.parse(data)
            case R.EMBED_EVENTS:
                self.escape = value & 0xFF
            case _:
                raise Stall
        return ()

    def _enable(self, enable: bool) -> tuple[Change, ...]:
        if enable == self.is_open:
            return ()
        self.is_open, self.is_stopped, self.in_break, self.is_full = enable, False, False, False
        # "Disabling the interface disables event-insertion mode", says the driver, and relies on it.
        self.escape = self.escape if enable else 0
        if not enable:
            self.outputs = ModemLine(0)
        return (Change.OPENED if enable else Change.CLOSED, Change.FLOW)

    def _set_line(self, request: int, value: int, data: bytes | memoryview) -> tuple[Change, ...]:
        if request == R.SET_LINE_CTL:
            self.line = LineControl.parse(value)
        elif request == R.SET_BAUDDIV:
            self.baudrate = BaudRates(self.part).nearest(BAUDDIV_CLOCK // max(1, value))
        else:
            self.baudrate = BaudRates(self.part).nearest(int.from_bytes(data[:4], "little"))
        return (Change.SETTINGS,)

    def _set_lines(self, value: int) -> tuple[Change, ...]:
        for line, means in ((ModemLine.DTR, _MEANS_DTR), (ModemLine.RTS, _MEANS_RTS)):
            if value & means:
                self.outputs = self.outputs & ~line | line & value
        return (Change.LINES,)

    def _set_flow(self, flow: FlowControl) -> tuple[Change, ...]:
        self.flow = flow
        if flow.dtr_mode < 2:
            self.outputs = self.outputs & ~ModemLine.DTR | ModemLine.DTR * flow.dtr_mode
        if flow.rts_mode is RtsMode.INACTIVE:
            self.outputs &= ~ModemLine.RTS
        else:
            self.outputs |= ModemLine.RTS
        if not flow.replace & Replace.AUTO_TRANSMIT:
            self.is_stopped = False
        return (Change.LINES, Change.FLOW)

    # ---- the lines ---------------------------------------------------------------------------------------------------

    @property
    def lines(self) -> ModemLine:
        """All lines as they are now: RTS follows the room there is, where it is for flow control."""
        stops = self.is_full and self.flow.rts_mode is RtsMode.RECEIVE_FLOW_CONTROL
        return self.inputs | (self.outputs & ~ModemLine.RTS if stops else self.outputs)

    @property
    def wants_silence(self) -> bool:
        """The host wants this side to stop sending: by RTS, or by the XOFF that a real part would send."""
        return self.is_full and self.asks_for_silence

    @property
    def asks_for_silence(self) -> bool:
        """The host has asked for flow control towards itself."""
        by_rts = self.flow.rts_mode is RtsMode.RECEIVE_FLOW_CONTROL
        return by_rts or bool(self.flow.replace & Replace.AUTO_RECEIVE)

    @property
    def holds(self) -> Hold:
        """Why nothing is transmitted now, if nothing is."""
        # It is asked for every packet, and flags take their time.
        if not (self.flow.handshake or self.is_stopped or self.in_break):
            return _NO_HOLDS
        found = _NO_HOLDS
        for handshake, line, hold in (
            (Handshake.CTS, ModemLine.CTS, Hold.CTS),
            (Handshake.DSR, ModemLine.DSR, Hold.DSR),
            (Handshake.DCD, ModemLine.DCD, Hold.DCD),
        ):
            if self.flow.handshake & handshake and not self.inputs & line:
                found |= hold
        if self.is_stopped:
            found |= Hold.XOFF_RECEIVED
        return found | (Hold.BREAK if self.in_break else Hold(0))

    def set_inputs(self, lines: ModemLine) -> bytes:
        """Drives CTS, DSR, RI and DCD.

        Returns:
            What the host is sent, if it wants to be told in the stream.
        """
        before, self.inputs = self.inputs, lines & INPUTS
        for line, event in _CHANGED.items():
            if (before ^ self.inputs) & line:
                self._happened(event)
        if before & ~self.inputs & ModemLine.RI:
            self._happened(PortEvent.RI_TRAILING_EDGE)
        return modem_status(before, self.inputs, self.escape)

    def _happened(self, event: PortEvent) -> None:
        if self.event_mask:
            self.events |= event & self.event_mask

    # ---- the data ----------------------------------------------------------------------------------------------------

    def transmitted(self, data: bytes | memoryview) -> bytes:
        """What comes out of the line of what the host has sent."""
        self._happened(PortEvent.TRANSMIT_QUEUE_EMPTY)
        return framed(bytes(data), self.line)

    def received(self, data: bytes) -> bytes:
        """What the host is sent of what came in on the line."""
        data = framed(data, self.line)
        if self.flow.replace & Replace.AUTO_TRANSMIT:
            data = self._without_flow_control(data)
        if self.flow.replace & Replace.NULL_STRIPPING:
            data = data.replace(b"\0", b"")
        if data:
            self._happened(PortEvent.CHARACTER_RECEIVED)
            if self.event_mask & PortEvent.SPECIAL_CHARACTER_RECEIVED and self.characters.event in data:
                self._happened(PortEvent.SPECIAL_CHARACTER_RECEIVED)
        return escaped(data, self.escape)

    def _without_flow_control(self, data: bytes) -> bytes:
        """XON and XOFF are for the chip, which obeys the last of them."""
        xon, xoff = self.characters.xon, self.characters.xoff
        last = max(data.rfind(xon), data.rfind(xoff))
        if last < 0:
            return data
        self.is_stopped = data[last] == xoff
        return data.translate(None, bytes([xon, xoff]))

    def failed(self, errors: LineError, character: int | None = None) -> bytes:
        """Something went wrong on the line.

        Args:
            errors: What.
            character: What came in all the same.

        Returns:
            What the host is sent.
        """
        self.errors |= errors
        self._happened(PortEvent.BREAK_RECEIVED if errors & LineError.BREAK else PortEvent.LINE_ERROR)
        if self.escape:
            return line_status(errors, character, self.escape)
        return replaced(errors, character, self.flow, self.characters)
