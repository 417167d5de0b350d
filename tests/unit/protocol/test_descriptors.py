from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import given, strategies as st

from gadget.errors import DescriptorError
from gadget.protocol.constants import Direction, TransferType
from gadget.protocol.descriptors import (
    ConfigurationDescriptor,
    Descriptor,
    DeviceDescriptor,
    DeviceQualifierDescriptor,
    EndpointDescriptor,
    HidDescriptor,
    InterfaceAssociation,
    InterfaceDescriptor,
    OtgDescriptor,
    StringDescriptor,
    SuperSpeedEndpointCompanion,
    UnknownDescriptor,
    join_descriptors,
    parse_descriptors,
    take_descriptors,
)

U8 = st.integers(0, 255)
U16 = st.integers(0, 65535)
KNOWN_TYPES = {1, 2, 3, 4, 5, 6, 0x0B, 0x30}
#: Where the interface before, or the length, decides whether they are known.
SHARED_TYPES = {9, 0x21}


@st.composite
def bcd(draw: st.DrawFn) -> int:
    return int("".join(draw(st.lists(st.sampled_from("0123456789"), min_size=4, max_size=4))), 16)


@st.composite
def classes(draw: st.DrawFn) -> tuple[int, int, int]:
    code = draw(U8)
    return code, draw(U8) if code else 0, draw(U8)


@st.composite
def devices(draw: st.DrawFn) -> DeviceDescriptor:
    version = draw(bcd())
    size = 9 if version >= 0x0300 else draw(st.sampled_from([8, 16, 32, 64]))
    rest = [draw(U16), draw(U16), draw(bcd()), draw(U8), draw(U8), draw(U8), draw(st.integers(1, 255))]
    return DeviceDescriptor(version, *draw(classes()), size, *rest)


@st.composite
def endpoints(draw: st.DrawFn) -> EndpointDescriptor:
    address = draw(st.sampled_from([0, 0x80])) | draw(st.integers(1, 15))
    kind = draw(st.sampled_from(TransferType))
    attributes, sizes, interval = kind.value, st.integers(0, 1024), draw(U8)
    if kind is TransferType.ISOCHRONOUS:
        attributes |= draw(st.integers(0, 15)) << 2
        interval = draw(st.integers(1, 16))
    elif kind is TransferType.INTERRUPT:
        attributes |= draw(st.sampled_from([0, 0x10]))
        interval = draw(st.integers(1, 255))
    if kind in (TransferType.ISOCHRONOUS, TransferType.INTERRUPT):
        sizes = st.one_of(
            sizes,
            st.integers(513, 1024).map(lambda size: size | 0x0800),
            st.integers(683, 1024).map(lambda size: size | 0x1000),
        )
    return EndpointDescriptor(address, attributes, draw(sizes), interval, draw(st.none() | st.tuples(U8, U8)))


@st.composite
def associations(draw: st.DrawFn) -> InterfaceAssociation:
    first = draw(U8)
    return InterfaceAssociation(
        first, draw(st.integers(1, min(255, 256 - first))), draw(st.integers(1, 255)), draw(U8), draw(U8)
    )


descriptors: st.SearchStrategy[Descriptor] = st.one_of(
    devices(),
    st.builds(
        lambda version, kind, size, count: DeviceQualifierDescriptor(version, kind[0], kind[1], kind[2], size, count),
        bcd(),
        classes(),
        st.sampled_from([8, 16, 32, 64]),
        U8,
    ),
    st.builds(
        ConfigurationDescriptor,
        st.integers(9, 65535),
        U8,
        st.integers(1, 255),
        U8,
        st.integers(0, 3).map(lambda bits: 0x80 | bits << 5),
        U8,
    ),
    st.builds(
        lambda number, alternate, count, kind: InterfaceDescriptor(
            number, alternate, count, kind[0], kind[1], kind[2], 7
        ),
        U8,
        U8,
        st.integers(0, 30),
        classes(),
    ),
    endpoints(),
    st.builds(SuperSpeedEndpointCompanion, st.integers(0, 15), st.integers(0, 16) | st.integers(0x80, 0x83), U16),
    associations(),
    st.text(max_size=63).map(StringDescriptor.from_text),
    st.builds(
        UnknownDescriptor, U8.filter(lambda code: code not in KNOWN_TYPES | SHARED_TYPES), st.binary(max_size=253)
    ),
)


@given(st.lists(descriptors, max_size=6))
def test_what_is_built_is_parsed_back_as_it_was(built: list[Descriptor]) -> None:
    assert parse_descriptors(join_descriptors(built)) == built


@given(st.binary(max_size=80))
def test_any_bytes_parse_back_to_themselves_or_are_refused(data: bytes) -> None:
    try:
        parsed = parse_descriptors(data)
    except DescriptorError:
        return
    assert join_descriptors(parsed) == data


@given(st.sampled_from(sorted(KNOWN_TYPES)), st.binary(max_size=30))
def test_a_known_type_with_any_payload_parses_back_or_is_refused(code: int, payload: bytes) -> None:
    data = bytes([2 + len(payload), code]) + payload
    try:
        (parsed,) = parse_descriptors(data)
    except DescriptorError:
        return
    assert not isinstance(parsed, UnknownDescriptor)
    assert parsed.to_bytes() == data


HID_BYTES, READER_BYTES = bytes.fromhex("092111010001221000"), b"\x36\x21" + bytes(52)


@pytest.mark.parametrize(
    ("before", "data", "kind"),
    [
        ([InterfaceDescriptor(0, 0, 0, 3)], HID_BYTES, HidDescriptor),
        ([InterfaceDescriptor(0, 0, 0, 3), EndpointDescriptor(0x81, 3, 8, 1)], HID_BYTES, HidDescriptor),
        ([InterfaceDescriptor(0, 0, 0, 0xFF)], HID_BYTES, UnknownDescriptor),
        ([InterfaceDescriptor(0, 0, 0, 3), InterfaceDescriptor(1, 0, 0, 0xFE)], HID_BYTES, UnknownDescriptor),
        ([], HID_BYTES, UnknownDescriptor),
        ([InterfaceDescriptor(0, 0, 0, 3)], b"\x0c\x21" + bytes(10), UnknownDescriptor),
        ([InterfaceDescriptor(0, 0, 0, 0x0B)], HID_BYTES, UnknownDescriptor),
        ([InterfaceDescriptor(0, 0, 0, 3)], READER_BYTES, UnknownDescriptor),
        ([InterfaceDescriptor(0, 0, 0, 3)], b"\x03\x09\x01", OtgDescriptor),
        ([], b"\x05\x09\x01\x00\x02", UnknownDescriptor),
    ],
)
def test_a_type_that_several_share_is_told_by_the_interface_and_the_length(
    before: list[Descriptor], data: bytes, kind: type[Descriptor]
) -> None:
    (*_, found) = parse_descriptors(join_descriptors(before) + data)
    assert type(found) is kind
    assert found.to_bytes() == data


def test_some_are_taken_and_the_rest_is_left() -> None:
    interface = InterfaceDescriptor(0, 0, 0, 0xFF)
    data = join_descriptors([interface, interface, interface])
    assert take_descriptors(data, 2) == ([interface, interface], interface.to_bytes())
    assert take_descriptors(data, 0) == ([], data)
    with pytest.raises(DescriptorError, match="bLength = 0: must be at least 2 and within the 0 bytes"):
        take_descriptors(data, 4)


@given(descriptors, st.data())
def test_a_descriptor_that_is_cut_off_is_refused(built: Descriptor, data: st.DataObject) -> None:
    whole = built.to_bytes()
    cut = data.draw(st.integers(1, len(whole) - 1))
    with pytest.raises(DescriptorError, match="bLength"):
        parse_descriptors(whole[:cut])


@pytest.mark.parametrize("length", [0, 1])
def test_a_length_that_does_not_cover_its_own_head_is_refused(length: int) -> None:
    with pytest.raises(DescriptorError, match="bLength"):
        parse_descriptors(bytes([length, 0x24, 0, 0]))


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        (
            DeviceDescriptor(0x0200, 0, 0, 0, 64, 0x1D6B, 0x0104, 0x0100, 1, 2, 3, 1),
            "12 01 0002 00 00 00 40 6b1d 0401 0001 01 02 03 01",
        ),
        (DeviceQualifierDescriptor(0x0200, 0xEF, 2, 1, 64), "0a 06 0002 ef 02 01 40 01 00"),
        (ConfigurationDescriptor(32, 1), "09 02 2000 01 01 00 80 32"),
        (InterfaceDescriptor(1, 0, 2, 0xFF, 2, 3, 4), "09 04 01 00 02 ff 02 03 04"),
        (EndpointDescriptor(0x81, 2, 512), "07 05 81 02 0002 00"),
        (EndpointDescriptor(0x02, 0x0D, 192, 1, (0, 0x83)), "09 05 02 0d c000 01 00 83"),
        (SuperSpeedEndpointCompanion(3, 0, 0x0400), "06 30 03 00 0004"),
        (InterfaceAssociation(2, 2, 2, 2, 1, 5), "08 0b 02 02 02 02 01 05"),
        (StringDescriptor.from_text("Aß€"), "08 03 4100 df00 ac20"),
        (StringDescriptor.from_languages([0x0409, 0x0407]), "06 03 0904 0704"),
        (UnknownDescriptor(0x24, b"\x00\x10\x01"), "05 24 00 10 01"),
    ],
)
def test_the_bytes_are_those_of_the_specification(built: Descriptor, expected: str) -> None:
    assert built.to_bytes() == bytes.fromhex(expected)


REFUSED: list[tuple[Callable[[], Any], str, str, str]] = [
    (lambda: DeviceDescriptor(0x020A, 0, 0, 0, 64, 1, 1, 1), "bcdUSB", "binary-coded decimal", "9.6.1"),
    (lambda: DeviceDescriptor(0x0200, 0, 0, 0, 64, 1, 1, 0x1A), "bcdDevice", "binary-coded decimal", "9.6.1"),
    (lambda: DeviceDescriptor(0x0200, 0, 1, 0, 64, 1, 1, 1), "bDeviceSubClass", "must be 0 while", "9.6.1"),
    (lambda: DeviceDescriptor(0x0200, 0, 0, 0, 63, 1, 1, 1), "bMaxPacketSize0", "8, 16, 32 or 64", "9.6.1"),
    (lambda: DeviceDescriptor(0x0320, 0, 0, 0, 64, 1, 1, 1), "bMaxPacketSize0", "9 (for 2**9)", "9.6.1"),
    (lambda: DeviceDescriptor(0x0200, 0, 0, 0, 64, 65536, 1, 1), "idVendor", "0 to 65535", "9.6.1"),
    (lambda: DeviceDescriptor(0x0200, 0, 0, 0, 64, 1, 1, 1, -1), "iManufacturer", "0 to 255", "9.6.1"),
    (
        lambda: DeviceDescriptor(0x0200, 0, 0, 0, 64, 1, 1, 1, configuration_count=0),
        "bNumConfigurations",
        "at least 1",
        "9.6.1",
    ),
    (lambda: DeviceQualifierDescriptor(0x0200, 0, 0, 0, 9), "bMaxPacketSize0", "8, 16, 32 or 64", "9.6.2"),
    (lambda: DeviceQualifierDescriptor(0x0200, 0, 0, 0, 64, 1, 1), "bReserved", "must be 0", "9.6.2"),
    (lambda: ConfigurationDescriptor(8, 1), "wTotalLength", "at least 9", "9.6.3"),
    (lambda: ConfigurationDescriptor(9, 1, 0), "bConfigurationValue", "unconfigured", "9.6.3"),
    (lambda: ConfigurationDescriptor(9, 1, attributes=0x40), "bmAttributes", "bit 7 set", "9.6.3"),
    (lambda: ConfigurationDescriptor(9, 1, attributes=0x81), "bmAttributes", "bits 4..0 clear", "9.6.3"),
    (lambda: InterfaceDescriptor(0, 0, 31, 0xFF), "bNumEndpoints", "at most 30", "9.6.5"),
    (lambda: InterfaceDescriptor(0, 0, 0, 0, 1), "bInterfaceSubClass", "must be 0 while", "9.6.5"),
    (lambda: InterfaceDescriptor(256, 0, 0, 0xFF), "bInterfaceNumber", "0 to 255", "9.6.5"),
    (lambda: EndpointDescriptor(0x80, 2, 64), "bEndpointAddress", "not be endpoint 0", "9.6.6"),
    (lambda: EndpointDescriptor(0x91, 2, 64), "bEndpointAddress", "bits 6..4 clear", "9.6.6"),
    (lambda: EndpointDescriptor(0x81, 0x42, 64), "bmAttributes", "reserved", "9.6.6"),
    (lambda: EndpointDescriptor(0x81, 0x06, 64), "bmAttributes", "reserved in an endpoint of type bulk", "9.6.6"),
    (lambda: EndpointDescriptor(0x81, 0x07, 64, 1), "bmAttributes", "reserved in an endpoint of type int", "9.6.6"),
    (lambda: EndpointDescriptor(0x81, 2, 1025), "wMaxPacketSize", "at most 1024", "9.6.6"),
    (lambda: EndpointDescriptor(0x81, 2, 0x0800 | 600), "wMaxPacketSize", "isochronous or interrupt", "9.6.6"),
    (lambda: EndpointDescriptor(0x81, 1, 0x1800 | 600, 1), "wMaxPacketSize", "bits 15..13 clear", "9.6.6"),
    (lambda: EndpointDescriptor(0x81, 1, 0x0800 | 512, 1), "wMaxPacketSize", "at least 513", "9.6.6"),
    (lambda: EndpointDescriptor(0x81, 3, 0x1000 | 682, 1), "wMaxPacketSize", "at least 683", "9.6.6"),
    (lambda: EndpointDescriptor(0x81, 1, 64, 17), "bInterval", "from 1 to 16 for isochronous", "9.6.6"),
    (lambda: EndpointDescriptor(0x81, 3, 64, 0), "bInterval", "from 1 to 255 for interrupt", "9.6.6"),
    (lambda: EndpointDescriptor(0x81, 2, 64, 0, (0, 256)), "bSynchAddress", "0 to 255", "9.6.6"),
    (lambda: SuperSpeedEndpointCompanion(16), "bMaxBurst", "at most 15", "9.6.7"),
    (lambda: SuperSpeedEndpointCompanion(0, 17), "bmAttributes", "up to 16", "9.6.7"),
    (lambda: SuperSpeedEndpointCompanion(0, 0x84), "bmAttributes", "bits 6..2 clear", "9.6.7"),
    (lambda: SuperSpeedEndpointCompanion(0, 0, 65536), "wBytesPerInterval", "0 to 65535", "9.6.7"),
    (lambda: InterfaceAssociation(0, 0, 2), "bInterfaceCount", "at least 1", "9.6.4"),
    (lambda: InterfaceAssociation(255, 2, 2), "bInterfaceCount", "past interface 255", "9.6.4"),
    (lambda: InterfaceAssociation(0, 1, 0), "bFunctionClass", "reserved", "9.6.4"),
    (lambda: StringDescriptor.from_text("x" * 127), "bLength", "126 units", "9.6.7"),
    (lambda: StringDescriptor.from_text("\ud800"), "bString", "surrogate", "9.6.7"),
    (lambda: StringDescriptor(b"abc"), "bLength", "even", "9.6.7"),
    (lambda: StringDescriptor(b"\x00\xd8").text, "bString", "UTF-16", "9.6.7"),
    (lambda: StringDescriptor.from_languages([0]), "wLANGID", "from 1 to 65535", "9.6.7"),
    (lambda: UnknownDescriptor(5, b"\x81\x02\x40\x00\x00"), "bDescriptorType", "as EndpointDescriptor", "9.5"),
    (lambda: UnknownDescriptor(9, b"\x01"), "bDescriptorType", "as OtgDescriptor", "9.5"),
    (lambda: UnknownDescriptor(0x24, bytes(254)), "bLength", "at most 255", "9.5"),
    (lambda: UnknownDescriptor(256), "bDescriptorType", "0 to 255", "9.5"),
    (lambda: parse_descriptors(b"\x08\x05\x81\x02\x40\x00\x00\x00"), "bLength", "7, or 9 for audio", "9.6.6"),
    (lambda: parse_descriptors(b"\x08\x04\x00\x00\x00\xff\x00\x00"), "bLength", "must be 9", "9.6.5"),
]


@pytest.mark.parametrize(("build", "field", "rule", "section"), REFUSED)
def test_a_refusal_names_the_field_the_value_the_rule_and_its_source(
    build: Callable[[], Any], field: str, rule: str, section: str
) -> None:
    with pytest.raises(DescriptorError) as caught:
        build()
    error = caught.value
    assert error.field == field
    assert rule in error.rule
    assert section in error.source
    assert str(error) == f"{field} = {error.value!r}: {error.rule} ({error.source})"


def test_an_endpoint_shows_what_its_numbers_mean() -> None:
    endpoint = EndpointDescriptor(0x83, 1, 0x1000 | 1024, 1)
    assert (endpoint.number, endpoint.direction) == (3, Direction.IN)
    assert endpoint.transfer_type is TransferType.ISOCHRONOUS
    assert (endpoint.packet_size, endpoint.transactions) == (1024, 3)
    assert EndpointDescriptor(0x03, 2, 64).direction is Direction.OUT
    assert EndpointDescriptor(0x03, 2, 64).transactions == 1


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=63))
def test_a_string_keeps_its_text(text: str) -> None:
    assert StringDescriptor.from_text(text).text == text


@given(st.lists(st.integers(1, 65535), max_size=126))
def test_a_language_table_keeps_its_languages(languages: list[int]) -> None:
    assert StringDescriptor.from_languages(languages).languages == tuple(languages)


def test_a_descriptor_is_a_value() -> None:
    one, two = EndpointDescriptor(0x81, 2, 64), EndpointDescriptor(0x81, 2, 64)
    assert one == two
    assert hash(one) == hash(two)
    with pytest.raises(FrozenInstanceError):
        one.address = 0x82  # type: ignore[misc]


def test_a_number_that_is_no_whole_number_is_refused() -> None:
    with pytest.raises(DescriptorError, match="must be a whole number"):
        EndpointDescriptor(0x81, 2, 64.0)  # type: ignore[arg-type]
