from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given, strategies as st

from gadget.errors import DescriptorError
from gadget.protocol.constants import Direction, FunctionFSFlag, LanguageId, Speed, TransferType
from gadget.protocol.declaration import EndpointDeclaration, InterfaceDeclaration, function_descriptors
from gadget.protocol.descriptors import Descriptor, EndpointDescriptor, HidDescriptor, InterfaceDescriptor
from gadget.protocol.functionfs_blobs import (
    DescriptorsBlob,
    descriptors_blob,
    parse_descriptors_blob,
    parse_strings_blob,
    strings_blob,
)
from gadget.protocol.microsoft_os import MicrosoftOs, Property

HAS = {Speed.FULL: 1, Speed.HIGH: 2, Speed.SUPER: 4}


def declared(*speeds: Speed, counts: Sequence[int] = (2,), first: int = 0) -> dict[Speed, Sequence[Descriptor]]:
    """Interfaces with so many endpoints each."""
    endpoint = EndpointDeclaration(Direction.IN, TransferType.BULK)
    interfaces = [InterfaceDeclaration(endpoints=(endpoint,) * count) for count in counts]
    return {speed: function_descriptors(interfaces, speed, first) for speed in speeds}


NAMES = st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=20)
TEXTS = st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=40)
PROPERTIES = st.one_of(TEXTS.map(Property.text), st.binary(max_size=60).map(Property.binary))
IDS = st.from_regex(r"[A-Z0-9_]{1,8}", fullmatch=True)


@st.composite
def said(draw: st.DrawFn, interfaces: int) -> list[MicrosoftOs]:
    """Something about some of the interfaces, in the order of their numbers."""
    chosen = draw(st.sets(st.integers(0, interfaces - 1)))
    properties = st.dictionaries(NAMES, PROPERTIES, min_size=1, max_size=5)
    return [
        draw(
            st.one_of(
                st.builds(MicrosoftOs, IDS, IDS | st.just(""), properties | st.just({}), st.just(number)),
                st.builds(MicrosoftOs, properties=properties, interface=st.just(number)),
            )
        )
        for number in sorted(chosen)
    ]


@given(
    st.sets(st.sampled_from([Speed.HIGH, Speed.SUPER])),
    st.lists(st.integers(0, 4), min_size=1, max_size=3),
    st.integers(0, 13),
    st.none() | st.integers(0, 2**31 - 1),
    st.sampled_from([0, 16, 64, 128, 64 | 128]),
    st.data(),
)
def test_a_blob_is_read_back_as_it_was_made(
    more: set[Speed], counts: list[int], first: int, eventfd: int | None, extra: int, data: st.DataObject
) -> None:
    descriptors = declared(*sorted(more, reverse=True), Speed.FULL, counts=counts, first=first)
    microsoft_os = data.draw(st.none() | said(len(counts)))
    flags = FunctionFSFlag(extra)
    blob = descriptors_blob(descriptors, flags=flags, eventfd=eventfd, microsoft_os=microsoft_os)
    for speed in descriptors:
        flags |= HAS[speed]
    if eventfd is not None:
        flags |= FunctionFSFlag.EVENTFD
    if microsoft_os is not None:
        flags |= FunctionFSFlag.HAS_MS_OS_DESC
    found = parse_descriptors_blob(blob)
    expected = None if microsoft_os is None else tuple(microsoft_os)
    assert found == DescriptorsBlob(descriptors, flags, eventfd, expected)
    assert found.to_bytes() == blob


def test_the_blob_has_the_kernels_layout() -> None:
    interface, endpoint = InterfaceDescriptor(0, 0, 1, 0xFF), EndpointDescriptor(0x81, 2, 64)
    high = EndpointDescriptor(0x81, 2, 512)
    descriptors: dict[Speed, Sequence[Descriptor]] = {Speed.HIGH: [interface, high], Speed.FULL: [interface, endpoint]}
    expected = (
        struct.pack("<III", 3, 56, 1 | 2 | 32 | 64)
        + struct.pack("<III", 7, 2, 2)
        + bytes.fromhex("090400 0001ff0000 00  0705810240 0000")
        + bytes.fromhex("090400 0001ff0000 00  0705810200 0200")
    )
    assert descriptors_blob(descriptors, flags=FunctionFSFlag.ALL_CTRL_RECIP, eventfd=7) == expected


def test_the_layout_of_microsoft_os_descriptors() -> None:
    """Behind the descriptors; every number up to the last one has an ID, an empty one where it says nothing."""
    descriptors = {Speed.FULL: [InterfaceDescriptor(1, 0, 0, 0xFF)]}
    microsoft_os = [MicrosoftOs("WINUSB", "", {"Label": Property.text("hi")})]
    ids = bytes([0, 1]) + bytes(22) + bytes([1, 1]) + b"WINUSB\0\0" + bytes(14)
    record = struct.pack("<IIH", 23, 1, 6) + b"Label\0" + struct.pack("<I", 3) + b"hi\0"
    os = struct.pack("<BIHHBB", 0, 59, 1, 4, 2, 0) + ids + struct.pack("<BIHHH", 1, 34, 1, 5, 1) + record
    expected = struct.pack("<IIIII", 3, 20 + 9 + 59 + 34, 1 | 8, 1, 2) + bytes.fromhex("090401 0000ff0000 00") + os
    assert descriptors_blob(descriptors, microsoft_os=microsoft_os) == expected


def test_a_function_that_says_nothing_to_windows_beside_one_that_does() -> None:
    blob = descriptors_blob(declared(Speed.FULL), microsoft_os=[])
    assert struct.unpack_from("<III", blob, 8) == (1 | 8, 3, 1)
    assert parse_descriptors_blob(blob).microsoft_os == ()


def test_what_windows_would_not_get_is_refused() -> None:
    with pytest.raises(DescriptorError, match=r"interface = 1: must be from 0 to 0"):
        descriptors_blob(declared(Speed.FULL), microsoft_os=[MicrosoftOs("WINUSB", interface=1)])


def test_the_class_of_each_descriptor_is_that_of_its_own_speed() -> None:
    """One of type 0x21 at the head of a speed follows no interface, whatever ended the speed before."""
    hid = HidDescriptor(report_length=10)
    interface = InterfaceDescriptor(0, 0, 0, 3)
    blob = descriptors_blob({Speed.FULL: [interface, hid], Speed.HIGH: [interface, hid]})
    swapped = blob[:-18] + hid.to_bytes() + interface.to_bytes()
    with pytest.raises(DescriptorError, match="except in an interface of class HID"):
        parse_descriptors_blob(swapped).to_bytes()
    assert parse_descriptors_blob(blob).descriptors[Speed.HIGH] == [interface, hid]


def test_what_functionfs_does_not_take_is_refused() -> None:
    with pytest.raises(DescriptorError, match=r"fs_count = 0: must have descriptors for full speed"):
        descriptors_blob(declared(Speed.HIGH))


@pytest.mark.parametrize("flag", [1, 2, 4, 8, 32])
def test_flags_that_follow_from_the_arguments_are_refused(flag: int) -> None:
    with pytest.raises(DescriptorError, match=r"flags = .*follow from the arguments"):
        descriptors_blob(declared(Speed.FULL), flags=FunctionFSFlag(flag))


@pytest.mark.parametrize("eventfd", [-1, 2**31])
def test_an_eventfd_that_is_none_is_refused(eventfd: int) -> None:
    with pytest.raises(DescriptorError, match=r"eventfd = .*must be an open file descriptor"):
        descriptors_blob(declared(Speed.FULL), eventfd=eventfd)


GOOD = descriptors_blob(declared(Speed.FULL, Speed.HIGH), eventfd=5)


def patched(at: int, value: int) -> bytes:
    return GOOD[:at] + struct.pack("<I", value) + GOOD[at + 4 :]


@pytest.mark.parametrize(
    ("blob", "field", "rule"),
    [
        (b"", "length", "at least 12"),
        (patched(0, 1), "magic", "FUNCTIONFS_DESCRIPTORS_MAGIC_V2"),
        (GOOD + b"\0", "length", f"must be {len(GOOD) + 1}"),
        (patched(8, 1 | 2 | 32 | 8), "bLength", "at least 2"),
        (patched(8, 256), "flags", "known flags only"),
        (struct.pack("<IIII", 3, 16, 1 | 32, 0), "length", "at least 20"),
        (patched(16, 4), "bLength", "within the 0 bytes"),
        (patched(20, 2), "count", "7 bytes follow"),
    ],
)
def test_a_blob_that_contradicts_itself_is_refused(blob: bytes, field: str, rule: str) -> None:
    with pytest.raises(DescriptorError) as caught:
        parse_descriptors_blob(blob)
    assert caught.value.field == field
    assert rule in caught.value.rule


@given(st.binary(max_size=200), st.integers(0, 255))
def test_any_bytes_are_read_as_a_blob_or_refused(tail: bytes, flags: int) -> None:
    blob = struct.pack("<III", 3, 12 + len(tail), flags) + tail
    try:
        parsed = parse_descriptors_blob(blob)
    except DescriptorError:
        return
    assert parsed.flags == flags


def test_the_strings_have_the_kernels_layout() -> None:
    blob = strings_blob({0x0409: ["Echo", "ß"], 0x0407: ["", "x"]})
    body = b"\x09\x04Echo\0\xc3\x9f\0" + b"\x07\x04\0x\0"
    assert blob == struct.pack("<IIII", 2, 16 + len(body), 2, 2) + body


@pytest.mark.parametrize("strings", [{}, {0x0409: []}])
def test_no_strings_are_no_languages_either(strings: dict[int, list[str]]) -> None:
    """The kernel refuses a count of one without the other."""
    assert strings_blob(strings) == struct.pack("<IIII", 2, 16, 0, 0)


@given(st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=31)))
def test_every_string_is_in_the_blob_in_order(texts: list[str]) -> None:
    blob = strings_blob({0x0409: texts})
    assert struct.unpack_from("<II", blob, 4) == (len(blob), len(texts))
    found = blob[18:].split(b"\0")[:-1]
    assert [text.decode() for text in found] == texts


def test_strings_that_functionfs_does_not_take_are_refused() -> None:
    with pytest.raises(DescriptorError, match=r"at most 126 bytes"):
        strings_blob({0x0409: ["x" * 127]})


LANGUAGES = st.dictionaries(
    st.integers(1, 65535),
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=31), min_size=2, max_size=2),
)


@given(LANGUAGES)
def test_strings_are_read_back_as_they_were_made(strings: dict[int, list[str]]) -> None:
    assert parse_strings_blob(strings_blob(strings)) == strings


@given(st.binary(max_size=64), st.integers(0, 4), st.integers(0, 4))
def test_any_bytes_are_read_as_strings_or_refused(tail: bytes, count: int, languages: int) -> None:
    blob = struct.pack("<IIII", 2, 16 + len(tail), count, languages) + tail
    try:
        found = parse_strings_blob(blob)
    except DescriptorError:
        return
    assert [len(texts) for texts in found.values()] == [count] * languages
    assert len(blob) == 16 + sum(2 + sum(len(text.encode()) + 1 for text in texts) for texts in found.values())


STRINGS = strings_blob({LanguageId.ENGLISH_US: ["one", "two"], LanguageId.GERMAN: ["eins", "zwei"]})


def changed(at: int, value: int) -> bytes:
    return STRINGS[:at] + struct.pack("<I", value) + STRINGS[at + 4 :]


@pytest.mark.parametrize(
    ("blob", "field", "rule"),
    [
        (b"", "length", "at least 16"),
        (changed(0, 3), "magic", "FUNCTIONFS_STRINGS_MAGIC"),
        (changed(4, 7), "length", f"must be {len(STRINGS)}"),
        (changed(8, 0), "lang_count", "must be 0 if str_count is 0"),
        (changed(12, 0), "lang_count", "must be 0 if str_count is 0, which is 2"),
        (changed(12, 1), "lang_count", "languages that follow"),
        (changed(12, 3), "lang_count", "languages that follow"),
        (changed(8, 9), "str_count", "each ended by NUL"),
        (STRINGS[:-5] + b"\xff\xff\xff\xff\0", "string", "must be UTF-8"),
        (STRINGS.replace(b"\x07\x04", b"\x09\x04"), "lang", "must be there once"),
    ],
)
def test_strings_that_contradict_themselves_are_refused(blob: bytes, field: str, rule: str) -> None:
    with pytest.raises(DescriptorError) as caught:
        parse_strings_blob(blob)
    assert caught.value.field == field
    assert rule in caught.value.rule


def test_a_string_that_a_descriptor_names_and_nobody_gives() -> None:
    with pytest.raises(DescriptorError, match=r"str_count = 1: must be at least 2"):
        strings_blob({LanguageId.ENGLISH_US: ["one"]}, needed=2)
