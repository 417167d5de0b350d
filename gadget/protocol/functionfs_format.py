"""What is written to ep0 of a FunctionFS instance before it works, and what is read from it afterwards.

The formats stand in ``include/uapi/linux/usb/functionfs.h``. What the kernel refuses with a bare EINVAL
(``f_fs.c``, ffs_do_single_desc and __ffs_data_got_descs), or takes and then fails on, is refused here with the reason.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Self

from gadget.errors import DescriptorError, KernelError
from gadget.protocol.constants import (
    Direction,
    EventType,
    FunctionFSFlag,
    FunctionFSMagic,
    Recipient,
    RequestType,
    Speed,
)
from gadget.protocol.descriptors import Descriptor, join_descriptors, parse_descriptors
from gadget.protocol.functionfs_rules import check_descriptors, check_strings

#: The bytes of one event record (struct usb_functionfs_event).
EVENT_SIZE = 12

#: What a blob says by itself: only what follows from its descriptors.
NO_FLAGS = FunctionFSFlag(0)

_SOURCE = "functionfs.h"
_SETUP = struct.Struct("<BBHHH")
_EVENT = struct.Struct("<8sB3x")
_FLAG_OF_SPEED = {
    Speed.FULL: FunctionFSFlag.HAS_FS_DESC,
    Speed.HIGH: FunctionFSFlag.HAS_HS_DESC,
    Speed.SUPER: FunctionFSFlag.HAS_SS_DESC,
}
_DERIVED = (
    FunctionFSFlag.HAS_FS_DESC
    | FunctionFSFlag.HAS_HS_DESC
    | FunctionFSFlag.HAS_SS_DESC
    | FunctionFSFlag.HAS_MS_OS_DESC
    | FunctionFSFlag.EVENTFD
)


def descriptors_blob(
    descriptors: Mapping[Speed, Sequence[Descriptor]],
    *,
    flags: FunctionFSFlag = NO_FLAGS,
    eventfd: int | None = None,
) -> bytes:
    """Makes the first thing that is written to ep0: the descriptors of every speed.

    Args:
        descriptors: For full, high and super speed, what a configuration holds of this function. Full speed
            must be there. The kernel uses those of super speed at super speed plus, too.
        flags: VIRTUAL_ADDR, ALL_CTRL_RECIP, CONFIG0_SETUP. The others follow from what is given.
        eventfd: The file descriptor of an eventfd that the kernel signals at each event on ep0.

    Raises:
        DescriptorError: FunctionFS does not take these descriptors, or would fail when a controller is bound.
    """
    check_descriptors(descriptors)
    if flags & _DERIVED:
        rule = "may hold only VIRTUAL_ADDR, ALL_CTRL_RECIP and CONFIG0_SETUP; the others follow from the arguments"
        raise DescriptorError("flags", flags, rule, _SOURCE)
    speeds = sorted(descriptors)
    for speed in speeds:
        flags |= _FLAG_OF_SPEED[speed]
    head = b""
    if eventfd is not None:
        flags |= FunctionFSFlag.EVENTFD
        head = _eventfd_bytes(eventfd)
    head += b"".join(struct.pack("<I", len(descriptors[speed])) for speed in speeds)
    body = head + b"".join(join_descriptors(descriptors[speed]) for speed in speeds)
    return struct.pack("<III", FunctionFSMagic.DESCRIPTORS_V2, 12 + len(body), flags) + body


def _eventfd_bytes(eventfd: int) -> bytes:
    if not 0 <= eventfd < 2**31:
        raise DescriptorError("eventfd", eventfd, "must be an open file descriptor", _SOURCE)
    return struct.pack("<I", eventfd)


def strings_blob(strings: Mapping[int, Sequence[str]]) -> bytes:
    """Makes the second thing that is written to ep0: the strings, in each language.

    Args:
        strings: For each language identifier, the strings that descriptors call 1, 2, and so on. Every
            language has all of them. An empty mapping is right if no descriptor names a string.

    Raises:
        DescriptorError: A string is longer than the kernel passes on, or cannot be encoded, or is missing.
    """
    check_strings(strings)
    body = b""
    for language, texts in strings.items():
        body += struct.pack("<H", language) + b"".join(text.encode() + b"\0" for text in texts)
    count = max((len(texts) for texts in strings.values()), default=0)
    languages = len(strings) if count else 0
    body = body if count else b""
    return struct.pack("<IIII", FunctionFSMagic.STRINGS, 16 + len(body), count, languages) + body


@dataclass(frozen=True, slots=True)
class Setup:
    """The eight bytes that begin a control transfer (USB 2.0, 9.3; ``ch9.h``, struct usb_ctrlrequest)."""

    request_type: int
    """bmRequestType, whose parts are :attr:`direction`, :attr:`type` and :attr:`recipient`."""
    request: int
    """bRequest."""
    value: int
    """wValue."""
    index: int
    """wIndex. FunctionFS has put its own number of the interface or endpoint in its place."""
    length: int
    """wLength: how many bytes the host sends, or takes at most."""

    @property
    def direction(self) -> Direction:
        """Which way the data goes. Without data (length 0) the host says OUT."""
        return Direction(self.request_type & 0x80)

    @property
    def type(self) -> RequestType:
        """Whose request it is."""
        return RequestType(self.request_type & 0x60)

    @property
    def recipient(self) -> Recipient:
        """Whom it is for. Numbers that the specification keeps for later are RESERVED."""
        return Recipient(self.request_type & 0x1F)

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> Self:
        """Reads a SETUP packet.

        Raises:
            KernelError: It is not of eight bytes.
        """
        if len(data) != _SETUP.size:
            raise KernelError(errno.EPROTO, f"a SETUP packet has {_SETUP.size} bytes, this one has {len(data)}")
        return cls(*_SETUP.unpack(data))

    def to_bytes(self) -> bytes:
        """The packet as it goes over the bus.

        Raises:
            DescriptorError: A number does not fit its field.
        """
        try:
            return _SETUP.pack(self.request_type, self.request, self.value, self.index, self.length)
        except struct.error:
            rule = "must fit into 1, 1, 2, 2 and 2 bytes"
            raise DescriptorError("SETUP", self, rule, "USB 2.0, 9.3") from None


@dataclass(frozen=True, slots=True)
class Event:
    """One event that ep0 reported; ``setup`` is there for SETUP alone."""

    type: EventType
    setup: Setup | None = None


def parse_events(data: bytes | memoryview) -> list[Event]:
    """Takes apart what a read from ep0 returned: up to four events, oldest first.

    Raises:
        KernelError: These are not whole events, or of a kind that this version does not know.
    """
    if len(data) % EVENT_SIZE:
        message = f"ep0 delivered {len(data)} bytes, where every event has {EVENT_SIZE}; was it read as data?"
        raise KernelError(errno.EPROTO, message)
    return [_event(setup, code) for setup, code in _EVENT.iter_unpack(data)]


def _event(setup: bytes, code: int) -> Event:
    try:
        kind = EventType(code)
    except ValueError:
        message = f"ep0 reported event {code}, which this version does not know; a newer kernel may need a newer gadget"
        raise KernelError(errno.EPROTO, message) from None
    return Event(kind, Setup.from_bytes(setup) if kind is EventType.SETUP else None)


@dataclass(frozen=True, slots=True)
class DescriptorsBlob:
    """What a descriptor blob says; ``flags`` are all of them, the derived ones too."""

    descriptors: Mapping[Speed, Sequence[Descriptor]]
    flags: FunctionFSFlag
    eventfd: int | None = None


def parse_descriptors_blob(blob: bytes) -> DescriptorsBlob:
    """Reads a descriptor blob back: to see what was written, and to prove that what is written can be read.

    Raises:
        DescriptorError: It is no blob of version 2, its lengths or counts do not agree, it holds Microsoft OS
            descriptors, or one of its descriptors is not valid.
    """
    if len(blob) < 12:
        raise DescriptorError("length", len(blob), "must be at least 12", _SOURCE)
    magic, length, raw_flags = struct.unpack_from("<III", blob)
    if magic != FunctionFSMagic.DESCRIPTORS_V2:
        raise DescriptorError("magic", magic, "must be FUNCTIONFS_DESCRIPTORS_MAGIC_V2, which is 3", _SOURCE)
    if length != len(blob):
        raise DescriptorError("length", length, f"must be {len(blob)}, the number of bytes written", _SOURCE)
    flags = _known_flags(raw_flags)
    speeds = [speed for speed, flag in _FLAG_OF_SPEED.items() if flag in flags]
    words = len(speeds) + (FunctionFSFlag.EVENTFD in flags)
    if len(blob) < 12 + 4 * words:
        raise DescriptorError("length", length, f"must be at least {12 + 4 * words} with these flags", _SOURCE)
    numbers = struct.unpack_from(f"<{words}I", blob, 12)
    eventfd = numbers[0] if FunctionFSFlag.EVENTFD in flags else None
    counts = numbers[words - len(speeds) :]
    found = parse_descriptors(blob[12 + 4 * words :])
    return DescriptorsBlob(dict(zip(speeds, _split(found, counts), strict=True)), flags, eventfd)


def _known_flags(value: int) -> FunctionFSFlag:
    readable = ~FunctionFSFlag.HAS_MS_OS_DESC
    if value & ~readable.value:
        rule = "must hold known flags only, and not HAS_MS_OS_DESC, which this version does not read"
        raise DescriptorError("flags", value, rule, _SOURCE)
    return FunctionFSFlag(value)


def _split(descriptors: Sequence[Descriptor], counts: Sequence[int]) -> list[list[Descriptor]]:
    if sum(counts) != len(descriptors):
        rule = f"must add up to {len(descriptors)}, the descriptors that follow"
        raise DescriptorError("count", tuple(counts), rule, _SOURCE)
    rest = iter(descriptors)
    return [list(islice(rest, count)) for count in counts]
