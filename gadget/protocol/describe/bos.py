"""The tables of the BOS and of device capabilities (USB 3.2, 9.6.2; WebUSB, 4.1; Microsoft OS 2.0, Table 4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gadget.protocol.capabilities import MICROSOFT_OS_20, WEBUSB, CapabilityType
from gadget.protocol.constants import DescriptorType
from gadget.protocol.describe.cells import (
    Cell,
    bits,
    guid,
    hexadecimal,
    one_of,
    unit,
    version,
)
from gadget.protocol.describe.columns import Choose, Column, Part, Repeat, Text
from gadget.protocol.describe.standard import HEAD

_BOS: tuple[Part, ...] = (*HEAD, Column("wTotalLength", 2, hexadecimal), Column("bNumDeviceCaps"))

_HEAD: tuple[Part, ...] = (*HEAD, Column("bDevCapabilityType"))


def _link_power_management(cell: Cell) -> Iterator[str]:
    if cell.value & 0x02:
        yield f"{'BESL' if cell.value & 0x04 else 'HIRD'} Link Power Management (LPM) Supported"
    # Each valid bit says that the four bits of its value mean something (USB 2.0 LPM Errata, Table 9-12).
    if cell.value & 0x08:
        yield f"BESL value {cell.value >> 8 & 0x0F}"
    if cell.value & 0x10:
        yield f"Deep BESL value {cell.value >> 12 & 0x0F}"


_SPEEDS = ("Low Speed (1Mbps)", "Full Speed (12Mbps)", "High Speed (480Mbps)", "SuperSpeed (5Gbps)")


def _lowest_speed(cell: Cell) -> list[str]:
    name = _SPEEDS[cell.value] if cell.value < len(_SPEEDS) else "unknown"
    return [f"Lowest fully-functional device speed is {name}"]


def _sublink_counts(cell: Cell) -> list[str]:
    speeds, identifiers = cell.value & 0x1F, cell.value >> 5 & 0x0F
    return [f"Sublink Speed Attribute count {speeds}", f"Sublink Speed ID count {identifiers}"]


_BIT_RATES = ("b/s", "Kb/s", "Mb/s", "Gb/s")


def _sublink(cell: Cell) -> list[str]:
    """One direction of a lane (USB 3.2, Table 9-24)."""
    value = cell.value
    rate = f"{value >> 16}{_BIT_RATES[value >> 4 & 3]}"
    symmetry = "Asymmetric" if value & 0x40 else "Symmetric"
    direction = "TX" if value & 0x80 else "RX"
    protocol = {0: "SuperSpeed", 1: "SuperSpeedPlus"}.get(value >> 14 & 3, "(reserved)")
    return [f"Speed Attribute ID: {value & 0x0F} {rate} {symmetry} {direction} {protocol}"]


_USB_2: tuple[Part, ...] = (
    *_HEAD,
    Column("bmAttributes", 4, hexadecimal, below=_link_power_management),
)
_SUPERSPEED: tuple[Part, ...] = (
    *_HEAD,
    Column("bmAttributes", 1, hexadecimal, below=bits(None, "Latency Tolerance Messages (LTM) Supported")),
    Column("wSpeedsSupported", 2, hexadecimal, below=bits(*(f"Device can operate at {speed}" for speed in _SPEEDS))),
    Column("bFunctionalitySupport", below=_lowest_speed),
    Column("bU1DevExitLat", after=unit("micro seconds")),
    Column("wU2DevExitLat", 2, after=unit("micro seconds")),
)
_SUPERSPEED_PLUS: tuple[Part, ...] = (
    *_HEAD,
    Column("bReserved", hidden=lambda value: True),
    Column("bmAttributes", 4, hexadecimal, below=_sublink_counts, width=31),
    Column("wFunctionalitySupport", 2, hexadecimal, width=30),
    Column("wReserved", 2, hidden=lambda value: True),
    Repeat((Column("bmSublinkSpeedAttr[{}]", 4, hexadecimal, below=_sublink, width=34),)),
)
_CONTAINER: tuple[Part, ...] = (*_HEAD, Column("bReserved"), Column("ContainerID", 16, guid, width=62))

_WEBUSB: tuple[Part, ...] = (
    Text(("  WebUSB:",)),
    Column("    bcdVersion", 2, version, width=22),
    Column("    bVendorCode", width=22),
    Column("    iLandingPage", width=22),
)
_MICROSOFT: tuple[Part, ...] = (
    Text(("  Microsoft OS 2.0:",)),
    Repeat(
        (
            Column("    dwWindowsVersion", 4, hexadecimal, width=44),
            Column("    wMSOSDescriptorSetTotalLength", 2, width=44),
            Column("    bMS_VendorCode", width=44),
            Column("    bAltEnumCode", after=one_of({0: "no alternate enumeration"}), width=44),
        )
    ),
)
_DATA: tuple[Part, ...] = (Repeat((Column("CapabilityData[{}]", 1, hexadecimal, width=25),)),)

_UUID = "PlatformCapabilityUUID"
_PLATFORM: tuple[Part, ...] = (
    *_HEAD,
    Column("bReserved"),
    Column(_UUID, 16, guid, width=64),
    Choose(
        _UUID,
        {
            int.from_bytes(WEBUSB.bytes_le, "little"): _WEBUSB,
            int.from_bytes(MICROSOFT_OS_20.bytes_le, "little"): _MICROSOFT,
        },
        _DATA,
    ),
)

#: The title and the table of the BOS, by bDescriptorType.
BOS_TABLE: Mapping[int, tuple[str, tuple[Part, ...]]] = {
    DescriptorType.BOS: ("Binary Object Store Descriptor:", _BOS),
}

#: The title and the table of each capability.
CAPABILITY_TABLES: Mapping[int, tuple[str, tuple[Part, ...]]] = {
    CapabilityType.USB_2_EXTENSION: ("USB 2.0 Extension Device Capability:", _USB_2),
    CapabilityType.SUPERSPEED: ("SuperSpeed USB Device Capability:", _SUPERSPEED),
    CapabilityType.CONTAINER_ID: ("Container ID Device Capability:", _CONTAINER),
    CapabilityType.PLATFORM: ("Platform Device Capability:", _PLATFORM),
    CapabilityType.SUPERSPEED_PLUS: ("SuperSpeedPlus USB Device Capability:", _SUPERSPEED_PLUS),
}
