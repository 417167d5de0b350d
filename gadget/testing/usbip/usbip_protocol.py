"""USB/IP without I/O: its messages.

The kernel's two ends (``drivers/usb/usbip``) send headers of 48 bytes, most significant byte first, some with data
behind them (``Documentation/usb/usbip_protocol.rst``). What names no transfer of ours, or no possible length, is
refused as soon as its header is there, so that garbage is never waited for.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Generic, TypeVar

from gadget.errors import ProtocolError

HEADER_SIZE = 48
#: One packet of an isochronous transfer: offset, length, actual length, status.
PACKET_SIZE = 16
#: Beyond these a length is garbage: usbfs takes 16 MiB for all transfers together, the kernel's USB/IP 1024 packets.
MAX_LENGTH, MAX_PACKETS = 64 << 20, 1024
#: usbip-vudc needs memory in one piece for a transfer, and kmalloc ends here on 6.1. More would cost it the connection,
#: and make it unusable until the gadget is bound anew (``vudc_rx.c``: ``VUDC_EVENT_ERROR_MALLOC``; measured).
MAX_TRANSFER = 4 << 20
#: wMaxPacketSize of ep0 on usbip-vudc, at every speed (``vudc_dev.c``).
CONTROL_PACKET = 64

_BASE = struct.Struct(">5I")  # command, seqnum, devid, direction, endpoint number
_SUBMIT = struct.Struct(">I4i8s")
_ANSWER = struct.Struct(">5i8x")
_UNLINK = struct.Struct(">I24x")
_UNLINKED = struct.Struct(">i24x")


class Command(IntEnum):
    """The four messages (``usbip_common.h``)."""

    SUBMIT = 1
    UNLINK = 2
    ANSWER = 3
    UNLINKED = 4


def refuse_unless(condition: bool, rule: str) -> None:
    """Refuses what breaks a rule of the protocol: what comes behind it would make no sense."""
    if not condition:
        raise ProtocolError(f"this is not USB/IP as the kernel speaks it: {rule}; unplug the cable and plug it again")


@dataclass(frozen=True, slots=True)
class Submit:
    """CMD_SUBMIT: the host begins a transfer. ``data`` is what goes OUT, ``packets`` is there if it is isochronous."""

    seqnum: int
    is_in: bool
    number: int
    length: int
    data: bytes = b""
    devid: int = 0
    flags: int = 0
    start_frame: int = 0
    number_of_packets: int = 0
    interval: int = 0
    setup: bytes = bytes(8)
    packets: bytes = b""

    def __post_init__(self) -> None:
        refuse_unless(0 <= self.number <= 15, f"there is no endpoint {self.number}")
        refuse_unless(0 <= self.length <= MAX_LENGTH, f"a transfer of {self.length} bytes")
        _check_payload(self.data, 0 if self.is_in else self.length, self.packets, self.number_of_packets)

    @property
    def endpoint(self) -> int:
        """The endpoint's address as in its descriptor; 0 for control transfers in either direction."""
        return self.number | 0x80 if self.is_in and self.number else self.number

    def __bytes__(self) -> bytes:
        head = _BASE.pack(Command.SUBMIT, self.seqnum, self.devid, self.is_in, self.number)
        body = (self.flags, self.length, self.start_frame, self.number_of_packets, self.interval, self.setup)
        return head + _SUBMIT.pack(*body) + self.data + self.packets

    def refused(self, error: int) -> Answer:
        """The answer that nothing was transferred, with a positive errno as the reason."""
        failed = b"".join(
            self.packets[at : at + 8] + struct.pack(">Ii", 0, -error) for at in range(0, len(self.packets), PACKET_SIZE)
        )
        return Answer(self.seqnum, status=-error, number_of_packets=self.number_of_packets, packets=failed)

    def cut(self, length: int) -> Submit:
        """The same, with at most so many bytes to send; IN and isochronous transfers stay as they are."""
        if self.is_in or self.packets:
            return self
        return replace(self, length=min(length, self.length), data=self.data[:length])


@dataclass(frozen=True, slots=True)
class Unlink:
    """CMD_UNLINK: the host takes the transfer ``target`` back."""

    seqnum: int
    target: int
    devid: int = 0
    is_in: bool = False
    number: int = 0

    def __bytes__(self) -> bytes:
        head = _BASE.pack(Command.UNLINK, self.seqnum, self.devid, self.is_in, self.number)
        return head + _UNLINK.pack(self.target)


@dataclass(frozen=True, slots=True)
class Answer:
    """RET_SUBMIT: a transfer is over. ``data`` is what came IN. Which way it went only its Submit says."""

    seqnum: int
    status: int = 0
    actual_length: int = 0
    data: bytes = b""
    start_frame: int = 0
    number_of_packets: int = 0
    error_count: int = 0
    packets: bytes = b""

    def __post_init__(self) -> None:
        refuse_unless(0 <= self.actual_length <= MAX_LENGTH, f"{self.actual_length} bytes were transferred")
        _check_payload(self.data, len(self.data) and self.actual_length, self.packets, self.number_of_packets)

    def __bytes__(self) -> bytes:
        head = _BASE.pack(Command.ANSWER, self.seqnum, 0, 0, 0)
        body = (self.status, self.actual_length, self.start_frame, self.number_of_packets, self.error_count)
        return head + _ANSWER.pack(*body) + self.data + self.packets

    def cut(self, length: int) -> Answer:
        """The same, with at most so many bytes; an isochronous one stays as it is."""
        if self.packets:
            return self
        return replace(self, actual_length=min(length, self.actual_length), data=self.data[:length])


@dataclass(frozen=True, slots=True)
class Unlinked:
    """RET_UNLINK: -ECONNRESET if the transfer was taken back, 0 if it had been answered before."""

    seqnum: int
    status: int

    def __bytes__(self) -> bytes:
        return _BASE.pack(Command.UNLINKED, self.seqnum, 0, 0, 0) + _UNLINKED.pack(self.status)


def _check_payload(data: bytes, length: int, packets: bytes, number_of_packets: int) -> None:
    refuse_unless(number_of_packets <= MAX_PACKETS, f"a transfer of {number_of_packets} packets")
    refuse_unless(len(data) == length, f"{len(data)} bytes of data where {length} were announced")
    # What is not isochronous has no packets and says 0, or -1.
    wanted = PACKET_SIZE * max(0, number_of_packets)
    refuse_unless(len(packets) == wanted, f"{len(packets)} bytes of packets where {wanted} were announced")


M = TypeVar("M")
#: Turns what came behind a header, data and then packets, into the message.
Builder = Callable[[bytes, bytes], M]


class _Decoder(ABC, Generic[M]):
    """Turns bytes, cut anywhere, back into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[M]:
        """Takes the next bytes and yields the messages that they complete; run it to its end.

        Raises:
            ProtocolError: These bytes are no message.
        """
        self._buffer += data
        while len(self._buffer) >= HEADER_SIZE:
            length, number, build = self._header(bytes(self._buffer[:HEADER_SIZE]))
            between, end = HEADER_SIZE + length, HEADER_SIZE + length + PACKET_SIZE * number
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[HEADER_SIZE:between]), bytes(self._buffer[between:end])
            del self._buffer[:end]
            yield build(*payload)

    @abstractmethod
    def _header(self, header: bytes) -> tuple[int, int, Builder[M]]:
        """Says how many bytes of data and how many packets follow, and what to make of them."""


class CommandDecoder(_Decoder[Submit | Unlink]):
    """Decodes what the host sends."""

    def _header(self, header: bytes) -> tuple[int, int, Builder[Submit | Unlink]]:
        command, seqnum, devid, direction, number = _BASE.unpack_from(header)
        refuse_unless(direction in (0, 1), f"a direction of {direction}")
        if command == Command.UNLINK:
            (target,) = _UNLINK.unpack_from(header, _BASE.size)
            unlink = Unlink(seqnum, target, devid, bool(direction), number)
            return 0, 0, lambda data, packets: unlink
        refuse_unless(command == Command.SUBMIT, f"the host sent the command {command:#x}")
        flags, length, start_frame, count, interval, setup = _SUBMIT.unpack_from(header, _BASE.size)
        refuse_unless(0 <= length <= MAX_LENGTH, f"a transfer of {length} bytes")
        refuse_unless(count <= MAX_PACKETS, f"a transfer of {count} packets")

        def build(data: bytes, packets: bytes) -> Submit:
            fields = (devid, flags, start_frame, count, interval, setup, packets)
            return Submit(seqnum, bool(direction), number, length, data, *fields)

        return 0 if direction else length, max(0, count), build


class AnswerDecoder(_Decoder[Answer | Unlinked]):
    """Decodes what the device sends.

    Args:
        find: The transfer of a sequence number that the device has and has not answered, or None; the length of an
            answer depends on it, since usbip-vudc leaves direction and endpoint out (``vudc_tx.c``).
    """

    def __init__(self, find: Callable[[int], Submit | None]) -> None:
        super().__init__()
        self._find = find

    def _header(self, header: bytes) -> tuple[int, int, Builder[Answer | Unlinked]]:
        command, seqnum, *_ = _BASE.unpack_from(header)
        if command == Command.UNLINKED:
            unlinked = Unlinked(seqnum, *_UNLINKED.unpack_from(header, _BASE.size))
            return 0, 0, lambda data, packets: unlinked
        refuse_unless(command == Command.ANSWER, f"the device sent the command {command:#x}")
        status, actual, start_frame, count, errors = _ANSWER.unpack_from(header, _BASE.size)
        submit = self._find(seqnum)
        if submit is None:
            raise ProtocolError(f"the device answered transfer {seqnum}, which it does not have; plug the cable again")
        refuse_unless(0 <= actual <= submit.length, f"{actual} bytes were transferred of {submit.length}")
        refuse_unless(count == submit.number_of_packets, f"an answer of {count} packets")

        def build(data: bytes, packets: bytes) -> Answer:
            return Answer(seqnum, status, actual, data, start_frame, count, errors, packets)

        return actual if submit.is_in else 0, max(0, count), build
