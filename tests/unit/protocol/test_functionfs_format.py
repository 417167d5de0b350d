from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from gadget.errors import DescriptorError, KernelError
from gadget.protocol.constants import Direction, EventType, Recipient, RequestType
from gadget.protocol.functionfs_format import EVENT_SIZE, Event, Setup, parse_events

U8, U16 = st.integers(0, 255), st.integers(0, 65535)
setups = st.builds(Setup, U8, U8, U16, U16, U16)
events = st.sampled_from(EventType).flatmap(
    lambda kind: st.builds(Event, st.just(kind), setups if kind is EventType.SETUP else st.none())
)


def raw(event: Event) -> bytes:
    return (event.setup.to_bytes() if event.setup else bytes(8)) + bytes([event.type, 0, 0, 0])


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
