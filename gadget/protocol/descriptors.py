"""The descriptors of USB chapter 9, as values that are valid when built, and as bytes.

Those of interfaces and endpoints are written in ``interface_descriptors.py``, those of classes in
``class_descriptors.py``, and all are named here too, so that one import serves for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

from gadget.errors import DescriptorError
from gadget.protocol.class_descriptors import CcidDescriptor, HidDescriptor, OtgDescriptor
from gadget.protocol.constants import ClassCode, ConfigurationAttribute, DescriptorType
from gadget.protocol.interface_descriptors import (
    EndpointDescriptor,
    InterfaceAssociation,
    InterfaceDescriptor,
    SuperSpeedEndpointCompanion,
)
from gadget.protocol.wire import Descriptor, Field, StandardDescriptor, size_of

__all__ = [
    "CcidDescriptor",
    "ConfigurationDescriptor",
    "Descriptor",
    "DeviceDescriptor",
    "DeviceQualifierDescriptor",
    "EndpointDescriptor",
    "HidDescriptor",
    "InterfaceAssociation",
    "InterfaceDescriptor",
    "OtgDescriptor",
    "StringDescriptor",
    "SuperSpeedEndpointCompanion",
    "UnknownDescriptor",
    "join_descriptors",
    "parse_descriptors",
    "take_descriptors",
]

#: The kernel sends at most this many UTF-16 units of a string, and so does bLength allow (``ch9.h``).
MAXIMUM_STRING_UNITS = 126


@dataclass(frozen=True, slots=True)
class DeviceDescriptor(StandardDescriptor):
    """The device: who made it, and what it is (USB 2.0, 9.6.1)."""

    TYPE: ClassVar = DescriptorType.DEVICE
    SOURCE: ClassVar = "USB 2.0, 9.6.1"

    usb_version: Annotated[int, Field("bcdUSB", 2)]
    class_code: Annotated[int, Field("bDeviceClass")]
    subclass: Annotated[int, Field("bDeviceSubClass")]
    protocol: Annotated[int, Field("bDeviceProtocol")]
    max_packet_size_0: Annotated[int, Field("bMaxPacketSize0")]
    vendor_id: Annotated[int, Field("idVendor", 2)]
    product_id: Annotated[int, Field("idProduct", 2)]
    device_version: Annotated[int, Field("bcdDevice", 2)]
    manufacturer: Annotated[int, Field("iManufacturer")] = 0
    product: Annotated[int, Field("iProduct")] = 0
    serial_number: Annotated[int, Field("iSerialNumber")] = 0
    configuration_count: Annotated[int, Field("bNumConfigurations")] = 1

    def _validate(self) -> None:
        self.require_bcd("bcdUSB", self.usb_version)
        self.require_bcd("bcdDevice", self.device_version)
        self.require_class("bDevice", self.class_code, self.subclass)
        sizes = {9} if self.usb_version >= 0x0300 else {8, 16, 32, 64}
        rule = "must be 8, 16, 32 or 64, and 9 (for 2**9) from USB 3.0 on"
        self.require(self.max_packet_size_0 in sizes, "bMaxPacketSize0", self.max_packet_size_0, rule)
        self.require(self.configuration_count > 0, "bNumConfigurations", 0, "must be at least 1")


@dataclass(frozen=True, slots=True)
class DeviceQualifierDescriptor(StandardDescriptor):
    """What the device would be at the other of full and high speed (USB 2.0, 9.6.2)."""

    TYPE: ClassVar = DescriptorType.DEVICE_QUALIFIER
    SOURCE: ClassVar = "USB 2.0, 9.6.2"

    usb_version: Annotated[int, Field("bcdUSB", 2)]
    class_code: Annotated[int, Field("bDeviceClass")]
    subclass: Annotated[int, Field("bDeviceSubClass")]
    protocol: Annotated[int, Field("bDeviceProtocol")]
    max_packet_size_0: Annotated[int, Field("bMaxPacketSize0")]
    configuration_count: Annotated[int, Field("bNumConfigurations")] = 1
    reserved: Annotated[int, Field("bReserved")] = 0

    def _validate(self) -> None:
        self.require_bcd("bcdUSB", self.usb_version)
        self.require_class("bDevice", self.class_code, self.subclass)
        size = self.max_packet_size_0
        self.require(size in {8, 16, 32, 64}, "bMaxPacketSize0", size, "must be 8, 16, 32 or 64")
        self.require(self.reserved == 0, "bReserved", self.reserved, "must be 0")


@dataclass(frozen=True, slots=True)
class ConfigurationDescriptor(StandardDescriptor):
    """The head of a configuration (USB 2.0, 9.6.3).

    ``total_length`` counts the bytes of this and of every descriptor of the configuration. ``max_power`` is in
    units of 2 mA, and of 8 mA at super speed and above.
    """

    TYPE: ClassVar = DescriptorType.CONFIGURATION
    SOURCE: ClassVar = "USB 2.0, 9.6.3"

    total_length: Annotated[int, Field("wTotalLength", 2)]
    interface_count: Annotated[int, Field("bNumInterfaces")]
    value: Annotated[int, Field("bConfigurationValue")] = 1
    string: Annotated[int, Field("iConfiguration")] = 0
    attributes: Annotated[int, Field("bmAttributes")] = ConfigurationAttribute.REQUIRED
    max_power: Annotated[int, Field("bMaxPower")] = 50

    def _validate(self) -> None:
        self.require(self.total_length >= 9, "wTotalLength", self.total_length, "must be at least 9")
        self.require(self.value > 0, "bConfigurationValue", 0, "must not be 0, which means unconfigured")
        held = bool(self.attributes & 0x80) and not self.attributes & 0x1F
        self.require(held, "bmAttributes", self.attributes, "must have bit 7 set and bits 4..0 clear")


@dataclass(frozen=True, slots=True)
class StringDescriptor(StandardDescriptor):
    """A string, or (index 0) the table of languages: nothing in the bytes tells which (USB 2.0, 9.6.7)."""

    TYPE: ClassVar = DescriptorType.STRING
    SOURCE: ClassVar = "USB 2.0, 9.6.7"

    data: bytes

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Encodes a text of at most 126 UTF-16 units (most characters are one, an emoji is two)."""
        try:
            return cls(text.encode("utf-16-le"))
        except UnicodeEncodeError:
            raise cls.error("bString", text, "must be encodable: it holds half of a surrogate pair") from None

    @classmethod
    def from_languages(cls, languages: Iterable[int]) -> Self:
        """Lists language identifiers, as descriptor 0 does."""
        values = tuple(languages)
        for value in values:
            if not 0 < value <= 0xFFFF:
                raise cls.error("wLANGID", value, "must be a number from 1 to 65535")
        return cls(b"".join(value.to_bytes(2, "little") for value in values))

    @property
    def text(self) -> str:
        """The string.

        Raises:
            DescriptorError: These bytes are not UTF-16.
        """
        try:
            return self.data.decode("utf-16-le")
        except UnicodeDecodeError:
            raise self.error("bString", self.data, "must be UTF-16, little endian") from None

    @property
    def languages(self) -> tuple[int, ...]:
        """The language identifiers, if this is descriptor 0."""
        return tuple(int.from_bytes(self.data[at : at + 2], "little") for at in range(0, len(self.data), 2))

    def _validate(self) -> None:
        length = 2 + len(self.data)
        rule = f"must be even, and at most {2 + 2 * MAXIMUM_STRING_UNITS} (126 units of UTF-16)"
        held = length % 2 == 0 and length <= 2 + 2 * MAXIMUM_STRING_UNITS
        self.require(held, "bLength", length, rule)

    def _payload(self) -> bytes:
        return self.data

    @classmethod
    def _from_payload(cls, payload: bytes) -> Self:
        return cls(payload)


@dataclass(frozen=True, slots=True)
class UnknownDescriptor(Descriptor):
    """A descriptor of a type that has no class here; its bytes are kept as they are."""

    descriptor_type: Annotated[int, Field("bDescriptorType")]
    data: bytes = b""

    @property
    def type_code(self) -> int:
        """The number that it was found with."""
        return self.descriptor_type

    def _validate(self) -> None:
        known = _kind_of(self.descriptor_type, 2 + len(self.data), None)
        if known is not None:
            raise self.error("bDescriptorType", self.descriptor_type, f"must be built as {known.__name__}")
        self.require(len(self.data) <= 253, "bLength", 2 + len(self.data), "must be at most 255")

    def _payload(self) -> bytes:
        return self.data


#: The class of each type that this module knows.
KNOWN: Mapping[int, type[StandardDescriptor]] = {
    kind.TYPE: kind
    for kind in (
        DeviceDescriptor,
        DeviceQualifierDescriptor,
        ConfigurationDescriptor,
        InterfaceDescriptor,
        EndpointDescriptor,
        SuperSpeedEndpointCompanion,
        InterfaceAssociation,
        StringDescriptor,
    )
}


#: Whose descriptor one of type 0x21 is, by the class of the interface before it. Other classes use 0x21 too.
CLASS_SPECIFIC: Mapping[int, type[StandardDescriptor]] = {
    ClassCode.HID: HidDescriptor,
    ClassCode.SMART_CARD: CcidDescriptor,
}


def parse_descriptors(data: bytes) -> list[Descriptor]:
    """Takes descriptors apart that follow one another, as in a configuration.

    Raises:
        DescriptorError: The bytes end within a descriptor, bLength is impossible, or a field breaks a rule.
    """
    return take_descriptors(data)[0]


def take_descriptors(data: bytes, count: int | None = None) -> tuple[list[Descriptor], bytes]:
    """Takes a number of descriptors off the beginning of some bytes, or all that there are.

    Returns:
        The descriptors, and the bytes that follow them.

    Raises:
        DescriptorError: The bytes end before that, bLength is impossible, or a field breaks a rule.
    """
    found: list[Descriptor] = []
    rest, interface_class = bytes(data), None
    while len(found) < count if count is not None else rest:
        length = rest[0] if rest else 0
        if not 2 <= length <= len(rest):
            rule = f"must be at least 2 and within the {len(rest)} bytes that are left"
            raise DescriptorError("bLength", length, rule, Descriptor.SOURCE)
        found.append(_parse_one(rest[1], rest[2:length], interface_class))
        if isinstance(found[-1], InterfaceDescriptor):
            interface_class = found[-1].class_code
        rest = rest[length:]
    return found, rest


def _parse_one(code: int, payload: bytes, interface_class: int | None) -> Descriptor:
    kind = _kind_of(code, 2 + len(payload), interface_class)
    return UnknownDescriptor(code, payload) if kind is None else kind._from_payload(payload)


def _kind_of(code: int, length: int, interface_class: int | None) -> type[StandardDescriptor] | None:
    """Finds the class of a descriptor.

    Some types are shared, and the length has to be right as well: a HID descriptor may name further ones, OTG 2.0 has a
    longer one than 1.3, and DFU's follows an interface of its own.
    """
    if code in KNOWN:
        return KNOWN[code]
    shared = OtgDescriptor if code == DescriptorType.OTG else CLASS_SPECIFIC.get(interface_class or 0)
    fits = shared is not None and code == shared.TYPE and size_of(shared) == length
    return shared if fits else None


def join_descriptors(descriptors: Sequence[Descriptor]) -> bytes:
    """Puts descriptors one after the other, as they go on the wire."""
    return b"".join(descriptor.to_bytes() for descriptor in descriptors)
