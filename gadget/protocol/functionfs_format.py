"""What is read from ep0 of a FunctionFS instance: events, and the SETUP packets in them.

The format stands in ``include/uapi/linux/usb/functionfs.h``. What is written first is in ``functionfs_blobs.py``.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from gadget.errors import DescriptorError, KernelError
from gadget.protocol.constants import Direction, EventType, Recipient, RequestType

#: The bytes of one event record (struct usb_functionfs_event).
EVENT_SIZE = 12

_SETUP = struct.Struct("<BBHHH")
_EVENT = struct.Struct("<BBHHHB3x")

# Every request asks for these several times, and to call an Enum costs as much as all the rest of that.
_DIRECTIONS = tuple(Direction(bit << 7) for bit in range(2))
_TYPES = tuple(RequestType(bits << 5) for bits in range(4))
_RECIPIENTS = tuple(Recipient(bits) for bits in range(32))
_EVENT_TYPES = {int(kind): kind for kind in EventType}


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
        return _DIRECTIONS[self.request_type >> 7 & 0x01]

    @property
    def type(self) -> RequestType:
        """Whose request it is."""
        return _TYPES[self.request_type >> 5 & 0x03]

    @property
    def recipient(self) -> Recipient:
        """Whom it is for. Numbers that the specification keeps for later are RESERVED."""
        return _RECIPIENTS[self.request_type & 0x1F]

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
    return [_event(fields[:-1], fields[-1]) for fields in _EVENT.iter_unpack(data)]


@lru_cache(64)  # a host that asks for the state of something asks again and again
def only_setup(data: bytes) -> Setup | None:
    """The SETUP packet, if that is the one event in it, as it is most times."""
    return Setup(*_SETUP.unpack_from(data)) if len(data) == EVENT_SIZE and data[8] == EventType.SETUP else None


def _event(fields: Sequence[int], code: int) -> Event:
    kind = _EVENT_TYPES.get(code)
    if kind is None:
        message = f"ep0 reported event {code}, which this version does not know; a newer kernel may need a newer gadget"
        raise KernelError(errno.EPROTO, message)
    return Event(kind, Setup(*fields) if kind is EventType.SETUP else None)
