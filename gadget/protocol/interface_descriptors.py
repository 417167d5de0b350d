"""The descriptors within a configuration: interfaces and what belongs to them.

A rule that needs the speed of the connection (which packet sizes bulk may have) stands in
``declaration.py``, where the speed is known; here stands what holds at every speed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

from gadget.protocol.constants import DescriptorType, Direction, EndpointAttribute, TransferType
from gadget.protocol.wire import Field, StandardDescriptor


@dataclass(frozen=True, slots=True)
class InterfaceDescriptor(StandardDescriptor):
    """The head of an interface (USB 2.0, 9.6.5)."""

    TYPE: ClassVar = DescriptorType.INTERFACE
    SOURCE: ClassVar = "USB 2.0, 9.6.5"

    number: Annotated[int, Field("bInterfaceNumber")]
    alternate_setting: Annotated[int, Field("bAlternateSetting")]
    endpoint_count: Annotated[int, Field("bNumEndpoints")]
    class_code: Annotated[int, Field("bInterfaceClass")]
    subclass: Annotated[int, Field("bInterfaceSubClass")] = 0
    protocol: Annotated[int, Field("bInterfaceProtocol")] = 0
    string: Annotated[int, Field("iInterface")] = 0

    def _validate(self) -> None:
        rule = "must be at most 30: 15 endpoints each way, not counting endpoint 0"
        self.require(self.endpoint_count <= 30, "bNumEndpoints", self.endpoint_count, rule)
        self.require_class("bInterface", self.class_code, self.subclass)


@dataclass(frozen=True, slots=True)
class EndpointDescriptor(StandardDescriptor):
    """One endpoint (USB 2.0, 9.6.6): 7 bytes, or the 9 that audio and MIDI use.

    ``max_packet_size`` is the whole of wMaxPacketSize; :attr:`packet_size` and :attr:`transactions` are its
    parts. ``interval`` is bInterval as it stands; what it means depends on the speed.
    """

    TYPE: ClassVar = DescriptorType.ENDPOINT
    SOURCE: ClassVar = "USB 2.0, 9.6.6"

    address: Annotated[int, Field("bEndpointAddress")]
    attributes: Annotated[int, Field("bmAttributes")]
    max_packet_size: Annotated[int, Field("wMaxPacketSize", 2)]
    interval: Annotated[int, Field("bInterval")] = 0
    audio: tuple[int, int] | None = None
    """bRefresh and bSynchAddress, in a descriptor of 9 bytes."""

    @property
    def number(self) -> int:
        """Bits 3..0 of the address: 1 to 15."""
        return self.address & 0x0F

    @property
    def direction(self) -> Direction:
        """Bit 7 of the address."""
        return Direction(self.address & 0x80)

    @property
    def transfer_type(self) -> TransferType:
        """Bits 1..0 of the attributes."""
        return TransferType(self.attributes & 0x03)

    @property
    def packet_size(self) -> int:
        """Bits 10..0 of wMaxPacketSize: the bytes of a full packet."""
        return self.max_packet_size & 0x07FF

    @property
    def transactions(self) -> int:
        """The packets in a microframe: 1, and up to 3 on a high-bandwidth endpoint (bits 12..11)."""
        return 1 + (self.max_packet_size >> 11 & 0x03)

    def _validate(self) -> None:
        self.require(self.number > 0, "bEndpointAddress", self.address, "must not be endpoint 0")
        self.require(not self.address & 0x70, "bEndpointAddress", self.address, "must have bits 6..4 clear")
        self._validate_attributes()
        self._validate_packet_size()
        self._validate_interval()
        if self.audio is not None:
            for field, value in zip(("bRefresh", "bSynchAddress"), self.audio, strict=True):
                self.require(0 <= value <= 255, field, value, "must be a whole number from 0 to 255")

    def _validate_attributes(self) -> None:
        allowed = {
            TransferType.ISOCHRONOUS: 0x3C,
            TransferType.INTERRUPT: EndpointAttribute.NOTIFICATION,
        }.get(self.transfer_type, 0)
        held = not self.attributes & ~(0x03 | allowed)
        rule = f"has bits that are reserved in an endpoint of type {self.transfer_type.name.lower()}"
        self.require(held, "bmAttributes", self.attributes, rule)

    def _validate_packet_size(self) -> None:
        self.require(self.packet_size <= 1024, "wMaxPacketSize", self.max_packet_size, "must be at most 1024")
        periodic = self.transfer_type in (TransferType.ISOCHRONOUS, TransferType.INTERRUPT)
        held = self.max_packet_size < (0x1800 if periodic else 0x0800)
        rule = "must have bits 15..13 clear, and say up to two more transactions, if isochronous or interrupt"
        self.require(held, "wMaxPacketSize", self.max_packet_size, rule)
        smallest = {1: 0, 2: 513, 3: 683}[self.transactions]
        rule = f"must be of at least {smallest} bytes for {self.transactions} transactions (Table 9-14)"
        self.require(self.packet_size >= smallest, "wMaxPacketSize", self.max_packet_size, rule)

    def _validate_interval(self) -> None:
        limits = {TransferType.ISOCHRONOUS: (1, 16), TransferType.INTERRUPT: (1, 255)}
        low, high = limits.get(self.transfer_type, (0, 255))
        rule = f"must be from {low} to {high} for {self.transfer_type.name.lower()}"
        self.require(low <= self.interval <= high, "bInterval", self.interval, rule)

    def _payload(self) -> bytes:
        # super() without arguments does not find the class that slots=True puts in this one's place.
        return StandardDescriptor._payload(self) + bytes(self.audio or ())

    @classmethod
    def _from_payload(cls, payload: bytes) -> Self:
        if len(payload) not in (5, 7):
            raise cls.error("bLength", 2 + len(payload), "must be 7, or 9 for audio")
        audio = (payload[5], payload[6]) if len(payload) == 7 else None
        size = int.from_bytes(payload[2:4], "little")
        return cls(payload[0], payload[1], size, payload[4], audio)


@dataclass(frozen=True, slots=True)
class SuperSpeedEndpointCompanion(StandardDescriptor):
    """What follows every endpoint descriptor at super speed (USB 3.2, 9.6.7).

    ``max_burst`` is the number of packets in a burst, less one. ``bytes_per_interval`` is 0 unless the endpoint is
    isochronous or interrupt.
    """

    TYPE: ClassVar = DescriptorType.SUPERSPEED_ENDPOINT_COMPANION
    SOURCE: ClassVar = "USB 3.2, 9.6.7"

    max_burst: Annotated[int, Field("bMaxBurst")] = 0
    attributes: Annotated[int, Field("bmAttributes")] = 0
    bytes_per_interval: Annotated[int, Field("wBytesPerInterval", 2)] = 0

    def _validate(self) -> None:
        self.require(self.max_burst <= 15, "bMaxBurst", self.max_burst, "must be at most 15")
        allowed = 0x83 if self.attributes & 0x80 else 0x1F
        held = not self.attributes & ~allowed and self.attributes & 0x1F <= 16
        rule = "must be up to 16 (bulk streams), 0..2 (isochronous), or have bit 7 set with bits 6..2 clear"
        self.require(held, "bmAttributes", self.attributes, rule)


@dataclass(frozen=True, slots=True)
class InterfaceAssociation(StandardDescriptor):
    """Several interfaces that make one function; it stands before the first of them (USB 3.2, 9.6.4)."""

    TYPE: ClassVar = DescriptorType.INTERFACE_ASSOCIATION
    SOURCE: ClassVar = "USB 3.2, 9.6.4"

    first_interface: Annotated[int, Field("bFirstInterface")]
    interface_count: Annotated[int, Field("bInterfaceCount")]
    class_code: Annotated[int, Field("bFunctionClass")]
    subclass: Annotated[int, Field("bFunctionSubClass")] = 0
    protocol: Annotated[int, Field("bFunctionProtocol")] = 0
    string: Annotated[int, Field("iFunction")] = 0

    def _validate(self) -> None:
        count = self.interface_count
        self.require(count > 0, "bInterfaceCount", count, "must be at least 1")
        held = self.first_interface + count <= 256
        self.require(held, "bInterfaceCount", count, "must not lead past interface 255")
        self.require(self.class_code > 0, "bFunctionClass", 0, "must not be 0, which is reserved")
