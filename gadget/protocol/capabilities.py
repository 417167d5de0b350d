"""The BOS and the device capabilities in it, as values that are valid when built, and as bytes (USB 3.2, 9.6.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, ClassVar, Self
from uuid import UUID

from gadget.errors import DescriptorError
from gadget.protocol.constants import DescriptorType
from gadget.protocol.wire import Field, StandardDescriptor


class CapabilityType(IntEnum):
    """bDevCapabilityType (USB 3.2, Table 9-14)."""

    WIRELESS_USB = 0x01
    USB_2_EXTENSION = 0x02
    SUPERSPEED = 0x03
    CONTAINER_ID = 0x04
    PLATFORM = 0x05
    POWER_DELIVERY = 0x06
    BATTERY_INFO = 0x07
    PD_CONSUMER_PORT = 0x08
    PD_PROVIDER_PORT = 0x09
    SUPERSPEED_PLUS = 0x0A
    PRECISION_TIME_MEASUREMENT = 0x0B
    WIRELESS_USB_EXT = 0x0C
    BILLBOARD = 0x0D
    AUTHENTICATION = 0x0E
    BILLBOARD_EX = 0x0F
    CONFIGURATION_SUMMARY = 0x10


#: What a platform capability is about (WebUSB API, 4.1; Microsoft OS 2.0 Descriptors Specification, Table 4).
WEBUSB = UUID("3408b638-09a9-47a0-8bfd-a0768815b665")
MICROSOFT_OS_20 = UUID("d8dd60df-4589-4cc7-9cd2-659d9e648a9f")


@dataclass(frozen=True, slots=True)
class BosDescriptor(StandardDescriptor):
    """The head of a BOS (USB 3.2, 9.6.2); ``total_length`` counts its own five bytes too."""

    TYPE: ClassVar = DescriptorType.BOS
    SOURCE: ClassVar = "USB 3.2, 9.6.2"

    total_length: Annotated[int, Field("wTotalLength", 2)]
    capability_count: Annotated[int, Field("bNumDeviceCaps")]

    def _validate(self) -> None:
        least = 5 + 3 * self.capability_count
        rule = f"must be at least {least} with that many capabilities"
        self.require(self.total_length >= least, "wTotalLength", self.total_length, rule)


@dataclass(frozen=True, slots=True)
class Capability(StandardDescriptor):
    """One capability of a device (USB 3.2, 9.6.2); of a type that has no class here, with its bytes as they are."""

    TYPE: ClassVar = DescriptorType.DEVICE_CAPABILITY
    SOURCE: ClassVar = "USB 3.2, 9.6.2"
    CAPABILITY: ClassVar[CapabilityType | None] = None

    capability: Annotated[int, Field("bDevCapabilityType")]

    def _validate(self) -> None:
        expected = type(self).CAPABILITY
        if expected is not None:
            rule = f"must be {expected.value} in a {type(self).__name__}"
            self.require(self.capability == expected, "bDevCapabilityType", self.capability, rule)


@dataclass(frozen=True, slots=True)
class UnknownCapability(Capability):
    """A capability of a type that has no class here."""

    data: bytes = b""

    def _validate(self) -> None:
        known = CAPABILITIES.get(self.capability)
        if known is not None:
            raise self.error("bDevCapabilityType", self.capability, f"must be built as {known.__name__}")
        self.require(len(self.data) <= 252, "bLength", 3 + len(self.data), "must be at most 255")

    def _payload(self) -> bytes:
        return StandardDescriptor._payload(self) + self.data

    @classmethod
    def _from_payload(cls, payload: bytes) -> Self:
        return cls(payload[0], payload[1:])


@dataclass(frozen=True, slots=True)
class Usb2Extension(Capability):
    """Link power management at full and high speed (USB 3.2, 9.6.2.1; USB 2.0 LPM Errata, BESL)."""

    SOURCE: ClassVar = "USB 3.2, 9.6.2.1"
    CAPABILITY: ClassVar = CapabilityType.USB_2_EXTENSION

    capability: Annotated[int, Field("bDevCapabilityType")] = CapabilityType.USB_2_EXTENSION
    attributes: Annotated[int, Field("bmAttributes", 4)] = 0x02


@dataclass(frozen=True, slots=True)
class SuperSpeedCapability(Capability):
    """What a device does at SuperSpeed, and how it leaves U1 and U2 (USB 3.2, 9.6.2.2)."""

    SOURCE: ClassVar = "USB 3.2, 9.6.2.2"
    CAPABILITY: ClassVar = CapabilityType.SUPERSPEED

    capability: Annotated[int, Field("bDevCapabilityType")] = CapabilityType.SUPERSPEED
    attributes: Annotated[int, Field("bmAttributes")] = 0
    speeds_supported: Annotated[int, Field("wSpeedsSupported", 2)] = 0x000E
    lowest_full_speed: Annotated[int, Field("bFunctionalitySupport")] = 1
    """The number of the slowest speed at which the device does all that it can, as a bit of ``speeds_supported``."""
    u1_exit_latency: Annotated[int, Field("bU1DevExitLat")] = 0
    """In microseconds."""
    u2_exit_latency: Annotated[int, Field("wU2DevExitLat", 2)] = 0
    """In microseconds."""

    def _validate(self) -> None:
        Capability._validate(self)
        speeds, lowest = self.speeds_supported, self.lowest_full_speed
        self.require(not speeds & ~0x0F, "wSpeedsSupported", speeds, "must have bits 15..4 clear")
        held = lowest < 4 and speeds & 1 << lowest != 0
        self.require(held, "bFunctionalitySupport", lowest, "must be a speed of wSpeedsSupported")
        self.require(self.u1_exit_latency <= 10, "bU1DevExitLat", self.u1_exit_latency, "must be at most 10")
        self.require(self.u2_exit_latency <= 2047, "wU2DevExitLat", self.u2_exit_latency, "must be at most 2047")


@dataclass(frozen=True, slots=True)
class ContainerId(Capability):
    """One number for all the devices in one box (USB 3.2, 9.6.2.3)."""

    SOURCE: ClassVar = "USB 3.2, 9.6.2.3"
    CAPABILITY: ClassVar = CapabilityType.CONTAINER_ID

    capability: Annotated[int, Field("bDevCapabilityType")] = CapabilityType.CONTAINER_ID
    reserved: Annotated[int, Field("bReserved")] = 0
    container_id: Annotated[int, Field("ContainerID", 16)] = 0

    @property
    def uuid(self) -> UUID:
        """The number, as UUIDs are written."""
        return UUID(bytes_le=self.container_id.to_bytes(16, "little"))


@dataclass(frozen=True, slots=True)
class PlatformCapability(Capability):
    """What a platform or an operating system has added, by its UUID (USB 3.2, 9.6.2.4): WebUSB, Microsoft OS 2.0."""

    SOURCE: ClassVar = "USB 3.2, 9.6.2.4"
    CAPABILITY: ClassVar = CapabilityType.PLATFORM

    capability: Annotated[int, Field("bDevCapabilityType")] = CapabilityType.PLATFORM
    reserved: Annotated[int, Field("bReserved")] = 0
    platform: UUID = WEBUSB
    data: bytes = b""

    @classmethod
    def webusb(cls, vendor_code: int, landing_page: int = 0, version: int = 0x0100) -> Self:
        """Says that a device speaks WebUSB (WebUSB API, 4.1)."""
        return cls(platform=WEBUSB, data=version.to_bytes(2, "little") + bytes([vendor_code, landing_page]))

    @classmethod
    def microsoft_os_20(cls, *sets: tuple[int, int, int, int]) -> Self:
        """Lists descriptor sets (Microsoft OS 2.0, Table 4).

        Args:
            sets: Of each its dwWindowsVersion, wMSOSDescriptorSetTotalLength, bMS_VendorCode and bAltEnumCode.
        """
        parts = [w.to_bytes(4, "little") + size.to_bytes(2, "little") + bytes(codes) for w, size, *codes in sets]
        return cls(platform=MICROSOFT_OS_20, data=b"".join(parts))

    def _validate(self) -> None:
        Capability._validate(self)
        length = len(self.data)
        self.require(length <= 235, "bLength", 20 + length, "must be at most 255")
        if self.platform == WEBUSB:
            self.require(length == 4, "bLength", 20 + length, "must be 24 for WebUSB")
        if self.platform == MICROSOFT_OS_20:
            held = length > 0 and length % 8 == 0
            self.require(held, "bLength", 20 + length, "must be 20, and 8 more for each descriptor set")

    def _payload(self) -> bytes:
        return bytes([self.capability, self.reserved]) + self.platform.bytes_le + self.data

    @classmethod
    def _from_payload(cls, payload: bytes) -> Self:
        if len(payload) < 18:
            raise cls.error("bLength", 2 + len(payload), "must be at least 20")
        return cls(payload[0], payload[1], UUID(bytes_le=payload[2:18]), payload[18:])


@dataclass(frozen=True, slots=True)
class SuperSpeedPlusCapability(Capability):
    """The lanes and bit rates of SuperSpeedPlus (USB 3.2, 9.6.2.5), a number of four bytes for each sublink speed."""

    SOURCE: ClassVar = "USB 3.2, 9.6.2.5"
    CAPABILITY: ClassVar = CapabilityType.SUPERSPEED_PLUS

    capability: Annotated[int, Field("bDevCapabilityType")] = CapabilityType.SUPERSPEED_PLUS
    reserved: Annotated[int, Field("bReserved")] = 0
    attributes: Annotated[int, Field("bmAttributes", 4)] = 0x01
    functionality: Annotated[int, Field("wFunctionalitySupport", 2)] = 0x1100
    reserved_2: Annotated[int, Field("wReserved", 2)] = 0
    sublink_speeds: tuple[int, ...] = (0x000A4030, 0x000A40B0)

    def _validate(self) -> None:
        Capability._validate(self)
        count = 1 + (self.attributes & 0x1F)
        length = 12 + 4 * len(self.sublink_speeds)
        rule = f"must be {12 + 4 * count}: bmAttributes say {count} sublink speeds"
        self.require(len(self.sublink_speeds) == count, "bLength", length, rule)
        for value in self.sublink_speeds:
            self.require(0 <= value < 2**32, "bmSublinkSpeedAttr", value, "must fit into four bytes")

    def _payload(self) -> bytes:
        return StandardDescriptor._payload(self) + b"".join(v.to_bytes(4, "little") for v in self.sublink_speeds)

    @classmethod
    def _from_payload(cls, payload: bytes) -> Self:
        speeds = payload[10:]
        if len(payload) < 10 or len(speeds) % 4:
            raise cls.error("bLength", 2 + len(payload), "must be 12, and 4 more for each sublink speed")
        attributes, functionality, reserved = (
            int.from_bytes(payload[start:end], "little") for start, end in ((2, 6), (6, 8), (8, 10))
        )
        found = tuple(int.from_bytes(speeds[at : at + 4], "little") for at in range(0, len(speeds), 4))
        return cls(payload[0], payload[1], attributes, functionality, reserved, found)


#: The class of each capability that this module knows.
CAPABILITIES: Mapping[int, type[Capability]] = {
    kind.CAPABILITY: kind
    for kind in (Usb2Extension, SuperSpeedCapability, ContainerId, PlatformCapability, SuperSpeedPlusCapability)
}


def parse_capability(data: bytes) -> Capability:
    """Takes one device capability descriptor apart, bLength and bDescriptorType included.

    Raises:
        DescriptorError: Its length or a field breaks a rule.
    """
    if len(data) < 3 or data[0] != len(data) or data[1] != DescriptorType.DEVICE_CAPABILITY:
        raise DescriptorError("bLength", len(data), "must be that of a device capability, at least 3", "USB 3.2, 9.6.2")
    return CAPABILITIES.get(data[2], UnknownCapability)._from_payload(data[2:])


def join_bos(*capabilities: Capability) -> bytes:
    """Makes the bytes that a device answers with when it is asked for its BOS."""
    body = b"".join(capability.to_bytes() for capability in capabilities)
    return BosDescriptor(5 + len(body), len(capabilities)).to_bytes() + body
