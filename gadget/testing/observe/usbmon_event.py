"""What usbmon tells of one transfer: the binary record of its mapped ring. Pure: bytes in, an event out."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum

from gadget.errors import UsageError
from gadget.protocol.constants import TransferType

#: struct mon_bin_hdr: all of it, in this machine's byte order.
HEADER = struct.Struct("=QBBBBHBBqiiII8siiII")
ISO_DESCRIPTOR = 16
#: The type of what only fills the ring up to its end.
FILLER = ord("@")
#: The kernel's own order (PIPE_* in ``include/linux/usb.h``), which is not that of bmAttributes.
_TRANSFERS = (TransferType.ISOCHRONOUS, TransferType.INTERRUPT, TransferType.CONTROL, TransferType.BULK)


class EventType(Enum):
    """What happened to a transfer."""

    SUBMIT = "S"
    COMPLETE = "C"
    ERROR = "E"


@dataclass(frozen=True, slots=True)
class Event:
    """A transfer was submitted, was completed, or could not be submitted.

    Attributes:
        id: The same for all events of one transfer; the kernel uses it again for later ones.
        kind: What happened.
        transfer: Its kind.
        endpoint: The endpoint's address, with bit 7 set for IN.
        device: The device's address; 0 before it has one.
        bus: The number of the bus.
        timestamp: Nanoseconds since 1970, in steps of 1000.
        status: 0 or a negative errno: -EINPROGRESS on submission, -EPIPE for a stall.
        length: Bytes asked for on submission, transferred on completion; ``data`` may hold fewer.
        data: What was captured of them.
        setup: The 8 bytes of a control request, on submission only.
    """

    id: int
    kind: EventType
    transfer: TransferType
    endpoint: int
    device: int
    bus: int
    timestamp: int
    status: int
    length: int
    data: bytes = b""
    setup: bytes | None = None

    def __post_init__(self) -> None:
        if self.endpoint & ~0x8F:
            raise UsageError(f"endpoint = {self.endpoint:#x}: an address has bits 3..0 and 7 (USB 2.0, Table 9-13)")
        if not 0 <= self.device <= 127:
            raise UsageError(f"device = {self.device}: an address is 0 to 127 (USB 2.0, 8.3.2.1)")
        if self.setup is not None and len(self.setup) != 8:
            raise UsageError(f"setup has {len(self.setup)} bytes: a request has 8 (USB 2.0, 9.3)")


def parse_event(packet: bytes) -> Event:
    """Reads one event as the mapped ring holds it: header, descriptors of isochronous packets, data.

    Raises:
        UsageError: It is no event, or not all of it.
    """
    if len(packet) < HEADER.size:
        raise UsageError(f"an event of {len(packet)} bytes: its header alone has {HEADER.size}")
    (number, letter, pipe, endpoint, device, bus, no_setup, no_data, seconds, microseconds, status, length, captured,
     setup, _interval, _start_frame, _flags, descriptors) = HEADER.unpack_from(packet)  # fmt: skip
    if pipe >= len(_TRANSFERS) or chr(letter) not in "SCE":
        raise UsageError(f"an event of type {letter:#x} of a transfer of type {pipe}: there is no such thing")
    if len(packet) < HEADER.size + captured:
        raise UsageError(f"an event of {len(packet)} bytes: its header says {HEADER.size + captured}")
    # len_cap counts the descriptors too (mon_bin_event in mon_bin.c); flags of data and setup are 0 when it is there.
    begin = HEADER.size + ISO_DESCRIPTOR * descriptors
    return Event(
        number,
        EventType(chr(letter)),
        _TRANSFERS[pipe],
        endpoint,
        device,
        bus,
        (seconds * 1_000_000 + microseconds) * 1000,
        status,
        length,
        b"" if no_data else packet[begin : HEADER.size + captured],
        setup if not no_setup else None,
    )


def moment_and_length(packet: bytes) -> tuple[int, int]:
    """When it was, in microseconds since 1970, and how long it would be if all of its data had been captured."""
    fields = HEADER.unpack_from(packet)
    no_data, seconds, microseconds, length, descriptors = fields[7], fields[8], fields[9], fields[11], fields[17]
    whole = HEADER.size + ISO_DESCRIPTOR * descriptors + (0 if no_data else length)
    return seconds * 1_000_000 + microseconds, max(whole, len(packet))
