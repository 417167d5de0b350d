from __future__ import annotations

import struct

import pytest
from hypothesis import given, strategies as st

from gadget.classes.cp210x_values import (
    FlowControl,
    Hold,
    LineControl,
    LineError,
    Parity,
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
