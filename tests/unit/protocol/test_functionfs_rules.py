from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from gadget.errors import DescriptorError
from gadget.protocol.constants import Speed
from gadget.protocol.descriptors import (
    CcidDescriptor,
    ConfigurationDescriptor,
    Descriptor,
    DeviceDescriptor,
    EndpointDescriptor,
    HidDescriptor,
    InterfaceAssociation,
    InterfaceDescriptor,
    OtgDescriptor,
    StringDescriptor,
    SuperSpeedEndpointCompanion,
    UnknownDescriptor,
)
from gadget.protocol.functionfs_rules import check_descriptors, check_strings, strings_needed

HID, SMART_CARD, VENDOR = 3, 0x0B, 0xFF
OUT, IN = EndpointDescriptor(0x01, 2, 64), EndpointDescriptor(0x82, 2, 64)
COMPANION = SuperSpeedEndpointCompanion()
KEYS = HidDescriptor(report_length=63)
READER = CcidDescriptor(
    voltages=7,
    protocols=3,
    default_clock=4000,
    maximum_clock=4000,
    data_rate=10752,
    max_data_rate=344086,
    max_ifsd=254,
    features=0x0002_0000,
    max_message_length=271,
)


def interface(endpoints: int = 0, number: int = 0, class_code: int = VENDOR, alternate: int = 0) -> InterfaceDescriptor:
    return InterfaceDescriptor(number, alternate, endpoints, class_code)


def full(*descriptors: Descriptor) -> dict[Speed, Sequence[Descriptor]]:
    return {Speed.FULL: descriptors}


def high(address: int) -> EndpointDescriptor:
    return EndpointDescriptor(address, 2, 512)


def super_speed(address: int) -> EndpointDescriptor:
    return EndpointDescriptor(address, 2, 1024)


TAKEN: dict[str, Mapping[Speed, Sequence[Descriptor]]] = {
    "an interface without endpoints": full(interface()),
    "two bulk endpoints": full(interface(2), OUT, IN),
    "HID": full(interface(1, class_code=HID), KEYS, EndpointDescriptor(0x81, 3, 8, 1)),
    "CCID": full(interface(class_code=SMART_CARD), READER),
    "OTG": full(OtgDescriptor(), interface()),
    "the last interface number": full(interface(number=15)),
    "three transactions at high speed": {
        Speed.FULL: [interface(1), EndpointDescriptor(0x81, 3, 64, 1)],
        Speed.HIGH: [interface(1), EndpointDescriptor(0x81, 3, 0x1400, 1)],
    },
    "an association": full(InterfaceAssociation(0, 2, 0xFF), interface(), interface(number=1)),
    "both directions of a number": full(interface(2), OUT, EndpointDescriptor(0x81, 2, 64)),
    "every speed": {
        Speed.FULL: [interface(2), OUT, IN],
        Speed.HIGH: [interface(2), high(0x01), high(0x82)],
        Speed.SUPER: [interface(2), super_speed(0x01), COMPANION, super_speed(0x82), COMPANION],
    },
}


@pytest.mark.parametrize("descriptors", TAKEN.values(), ids=TAKEN)
def test_what_the_kernel_takes_is_taken(descriptors: Mapping[Speed, Sequence[Descriptor]]) -> None:
    check_descriptors(descriptors)


class_specific = UnknownDescriptor(0x24, bytes(3))
pair = [interface(2), OUT, IN]

REFUSED: dict[str, tuple[Mapping[Speed, Sequence[Descriptor]], str, str]] = {
    "nothing": ({}, "fs_count", "the kernel crashes"),
    "no full speed": ({Speed.HIGH: [interface()]}, "fs_count", "the kernel crashes"),
    "an empty full speed": ({Speed.FULL: []}, "fs_count", "the kernel crashes"),
    "an empty high speed": ({Speed.FULL: [interface()], Speed.HIGH: []}, "count", "descriptors for high-speed"),
    "super speed plus": (
        {Speed.FULL: [interface()], Speed.SUPER_PLUS: [interface()]},
        "speed",
        "super speed plus uses the descriptors of super speed",
    ),
    "a device": (full(DeviceDescriptor(0x0200, 0, 0, 0, 64, 1, 1, 1)), "bDescriptorType", "made by the kernel"),
    "a configuration": (full(ConfigurationDescriptor(9, 1)), "bDescriptorType", "made by the kernel"),
    "a string": (full(interface(), StringDescriptor.from_text("x")), "bDescriptorType", "into the strings"),
    "CDC": (full(interface(), class_specific), "bDescriptorType", "the kernel's own function"),
    "audio": (full(interface(), UnknownDescriptor(0x25, bytes(5))), "bDescriptorType", "the kernel's own function"),
    "an unheard-of type": (full(interface(), UnknownDescriptor(0x77)), "bDescriptorType", "not among those"),
    "HID's in a vendor interface": (
        full(interface(), KEYS),
        "bDescriptorType",
        "except in an interface of class HID",
    ),
    "HID's before any interface": (
        full(KEYS, interface(class_code=HID)),
        "bDescriptorType",
        "except in an interface of class HID",
    ),
    "a long HID": (full(interface(class_code=HID), UnknownDescriptor(0x21, bytes(10))), "bLength", "must be 9"),
    "a short CCID": (full(interface(class_code=SMART_CARD), UnknownDescriptor(0x21, bytes(7))), "bLength", "be 54"),
    "HID's in a reader": (full(interface(class_code=SMART_CARD), KEYS), "bLength", "must be 54"),
    "a reader's in HID": (full(interface(class_code=HID), READER), "bLength", "must be 9"),
    "bytes in place of HID's": (
        full(interface(class_code=HID), UnknownDescriptor(0x21, bytes(7))),
        "bDescriptorType",
        "must be built as HidDescriptor",
    ),
    "an OTG of 2.0": (full(interface(), UnknownDescriptor(9, bytes(3))), "bLength", "must be 3"),
    "interface 16": (full(interface(number=16)), "bInterfaceNumber", "at most 15"),
    "a control endpoint": (full(interface(1), EndpointDescriptor(1, 0, 64)), "bmAttributes", "not be of type control"),
    "two transactions at full speed": (
        full(interface(1), EndpointDescriptor(0x81, 1, 0x0800 | 600, 1)),
        "wMaxPacketSize",
        "must be one transaction at full-speed",
    ),
    "two transactions at super speed": (
        {
            Speed.FULL: [interface(1), EndpointDescriptor(0x81, 1, 600, 1)],
            Speed.SUPER: [interface(1), EndpointDescriptor(0x81, 1, 0x0800 | 600, 1), COMPANION],
        },
        "wMaxPacketSize",
        "must be one transaction at super-speed",
    ),
    "no interface": (full(OtgDescriptor()), "bNumInterfaces", "at least one"),
    "an alternate setting": (full(interface(), interface(alternate=1)), "bAlternateSetting", "no alternate settings"),
    "an interface twice": (full(interface(), interface()), "bInterfaceNumber", "different in every interface"),
    "more endpoints than there are": (full(interface(2), OUT), "bNumEndpoints", "must be 1"),
    "fewer endpoints than there are": (full(interface(), OUT, interface(number=1)), "bNumEndpoints", "must be 1"),
    "an endpoint before any interface": (full(OUT, interface()), "bEndpointAddress", "must follow"),
    "an association that comes late": (
        full(interface(), InterfaceAssociation(0, 2, 0xFF), interface(number=1)),
        "bFirstInterface",
        "before the first",
    ),
    "an address twice": (full(interface(2), OUT, OUT), "bEndpointAddress", "0x01 is there twice"),
    "a packet size of 0": (full(interface(1), EndpointDescriptor(1, 2, 0)), "wMaxPacketSize", "must be 8 or"),
    "high speed's size at full": (full(interface(1), high(1)), "wMaxPacketSize", "for bulk at full-speed"),
    "a companion at full speed": (full(interface(1), OUT, COMPANION), "bDescriptorType", "must not be a companion"),
    "no companion": (
        {Speed.FULL: pair, Speed.SUPER: [interface(2), super_speed(1), super_speed(0x82), COMPANION]},
        "bEndpointAddress",
        "must be followed by a SuperSpeed companion",
    ),
    "no last companion": (
        {Speed.FULL: pair, Speed.SUPER: [interface(2), super_speed(1), COMPANION, super_speed(0x82)]},
        "bEndpointAddress",
        "must be followed by a SuperSpeed companion",
    ),
    "two companions": (
        {Speed.FULL: [interface(1), OUT], Speed.SUPER: [interface(1), super_speed(1), COMPANION, COMPANION]},
        "bDescriptorType",
        "must not be a companion",
    ),
    "an endpoint less at high speed": (
        {Speed.FULL: pair, Speed.HIGH: [interface(1), high(1)]},
        "bEndpointAddress",
        "must be 130 here at high-speed",
    ),
    "an endpoint more at high speed": (
        {Speed.FULL: [interface(1), OUT], Speed.HIGH: [interface(2), high(1), high(0x82)]},
        "bEndpointAddress",
        "must be None here at high-speed",
    ),
    "another order at high speed": (
        {Speed.FULL: pair, Speed.HIGH: [interface(2), high(0x82), high(1)]},
        "bEndpointAddress",
        "same order",
    ),
    "another interface at high speed": (
        {Speed.FULL: [interface()], Speed.HIGH: [interface(number=1)]},
        "bInterfaceNumber",
        "must be 0 here",
    ),
}


@pytest.mark.parametrize(("descriptors", "field", "rule"), REFUSED.values(), ids=REFUSED)
def test_what_the_kernel_would_refuse_is_refused_with_the_reason(
    descriptors: Mapping[Speed, Sequence[Descriptor]], field: str, rule: str
) -> None:
    with pytest.raises(DescriptorError) as caught:
        check_descriptors(descriptors)
    assert caught.value.field == field
    assert rule in caught.value.rule
    assert caught.value.source


def test_more_than_thirty_endpoints_are_refused() -> None:
    """Addresses would run out first, so the count has to be told before the duplicates."""
    sixteen = [EndpointDescriptor(direction | number, 2, 64) for direction in (0, 0x80) for number in range(1, 16)]
    two = [interface(30), *sixteen, interface(1, number=1), OUT]
    with pytest.raises(DescriptorError, match=r"bNumEndpoints = 31: must be at most 30"):
        check_descriptors(full(*two))


@pytest.mark.parametrize(
    "strings",
    [{}, {0x0409: []}, {0x0409: ["x" * 126]}, {0x0409: ["a", "b"], 0x0407: ["c", ""]}, {0x0409: ["s"] * 254}],
)
def test_strings_that_the_kernel_passes_on_are_taken(strings: Mapping[int, Sequence[str]]) -> None:
    check_strings(strings)


@pytest.mark.parametrize(
    ("strings", "field", "rule"),
    [
        ({0: ["a"]}, "lang", "from 1 to 65535"),
        ({65536: ["a"]}, "lang", "from 1 to 65535"),
        ({0x0409: ["a"], 0x0407: []}, "str_count", "must be 1 in language 0x0407"),
        ({0x0409: ["s"] * 255}, "str_count", "at most 254"),
        ({language: ["s"] for language in range(1, 128)}, "lang_count", "at most 126"),
        ({0x0409: ["a\0b"]}, "string", "NUL"),
        ({0x0409: ["\udc00"]}, "string", "surrogate"),
        ({0x0409: ["x" * 127]}, "string", "at most 126 bytes in UTF-8, this one has 127"),
        ({0x0409: ["é" * 64]}, "string", "this one has 128"),
    ],
)
def test_strings_that_would_arrive_damaged_are_refused(
    strings: Mapping[int, Sequence[str]], field: str, rule: str
) -> None:
    with pytest.raises(DescriptorError) as caught:
        check_strings(strings)
    assert caught.value.field == field
    assert rule in caught.value.rule


def test_strings_that_descriptors_name_are_counted() -> None:
    named = InterfaceDescriptor(0, 0, 0, VENDOR, string=2)
    grouped = InterfaceAssociation(0, 2, VENDOR, string=3)
    assert strings_needed(full(interface())) == 0
    assert strings_needed({Speed.FULL: [named], Speed.HIGH: [grouped, named]}) == 3


def test_strings_that_are_missing_are_refused() -> None:
    check_strings({0x0409: ["a", "b"]}, needed=2)
    for strings in ({0x0409: ["a"]}, {}):
        with pytest.raises(DescriptorError, match=r"str_count = .: must be at least 2"):
            check_strings(strings, needed=2)
