"""Numbers and structures of the CP210x's vendor protocol.

Source: Silicon Labs AN571; where it is silent, what Linux's driver sends and expects
(``drivers/usb/serial/cp210x.c``).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Self

from gadget.errors import DescriptorError


class Cp210xRequest(IntEnum):
    """bRequest (AN571, 5)."""

    IFC_ENABLE = 0x00
    SET_BAUDDIV = 0x01
    GET_BAUDDIV = 0x02
    SET_LINE_CTL = 0x03
    GET_LINE_CTL = 0x04
    SET_BREAK = 0x05
    IMM_CHAR = 0x06
    SET_MHS = 0x07
    GET_MDMSTS = 0x08
    SET_XON = 0x09
    SET_XOFF = 0x0A
    SET_EVENTMASK = 0x0B
    GET_EVENTMASK = 0x0C
    SET_CHAR = 0x0D
    GET_CHARS = 0x0E
    GET_PROPS = 0x0F
    GET_COMM_STATUS = 0x10
    RESET = 0x11
    PURGE = 0x12
    SET_FLOW = 0x13
    GET_FLOW = 0x14
    EMBED_EVENTS = 0x15
    GET_EVENTSTATE = 0x16
    SET_CHARS = 0x19
    GET_BAUDRATE = 0x1D
    SET_BAUDRATE = 0x1E
    VENDOR_SPECIFIC = 0xFF


class Parity(IntEnum):
    """Bits 7..4 of the line control (AN571, 5.7)."""

    NONE = 0
    ODD = 1
    EVEN = 2
    MARK = 3
    SPACE = 4


class StopBits(IntEnum):
    """Bits 3..0 of the line control (AN571, 5.7)."""

    ONE = 0
    ONE_AND_A_HALF = 1
    TWO = 2


class ModemLine(IntFlag):
    """The lines of the port (AN571, 5.9 and 5.10): the host drives the first two, this side the others."""

    DTR = 0x01
    RTS = 0x02
    CTS = 0x10
    DSR = 0x20
    RI = 0x40
    DCD = 0x80


#: The lines that this side drives.
INPUTS = ModemLine.CTS | ModemLine.DSR | ModemLine.RI | ModemLine.DCD


class LineError(IntFlag):
    """ulErrors: what has gone wrong since the host asked last (AN571, Table 8)."""

    BREAK = 0x01
    FRAMING = 0x02
    HARDWARE_OVERRUN = 0x04
    QUEUE_OVERRUN = 0x08
    PARITY = 0x10


class Hold(IntFlag):
    """ulHoldReasons: why the port does not transmit now (AN571, Table 8)."""

    CTS = 0x01
    DSR = 0x02
    DCD = 0x04
    XOFF_RECEIVED = 0x08
    XOFF_SENT = 0x10
    BREAK = 0x20


class PortEvent(IntFlag):
    """What GET_EVENTSTATE tells (AN571, 5.15)."""

    RI_TRAILING_EDGE = 0x0001
    RECEIVED_80_PERCENT = 0x0004
    CHARACTER_RECEIVED = 0x0100
    SPECIAL_CHARACTER_RECEIVED = 0x0200
    TRANSMIT_QUEUE_EMPTY = 0x0400
    CTS_CHANGED = 0x0800
    DSR_CHANGED = 0x1000
    DCD_CHANGED = 0x2000
    BREAK_RECEIVED = 0x4000
    LINE_ERROR = 0x8000


class Embedded(IntEnum):
    """What follows the escape character in a stream with embedded events (AN571, EMBED_EVENTS)."""

    ESCAPE = 0
    LINE_STATUS_AND_DATA = 1
    LINE_STATUS = 2
    MODEM_STATUS = 3


class Purge(IntFlag):
    """wValue of PURGE (AN571, 5.27): which queues are emptied, as the host sees them."""

    TRANSMIT = 0x01 | 0x04
    RECEIVE = 0x02 | 0x08


class RtsMode(IntEnum):
    """Bits 7..6 of ulFlowReplace (AN571, Table 11)."""

    INACTIVE = 0
    ACTIVE = 1
    RECEIVE_FLOW_CONTROL = 2
    TRANSMIT_ACTIVE = 3


class Handshake(IntFlag):
    """ulControlHandshake (AN571, Table 10), but for its lowest two bits, the mode of DTR."""

    CTS = 0x08
    DSR = 0x10
    DCD = 0x20
    DSR_SENSITIVITY = 0x40


class Replace(IntFlag):
    """ulFlowReplace (AN571, Table 11), but for the mode of RTS."""

    AUTO_TRANSMIT = 0x01
    AUTO_RECEIVE = 0x02
    ERROR_CHARACTER = 0x04
    NULL_STRIPPING = 0x08
    BREAK_CHARACTER = 0x10


@dataclass(frozen=True, slots=True)
class LineControl:
    """How a character is framed on the line.

    Attributes:
        data_bits: 5 to 8.
        parity: None, odd, even, mark or space.
        stop_bits: How long a character's end is.

    Raises:
        DescriptorError: There is no such framing.
    """

    data_bits: int = 8
    parity: Parity = Parity.NONE
    stop_bits: StopBits = StopBits.ONE

    def __post_init__(self) -> None:
        if not 5 <= self.data_bits <= 8:
            raise DescriptorError("word length", self.data_bits, "must be 5 to 8", "AN571, 5.7")

    @classmethod
    def parse(cls, value: int) -> Self:
        """Out of wValue of SET_LINE_CTL."""
        try:
            return cls(value >> 8, Parity(value >> 4 & 0xF), StopBits(value & 0xF))
        except DescriptorError:
            raise
        except ValueError as error:
            raise DescriptorError("line control", value, f"makes no sense: {error}", "AN571, 5.7") from error

    def __int__(self) -> int:
        return self.data_bits << 8 | self.parity << 4 | self.stop_bits

    def __str__(self) -> str:
        stop = {StopBits.ONE: "1", StopBits.ONE_AND_A_HALF: "1.5", StopBits.TWO: "2"}[self.stop_bits]
        return f"{self.data_bits}{self.parity.name[0]}{stop}"


_FLOW = struct.Struct("<4I")


@dataclass(frozen=True, slots=True)
class FlowControl:
    """How the two sides stop each other (AN571, Table 9).

    Attributes:
        handshake: ulControlHandshake.
        replace: ulFlowReplace.
        xon_limit: ulXonLimit.
        xoff_limit: ulXoffLimit.
    """

    handshake: int = 0
    replace: int = 0
    xon_limit: int = 128
    xoff_limit: int = 128

    @classmethod
    def parse(cls, data: bytes | memoryview) -> Self:
        """Out of the sixteen bytes of SET_FLOW."""
        if len(data) != _FLOW.size:
            raise DescriptorError("flow control", bytes(data), "must be 16 bytes", "AN571, SET_FLOW")
        return cls(*_FLOW.unpack(data))

    def to_bytes(self) -> bytes:
        """What GET_FLOW returns."""
        return _FLOW.pack(self.handshake, self.replace, self.xon_limit, self.xoff_limit)

    @property
    def rts_mode(self) -> RtsMode:
        """What drives RTS."""
        return RtsMode(self.replace >> 6 & 3)

    @property
    def dtr_mode(self) -> int:
        """What drives DTR: 0 and 1 are its level, 2 the chip."""
        return self.handshake & 3


@dataclass(frozen=True, slots=True)
class Queues:
    """How many bytes wait in the port.

    Attributes:
        to_host: For the host to read.
        to_device: For the program on this side to read.
    """

    to_host: int = 0
    to_device: int = 0


_STATUS = struct.Struct("<4I3B")


def comm_status(errors: LineError, holds: Hold, queues: Queues) -> bytes:
    """What GET_COMM_STATUS returns (AN571, Table 8)."""
    return _STATUS.pack(errors, holds, queues.to_host, queues.to_device, 0, 0, 0)


# wLength, bcdVersion, ulServiceMask, reserved, ulMaxTxQueue, ulMaxRxQueue, ulMaxBaud, ulProvSubType,
# ulProvCapabilities, ulSettableParams, ulSettableBaud, wSettableData (which takes four bytes), ulCurrentTxQueue,
# ulCurrentRxQueue, two reserved, uniProvName.
_PROPERTIES = struct.Struct("<2H14I15s")
#: DTR/DSR, RTS/CTS, DCD, parity checks, XON/XOFF, its characters, special characters.
_CAPABILITIES = 0x13F
#: Parity, baud rate, data bits, stop bits, handshaking, parity checking, carrier detection.
_SETTABLE = 0x7F
#: All standard rates from 300 to 115200, and any other.
_SETTABLE_BAUD = 0x1007FFF0
_DATA_BITS = 0x0F


def properties(most_baud: int, transmit_queue: int, receive_queue: int) -> bytes:
    """What GET_PROPS returns (AN571, Table 7).

    Args:
        most_baud: The highest baud rate.
        transmit_queue: Room for what the host has sent, in bytes.
        receive_queue: Room for what it has not read, in bytes.
    """
    queues = (transmit_queue, receive_queue)
    fixed = (_CAPABILITIES, _SETTABLE, _SETTABLE_BAUD, _DATA_BITS)
    return _PROPERTIES.pack(_PROPERTIES.size, 0x0100, 1, 0, *queues, most_baud, 1, *fixed, *queues, 0, 0, b"")


@dataclass(frozen=True, slots=True)
class SpecialCharacters:
    """The six characters of SET_CHARS (AN571, SET_CHARS)."""

    eof: int = 0
    error: int = 0
    break_: int = 0
    event: int = 0
    xon: int = 0x11
    xoff: int = 0x13

    @classmethod
    def parse(cls, data: bytes | memoryview) -> Self:
        """Out of the six bytes of SET_CHARS."""
        if len(data) != 6:
            raise DescriptorError("special characters", bytes(data), "must be 6 bytes", "AN571, SET_CHARS")
        return cls(*data)

    def to_bytes(self) -> bytes:
        """What GET_CHARS returns."""
        return bytes([self.eof, self.error, self.break_, self.event, self.xon, self.xoff])

    def replaced(self, number: int, character: int) -> Self:
        """With one of them changed, as SET_CHAR does it."""
        values = bytearray(self.to_bytes())
        if number >= len(values):
            raise DescriptorError("special character", number, "must be 0 to 5", "AN571, 5.23")
        values[number] = character
        return type(self)(*values)
