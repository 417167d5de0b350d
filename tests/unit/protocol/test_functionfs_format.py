from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given, strategies as st

from gadget.errors import DescriptorError, KernelError
from gadget.protocol.constants import Direction, EventType, FunctionFSFlag, Recipient, RequestType, Speed, TransferType
from gadget.protocol.declaration import EndpointDeclaration, InterfaceDeclaration, function_descriptors
from gadget.protocol.descriptors import Descriptor, EndpointDescriptor, InterfaceDescriptor
from gadget.protocol.functionfs_format import (
    EVENT_SIZE,
    DescriptorsBlob,
    Event,
    Setup,
    descriptors_blob,
    parse_descriptors_blob,
    parse_events,
    strings_blob,
)

U8, U16 = st.integers(0, 255), st.integers(0, 65535)
setups = st.builds(Setup, U8, U8, U16, U16, U16)
events = st.sampled_from(EventType).flatmap(
    lambda kind: st.builds(Event, st.just(kind), setups if kind is EventType.SETUP else st.none())
)
HAS = {Speed.FULL: 1, Speed.HIGH: 2, Speed.SUPER: 4}


def raw(event: Event) -> bytes:
    return (event.setup.to_bytes() if event.setup else bytes(8)) + bytes([event.type, 0, 0, 0])


def declared(*speeds: Speed, count: int = 2) -> dict[Speed, Sequence[Descriptor]]:
    endpoint = EndpointDeclaration(Direction.IN, TransferType.BULK)
    interface = InterfaceDeclaration(endpoints=(endpoint,) * count)
    return {speed: function_descriptors([interface], speed) for speed in speeds}


@given(
    st.sets(st.sampled_from([Speed.HIGH, Speed.SUPER])),
    st.integers(0, 4),
    st.none() | st.integers(0, 2**31 - 1),
    st.sampled_from([0, 16, 64, 128, 64 | 128]),
)
def test_a_blob_is_read_back_as_it_was_made(more: set[Speed], count: int, eventfd: int | None, extra: int) -> None:
    descriptors = declared(*sorted(more, reverse=True), Speed.FULL, count=count)
    flags = FunctionFSFlag(extra)
    blob = descriptors_blob(descriptors, flags=flags, eventfd=eventfd)
    for speed in descriptors:
        flags |= HAS[speed]
    if eventfd is not None:
        flags |= FunctionFSFlag.EVENTFD
    assert parse_descriptors_blob(blob) == DescriptorsBlob(descriptors, flags, eventfd)


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
        (patched(8, 1 | 2 | 32 | 8), "flags", "HAS_MS_OS_DESC"),
        (patched(8, 256), "flags", "known flags only"),
        (struct.pack("<IIII", 3, 16, 1 | 32, 0), "length", "at least 20"),
        (patched(16, 4), "count", "must add up to 6"),
    ],
)
def test_a_blob_that_contradicts_itself_is_refused(blob: bytes, field: str, rule: str) -> None:
    with pytest.raises(DescriptorError) as caught:
        parse_descriptors_blob(blob)
    assert caught.value.field == field
    assert rule in caught.value.rule


@given(st.binary(max_size=64), st.integers(0, 255))
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


@given(setups)
def test_a_setup_packet_is_read_back_as_it_was(setup: Setup) -> None:
    assert Setup.from_bytes(setup.to_bytes()) == setup
    assert setup.direction | setup.type | setup.request_type & 0x1F == setup.request_type
    assert setup.recipient in Recipient


def test_a_setup_packet_shows_what_its_numbers_mean() -> None:
    setup = Setup.from_bytes(memoryview(bytes.fromhex("c1 01 3412 0200 4000")))
    assert (setup.request, setup.value, setup.index, setup.length) == (1, 0x1234, 2, 64)
    assert (setup.direction, setup.type, setup.recipient) == (Direction.IN, RequestType.VENDOR, Recipient.INTERFACE)


@pytest.mark.parametrize("size", [0, 7, 9])
def test_a_setup_packet_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(KernelError, match=f"has 8 bytes, this one has {size}"):
        Setup.from_bytes(bytes(size))


@pytest.mark.parametrize("setup", [Setup(256, 0, 0, 0, 0), Setup(0, 0, 0, 0, 65536), Setup(0, -1, 0, 0, 0)])
def test_a_setup_packet_that_does_not_fit_is_refused(setup: Setup) -> None:
    with pytest.raises(DescriptorError, match="must fit into"):
        setup.to_bytes()


@given(st.lists(events, max_size=4))
def test_events_are_read_in_order(expected: list[Event]) -> None:
    data = b"".join(raw(event) for event in expected)
    assert len(data) == EVENT_SIZE * len(expected)
    assert parse_events(data) == parse_events(memoryview(data)) == expected


def test_the_setup_bytes_of_other_events_are_not_looked_at() -> None:
    assert parse_events(b"\xff" * 8 + bytes([EventType.ENABLE]) + b"\xff" * 3) == [Event(EventType.ENABLE)]


@pytest.mark.parametrize("size", [1, 11, 13])
def test_half_an_event_is_refused(size: int) -> None:
    with pytest.raises(KernelError, match=f"delivered {size} bytes"):
        parse_events(bytes(size))


def test_an_unknown_event_is_refused() -> None:
    with pytest.raises(KernelError, match="reported event 7"):
        parse_events(bytes(8) + b"\x07\0\0\0")
