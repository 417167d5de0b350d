from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from gadget.errors import DescriptorError
from gadget.protocol.class_descriptors import CcidDescriptor, HidDescriptor, OtgDescriptor
from gadget.protocol.constants import ClassCode
from gadget.protocol.descriptors import Descriptor, InterfaceDescriptor, join_descriptors, parse_descriptors
from gadget.protocol.wire import layout

READER: dict[str, Any] = {
    "voltages": 7,
    "protocols": 3,
    "default_clock": 4000,
    "maximum_clock": 20000,
    "data_rate": 10752,
    "max_data_rate": 344086,
    "max_ifsd": 254,
    "features": 0x0004_0030,
    "max_message_length": 65554,
}
HID, READER_INTERFACE = InterfaceDescriptor(0, 0, 0, ClassCode.HID), InterfaceDescriptor(0, 0, 0, ClassCode.SMART_CARD)

hids = st.builds(
    HidDescriptor,
    hid_version=st.sampled_from([0x0100, 0x0110, 0x0111]),
    country=st.integers(0, 35),
    report_length=st.integers(1, 65535),
)


@st.composite
def readers(draw: st.DrawFn) -> CcidDescriptor:
    slots = draw(st.integers(1, 256))
    clock, rate = (sorted(draw(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)))) for _ in range(2))
    return CcidDescriptor(
        max_slot_index=slots - 1,
        voltages=draw(st.integers(1, 7)),
        protocols=draw(st.integers(0, 3)),
        default_clock=clock[0],
        maximum_clock=clock[1],
        clock_count=draw(st.integers(0, 255)),
        data_rate=rate[0],
        max_data_rate=rate[1],
        data_rate_count=draw(st.integers(0, 255)),
        max_ifsd=draw(st.integers(0, 254)),
        synchronous_protocols=draw(st.integers(0, 7)),
        mechanical=draw(st.integers(0, 15)),
        features=draw(st.integers(0, 0xFFFF)) | draw(st.sampled_from([0, 1 << 16, 1 << 17, 1 << 18])),
        max_message_length=draw(st.integers(271, 65554)),
        lcd_layout=draw(st.integers(0, 65535)),
        pin_support=draw(st.integers(0, 3)),
        max_busy_slots=draw(st.integers(1, min(slots, 255))),
    )


@given(st.one_of(hids.map(lambda one: (HID, one)), readers().map(lambda one: (READER_INTERFACE, one))))
def test_each_is_read_back_behind_an_interface_of_its_class(pair: tuple[Descriptor, Descriptor]) -> None:
    assert parse_descriptors(join_descriptors(pair)) == list(pair)


def test_hid_has_the_layout_of_its_specification() -> None:
    hid = HidDescriptor(0x0110, 33, report_length=63)
    assert hid.to_bytes() == bytes.fromhex("09 21 1001 21 01 22 3f00")


def test_ccid_has_the_layout_of_its_specification() -> None:
    reader = CcidDescriptor(**READER, max_slot_index=1, lcd_layout=0x0210, pin_support=3, max_busy_slots=2)
    assert reader.to_bytes() == bytes.fromhex(
        "36 21 1001 01 07 03000000 a00f0000 204e0000 00 002a0000 16400500 00"
        "fe000000 00000000 00000000 30000400 12000100 00 00 1002 03 02"
    )
    assert sum(field.size for _, field in layout(CcidDescriptor)) == 52


def test_otg_has_three_bytes() -> None:
    assert OtgDescriptor(3).to_bytes() == b"\x03\x09\x03"
    assert parse_descriptors(b"\x03\x09\x02") == [OtgDescriptor(2)]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"hid_version": 0x011A}, "bcdHID"),
        ({"country": 36}, "bCountryCode"),
        ({"descriptor_count": 2}, "bNumDescriptors"),
        ({"report_type": 0x23}, "bDescriptorType"),
        ({"report_length": 0}, "wDescriptorLength"),
        ({"report_length": 65536}, "wDescriptorLength"),
    ],
)
def test_a_hid_descriptor_that_cannot_be(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(DescriptorError) as caught:
        HidDescriptor(**{"report_length": 1, **changes})
    assert (caught.value.field, caught.value.source) == (field, "HID 1.11, 6.2.1")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"ccid_version": 0x00F0}, "bcdCCID"),
        ({"voltages": 0}, "bVoltageSupport"),
        ({"voltages": 8}, "bVoltageSupport"),
        ({"protocols": 4}, "dwProtocols"),
        ({"protocols": 0x10000}, "dwProtocols"),
        ({"synchronous_protocols": 8}, "dwSynchProtocols"),
        ({"mechanical": 16}, "dwMechanical"),
        ({"pin_support": 4}, "bPINSupport"),
        ({"default_clock": 20001}, "dwDefaultClock"),
        ({"data_rate": 344087}, "dwDataRate"),
        ({"features": 0x0006_0000}, "dwFeatures"),
        ({"max_message_length": 270}, "dwMaxCCIDMessageLength"),
        ({"max_message_length": 65555}, "dwMaxCCIDMessageLength"),
        ({"max_busy_slots": 0}, "bMaxCCIDBusySlots"),
        ({"max_busy_slots": 2}, "bMaxCCIDBusySlots"),
    ],
)
def test_a_reader_that_cannot_be(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(DescriptorError) as caught:
        CcidDescriptor(**{**READER, **changes})
    assert (caught.value.field, caught.value.source) == (field, "CCID 1.10, 5.1")


def test_the_level_of_exchange_decides_about_the_longest_message() -> None:
    assert CcidDescriptor(**{**READER, "features": 0x0002_0000, "max_message_length": 64}).max_message_length == 64


def test_otg_with_bits_that_are_reserved() -> None:
    with pytest.raises(DescriptorError, match=r"bits 7\.\.2 clear"):
        OtgDescriptor(4)
