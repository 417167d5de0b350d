from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from gadget.classes.cp210x_stream import escaped, framed, line_status, modem_status, replaced
from gadget.classes.cp210x_values import Embedded, FlowControl, LineControl, LineError, ModemLine, SpecialCharacters

LINES = st.integers(0, 15).map(lambda bits: ModemLine(bits << 4))


def decoded(stream: bytes, escape: int) -> tuple[bytes, list[bytes]]:
    """The data and the events that a host finds, which reads byte after byte (cp210x.c, cp210x_process_char)."""
    data, events, rest = bytearray(), [], iter(stream)
    for byte in rest:
        if byte != escape:
            data.append(byte)
            continue
        kind = next(rest)
        if kind == Embedded.ESCAPE:
            data.append(escape)
        else:
            events.append(bytes([kind, *(next(rest) for _ in range(1 + (kind == Embedded.LINE_STATUS_AND_DATA)))]))
    return bytes(data), events


@given(st.lists(st.binary(), max_size=5), st.integers(1, 255), LINES, LINES)
def test_a_host_tells_data_from_events(parts: list[bytes], escape: int, before: ModemLine, after: ModemLine) -> None:
    """Whatever the data is, and whichever byte the host has chosen to begin an event."""
    event = modem_status(before, after, escape)
    data, events = decoded(event.join(escaped(part, escape) for part in parts), escape)
    assert data == b"".join(parts)
    assert events == [event[1:]] * (max(0, len(parts) - 1) if event else 0)


def test_a_host_that_wants_no_events_has_none() -> None:
    assert escaped(bytes(range(256)), 0) == bytes(range(256))
    assert modem_status(ModemLine(0), ModemLine.CTS, 0) == b""


@pytest.mark.parametrize("bits", [5, 6, 7, 8])
def test_a_character_has_the_bits_of_the_line(bits: int) -> None:
    line = LineControl(data_bits=bits)
    assert framed(bytes(range(256)), line) == bytes(byte % (1 << bits) for byte in range(256))


def test_what_went_wrong_is_told_with_what_came() -> None:
    both = LineError.PARITY | LineError.BREAK
    assert line_status(both, None, 0xEC) == bytes([0xEC, Embedded.LINE_STATUS, 0x14])
    assert line_status(both, 0x41, 0xEC) == bytes([0xEC, Embedded.LINE_STATUS_AND_DATA, 0x14, 0x41])


def test_nothing_is_replaced_unasked() -> None:
    quiet, characters = FlowControl(), SpecialCharacters(error=0x21, break_=0x3F)
    assert replaced(LineError.PARITY, 0x41, quiet, characters) == b"A"
    assert replaced(LineError.BREAK, None, quiet, characters) == b""
