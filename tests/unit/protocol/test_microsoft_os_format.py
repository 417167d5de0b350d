from __future__ import annotations

import struct

import pytest
from hypothesis import given, strategies as st

from gadget.errors import DescriptorError
from gadget.protocol.constants import PropertyType
from gadget.protocol.microsoft_os import MicrosoftOs, Property
from gadget.protocol.microsoft_os_format import microsoft_os_bytes, parse_microsoft_os, property_record

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
ONE_TEXT = st.sampled_from([PropertyType.TEXT, PropertyType.EXPANDABLE_TEXT, PropertyType.LINK])
PROPERTIES = st.one_of(
    st.builds(Property.text, TEXTS, ONE_TEXT),
    st.builds(Property.texts, st.lists(TEXTS.filter(bool), max_size=3)),
    st.builds(Property.binary, st.binary(max_size=300)),
    st.builds(lambda number, big: Property.number(number, big_endian=big), st.integers(0, 2**32 - 1), st.booleans()),
)
NAMES = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=20)
IDS = st.from_regex(r"[A-Z0-9_]{1,8}", fullmatch=True)
SAID = st.builds(MicrosoftOs, IDS, IDS | st.just(""), st.dictionaries(NAMES, PROPERTIES, max_size=4))

WINUSB = MicrosoftOs("WINUSB", properties={"a": Property.text("b")})


@given(st.lists(st.none() | SAID, min_size=1, max_size=4), st.integers(0, 12))
def test_what_is_said_is_read_back(each: list[MicrosoftOs | None], first: int) -> None:
    """Of every type, also of those that FunctionFS does not serve."""
    said = tuple(
        MicrosoftOs(one.compatible_id, one.sub_compatible_id, one.properties, interface)
        for interface, one in enumerate(each)
        if one is not None
    )
    numbers = list(range(first, first + len(each)))
    count, data = microsoft_os_bytes(said, numbers)
    assert parse_microsoft_os(data, count, numbers) == said


@given(st.binary(max_size=120), st.integers(0, 3))
def test_any_bytes_are_read_or_refused(data: bytes, count: int) -> None:
    try:
        found = parse_microsoft_os(data, count, [0, 1])
    except DescriptorError:
        return
    assert all(one.interface in (0, 1) for one in found)


def test_blocks_may_come_in_any_order_and_leave_interfaces_out() -> None:
    record = property_record("a", Property.text("b"))
    properties = struct.pack("<BIHHH", 3, 11 + len(record), 1, 5, 1) + record
    ids = struct.pack("<BIHHBB", 0, 35, 1, 4, 1, 0) + bytes([3, 1]) + b"WINUSB" + bytes(16)
    expected = (MicrosoftOs("WINUSB", "", {"a": Property.text("b")}, interface=1),)
    assert parse_microsoft_os(properties + ids, 2, [2, 3]) == expected


COUNT, GOOD = microsoft_os_bytes([WINUSB], [0])


def patched(at: int, form: str, value: int) -> bytes:
    new = struct.pack("<" + form, value)
    return GOOD[:at] + new + GOOD[at + len(new) :]


@pytest.mark.parametrize(
    ("data", "field", "rule"),
    [
        (b"", "length", "within the 0 bytes"),
        (GOOD[:-1], "dwLength", "within"),
        (GOOD + b"\0", "os_count", "no bytes over"),
        (GOOD[:35] * 2, "bFirstInterfaceNumber", "not be there twice"),
        (GOOD[35:] * 2, "interface", "not be there twice"),
        (patched(1, "I", 10), "dwLength", "must be within"),
        (patched(1, "I", 36), "dwLength", "no bytes over"),
        (patched(5, "H", 0x0100), "bcdVersion", "must be 1"),
        (patched(7, "H", 6), "wIndex", "must be 4"),
        (patched(9, "H", 0x0101), "bCount", "the byte behind it 0"),
        (patched(9, "H", 2), "length", "within the 0 bytes"),
        (patched(11, "B", 1), "bFirstInterfaceNumber", "the number of an interface"),
        (patched(12, "B", 0), "Reserved1", "must be 1"),
        (patched(13, "B", 0xFF), "CompatibleID", "must be ASCII"),
        (patched(13, "B", 0), "CompatibleID", "capital letters"),
        (patched(34, "B", 1), "Reserved2", "must be 0"),
        (patched(35, "B", 1), "bFirstInterfaceNumber", "the number of an interface"),
        (patched(46, "I", 99), "dwSize", "must be 18"),
        (patched(50, "I", 8), "dwPropertyDataType", "from 1 to 7"),
        (patched(50, "I", 0), "dwPropertyDataType", "from 1 to 7"),
        (patched(54, "H", 1), "dwPropertyDataLength", "within"),
        (patched(54, "H", 99), "wPropertyNameLength", "within"),
        (patched(57, "B", 1), "bPropertyName", "ended by NUL"),
        (patched(56, "B", 0xFF), "bPropertyName", "UTF-8"),
    ],
)
def test_what_contradicts_itself_is_refused(data: bytes, field: str, rule: str) -> None:
    with pytest.raises(DescriptorError) as caught:
        parse_microsoft_os(data, COUNT, [0])
    assert caught.value.field == field
    assert rule in caught.value.rule


def test_a_property_twice_is_refused() -> None:
    record = property_record("a", Property.text("b"))
    data = struct.pack("<BIHHH", 0, 11 + 2 * len(record), 1, 5, 2) + record * 2
    with pytest.raises(DescriptorError, match="bPropertyName = 'a': must not be there twice"):
        parse_microsoft_os(data, 1, [0])


def test_an_interface_past_the_last_one_is_refused_even_if_it_says_nothing() -> None:
    ids = struct.pack("<BIHHBB", 0, 35, 1, 4, 1, 0) + bytes([1, 1]) + bytes(22)
    assert parse_microsoft_os(ids, 1, [3]) == ()
    with pytest.raises(DescriptorError, match="must be at most 0, the largest interface number"):
        parse_microsoft_os(ids, 1, [0])


def test_without_an_interface_there_is_nobody_to_say_it() -> None:
    with pytest.raises(DescriptorError, match="bNumInterfaces = 0"):
        parse_microsoft_os(b"", 0, [])
