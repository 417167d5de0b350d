"""The descriptors of classes and of OTG that FunctionFS takes: HID, CCID (smart card readers), OTG.

HID and CCID share one bDescriptorType, 0x21; the class of the interface that they follow tells them apart, and from the
many others of that type.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from gadget.protocol.constants import CcidFeature, DescriptorType, OtgAttribute
from gadget.protocol.wire import Field, StandardDescriptor


@dataclass(frozen=True, slots=True)
class HidDescriptor(StandardDescriptor):
    """What an interface of class HID says of its reports (HID 1.11, 6.2.1), with the one descriptor that all have.

    The report descriptor itself is no part of it: the host asks for it by a request of its own (7.1.1).
    """

    TYPE: ClassVar = DescriptorType.CLASS_SPECIFIC
    SOURCE: ClassVar = "HID 1.11, 6.2.1"

    hid_version: Annotated[int, Field("bcdHID", 2)] = 0x0111
    country: Annotated[int, Field("bCountryCode")] = 0
    """The layout of a keyboard; 0 where keys are not printed for one country."""
    descriptor_count: Annotated[int, Field("bNumDescriptors")] = 1
    report_type: Annotated[int, Field("bDescriptorType")] = DescriptorType.REPORT
    report_length: Annotated[int, Field("wDescriptorLength", 2)] = field(kw_only=True)
    """The bytes of the report descriptor."""

    def _validate(self) -> None:
        self.require_bcd("bcdHID", self.hid_version)
        self.require(self.country <= 35, "bCountryCode", self.country, "must be at most 35: the others are reserved")
        count = self.descriptor_count
        self.require(count == 1, "bNumDescriptors", count, "must be 1 in a descriptor of 9 bytes")
        rule = "must be 0x22: the one that a HID interface always has is its report descriptor"
        self.require(self.report_type == DescriptorType.REPORT, "bDescriptorType", self.report_type, rule)
        self.require(self.report_length > 0, "wDescriptorLength", 0, "must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class CcidDescriptor(StandardDescriptor):
    """What a smart card reader can do (CCID 1.10, 5.1)."""

    TYPE: ClassVar = DescriptorType.CLASS_SPECIFIC
    SOURCE: ClassVar = "CCID 1.10, 5.1"

    ccid_version: Annotated[int, Field("bcdCCID", 2)] = 0x0110
    max_slot_index: Annotated[int, Field("bMaxSlotIndex")] = 0
    """The number of slots, less one."""
    voltages: Annotated[int, Field("bVoltageSupport")]
    """Bits: 1 for 5.0 V, 2 for 3.0 V, 4 for 1.8 V."""
    protocols: Annotated[int, Field("dwProtocols", 4)]
    """Bits: 1 for T=0, 2 for T=1."""
    default_clock: Annotated[int, Field("dwDefaultClock", 4)]
    """In kHz."""
    maximum_clock: Annotated[int, Field("dwMaximumClock", 4)]
    clock_count: Annotated[int, Field("bNumClockSupported")] = 0
    """How many clock frequencies the reader lists when asked; 0 if it has only the two above."""
    data_rate: Annotated[int, Field("dwDataRate", 4)]
    """In bits per second."""
    max_data_rate: Annotated[int, Field("dwMaxDataRate", 4)]
    data_rate_count: Annotated[int, Field("bNumDataRatesSupported")] = 0
    max_ifsd: Annotated[int, Field("dwMaxIFSD", 4)]
    """The most bytes of information in a block of T=1."""
    synchronous_protocols: Annotated[int, Field("dwSynchProtocols", 4)] = 0
    """Bits: 1 for 2-wire, 2 for 3-wire, 4 for I2C."""
    mechanical: Annotated[int, Field("dwMechanical", 4)] = 0
    """Bits: 1 accepts, 2 ejects, 4 captures, 8 locks cards."""
    features: Annotated[int, Field("dwFeatures", 4)]
    """What it does by itself, and in :class:`~gadget.protocol.constants.CcidFeature` how it exchanges data."""
    max_message_length: Annotated[int, Field("dwMaxCCIDMessageLength", 4)]
    """The bytes of the longest message, its header of 10 bytes included."""
    class_get_response: Annotated[int, Field("bClassGetResponse")] = 0
    class_envelope: Annotated[int, Field("bClassEnvelope")] = 0
    lcd_layout: Annotated[int, Field("wLcdLayout", 2)] = 0
    """Lines in the upper byte, characters a line in the lower; 0 without a display."""
    pin_support: Annotated[int, Field("bPINSupport")] = 0
    """Bits: 1 verifies, 2 changes a PIN."""
    max_busy_slots: Annotated[int, Field("bMaxCCIDBusySlots")] = 1

    def _validate(self) -> None:
        self.require_bcd("bcdCCID", self.ccid_version)
        held = 1 <= self.voltages <= 7
        self.require(held, "bVoltageSupport", self.voltages, "must have bits 0 to 2 only, and one of them at least")
        for name, value, bits in (
            ("dwProtocols", self.protocols, 0x03),
            ("dwSynchProtocols", self.synchronous_protocols, 0x07),
            ("dwMechanical", self.mechanical, 0x0F),
            ("bPINSupport", self.pin_support, 0x03),
        ):
            self.require(not value & ~bits, name, value, f"must have no bits but those of 0x{bits:02x}")
        self._validate_limits()
        self._validate_level()

    def _validate_limits(self) -> None:
        rule = f"must be at most the maximum, {self.maximum_clock}"
        self.require(self.default_clock <= self.maximum_clock, "dwDefaultClock", self.default_clock, rule)
        rule = f"must be at most the maximum, {self.max_data_rate}"
        self.require(self.data_rate <= self.max_data_rate, "dwDataRate", self.data_rate, rule)
        slots = self.max_slot_index + 1
        held = 1 <= self.max_busy_slots <= slots
        self.require(held, "bMaxCCIDBusySlots", self.max_busy_slots, f"must be from 1 to {slots}, the number of slots")

    def _validate_level(self) -> None:
        levels = [level for level in CcidFeature if self.features & level]
        rule = "must name one level of exchange at most: TPDU, short APDU, or short and extended APDU"
        self.require(len(levels) <= 1, "dwFeatures", self.features, rule)
        if levels == [CcidFeature.EXTENDED_APDU]:
            length = self.max_message_length
            rule = "must be from 271 to 65554 at the level of extended APDUs"
            self.require(271 <= length <= 65554, "dwMaxCCIDMessageLength", length, rule)


@dataclass(frozen=True, slots=True)
class OtgDescriptor(StandardDescriptor):
    """Which OTG protocols a device supports (On-The-Go Supplement 1.3, 6.4).

    That of OTG 2.0 has five bytes, and FunctionFS does not take it. The kernel adds one of its own on a controller
    that says it can do OTG (``configfs.c``, configfs_composite_bind).
    """

    TYPE: ClassVar = DescriptorType.OTG
    SOURCE: ClassVar = "On-The-Go Supplement 1.3, 6.4"

    attributes: Annotated[int, Field("bmAttributes")] = OtgAttribute.SESSION_REQUEST

    def _validate(self) -> None:
        self.require(self.attributes <= 3, "bmAttributes", self.attributes, "must have bits 7..2 clear")
