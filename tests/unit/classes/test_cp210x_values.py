from __future__ import annotations

import struct

import pytest
from hypothesis import given, strategies as st

from gadget.classes.cp210x_values import (
    BaudRates,
    FlowControl,
    Hold,
    LineControl,
    LineError,
    Parity,
    PartNumber,
    Queues,
    RtsMode,
    SpecialCharacters,
    StopBits,
    comm_status,
    properties,
)
from gadget.errors import DescriptorError


@pytest.mark.parametrize(
    ("value", "expected", "text"),
    [
        (0x0800, LineControl(), "8N1"),
        (0x0711, LineControl(7, Parity.ODD, StopBits.ONE_AND_A_HALF), "7O1.5"),
        (0x0542, LineControl(5, Parity.SPACE, StopBits.TWO), "5S2"),
    ],
)
def test_line_control_is_a_number_and_a_text(value: int, expected: LineControl, text: str) -> None:
    assert LineControl.parse(value) == expected
    assert (int(expected), str(expected)) == (value, text)


@pytest.mark.parametrize("value", [0x0400, 0x0900, 0x0850, 0x0803])
def test_a_framing_that_does_not_exist_is_refused(value: int) -> None:
    with pytest.raises(DescriptorError, match="AN571"):
        LineControl.parse(value)


@given(st.binary(min_size=16, max_size=16))
def test_flow_control_round_trips(data: bytes) -> None:
    assert FlowControl.parse(data).to_bytes() == data


def test_flow_control_has_the_modes_of_two_lines() -> None:
    flow = FlowControl(handshake=0x09, replace=0x80)
    assert (flow.rts_mode, flow.dtr_mode) == (RtsMode.RECEIVE_FLOW_CONTROL, 1)


@pytest.mark.parametrize(("kind", "size"), [(FlowControl, 16), (SpecialCharacters, 6)])
def test_a_structure_of_another_size_is_refused(kind: type[FlowControl] | type[SpecialCharacters], size: int) -> None:
    for wrong in (size - 1, size + 1):
        with pytest.raises(DescriptorError, match=f"must be {size} bytes"):
            kind.parse(bytes(wrong))


def test_special_characters_change_one_by_one() -> None:
    characters = SpecialCharacters.parse(b"\1\2\3\4\5\6").replaced(4, 0x11)
    assert characters.to_bytes() == b"\1\2\3\4\x11\6"
    with pytest.raises(DescriptorError, match="must be 0 to 5"):
        characters.replaced(6, 0)


def test_the_status_is_nineteen_bytes() -> None:
    data = comm_status(LineError.PARITY, Hold.CTS | Hold.BREAK, Queues(to_host=7, to_device=9))
    assert struct.unpack("<4I3B", data) == (0x10, 0x21, 7, 9, 0, 0, 0)
    assert len(data) == 0x13


def test_the_properties_say_how_long_they_are() -> None:
    data = properties(921600, 576, 512)
    assert int.from_bytes(data[:2], "little") == len(data) == 75
    assert struct.unpack_from("<3I", data, 12) == (576, 512, 921600)


@pytest.mark.parametrize(
    ("part", "wanted", "rate"),
    [
        (PartNumber.CP2102, 115200, 115200),
        (PartNumber.CP2102, 110, 300),
        (PartNumber.CP2102, 31250, 28800),
        (PartNumber.CP2102, 3_000_000, 1_000_000),
        (PartNumber.CP2104, 115200, 115384),
        (PartNumber.CP2104, 300, 300),
        (PartNumber.CP2104, 31250, 31250),
        (PartNumber.CP2104, 0, 300),
        (PartNumber.CP2104, 1 << 31, 2_000_000),
    ],
)
def test_rates_are_those_of_the_part(part: PartNumber, wanted: int, rate: int) -> None:
    assert BaudRates(part).nearest(wanted) == rate


@given(st.sampled_from(PartNumber), st.integers(0, 1 << 32))
def test_a_rate_that_the_part_has_is_kept(part: PartNumber, wanted: int) -> None:
    rate = BaudRates(part).nearest(wanted)
    assert abs(BaudRates(part).nearest(rate) - rate) <= 1  # It is a fraction, cut off.
    assert 300 <= rate <= BaudRates(part).most


@given(st.integers(2400, 1_000_000))
def test_a_free_divisor_is_within_two_percent_and_a_half(wanted: int) -> None:
    assert abs(BaudRates(PartNumber.CP2104).nearest(wanted) - wanted) <= wanted * 0.025
