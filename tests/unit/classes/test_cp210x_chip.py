from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, strategies as st

from gadget.classes.cp210x_chip import Change, Chip
from gadget.classes.cp210x_parts import PartNumber, VendorValue
from gadget.classes.cp210x_values import (
    Cp210xRequest as R,
    FlowControl,
    Handshake,
    Hold,
    LineControl,
    LineError,
    ModemLine,
    Parity,
    PortEvent,
    Queues,
    Replace,
    RtsMode,
    SpecialCharacters,
)
from gadget.errors import DescriptorError, Stall

NONE = Queues()
EVERY_BYTE = bytes(range(256))
ESCAPE = 0xEC


@pytest.fixture
def chip() -> Chip:
    chip = Chip()
    chip.command(R.IFC_ENABLE, 1)
    return chip


def set_flow(chip: Chip, handshake: int = 0, replace: int = 0) -> None:
    chip.command(R.SET_FLOW, 0, FlowControl(handshake, replace).to_bytes())


def test_opening_and_closing_is_told_once() -> None:
    chip = Chip()
    assert Change.OPENED in chip.command(R.IFC_ENABLE, 1)
    assert chip.command(R.IFC_ENABLE, 1) == ()
    assert Change.CLOSED in chip.command(R.IFC_ENABLE, 0)
    assert chip.command(R.IFC_ENABLE, 0) == ()


def test_what_is_set_is_what_is_told(chip: Chip) -> None:
    chip.command(R.SET_BAUDRATE, 0, (57600).to_bytes(4, "little"))
    chip.command(R.SET_LINE_CTL, 0x0720)
    chip.command(R.SET_CHARS, 0, b"\1\2\3\4\5\6")
    chip.command(R.SET_CHAR, 0x0900)
    chip.command(R.SET_EVENTMASK, 0x0D05)
    flow = FlowControl(1, 0x40, 10, 20)
    chip.command(R.SET_FLOW, 0, flow.to_bytes())
    assert chip.line == LineControl(7, Parity.EVEN)
    assert chip.answer(R.GET_BAUDRATE, NONE) == (57600).to_bytes(4, "little")
    assert chip.answer(R.GET_BAUDDIV, NONE) == (64).to_bytes(2, "little")
    assert chip.answer(R.GET_LINE_CTL, NONE) == b"\x20\x07"
    assert chip.answer(R.GET_CHARS, NONE) == b"\x09\2\3\4\5\6"
    assert chip.answer(R.GET_EVENTMASK, NONE) == b"\x05\x0d"
    assert chip.answer(R.GET_FLOW, NONE) == flow.to_bytes()
    assert len(chip.answer(R.GET_PROPS, NONE)) == 75


def test_a_divisor_sets_the_rate(chip: Chip) -> None:
    chip.command(R.SET_BAUDDIV, 0x20)
    assert chip.baudrate == 115200
    chip.command(R.SET_BAUDDIV, 0)
    assert chip.baudrate == 1_000_000


def test_what_makes_no_sense_is_refused_and_changes_nothing(chip: Chip) -> None:
    with pytest.raises(DescriptorError):
        chip.command(R.SET_LINE_CTL, 0x0900)
    assert chip.line == LineControl()
    for request in (R.GET_PROPS, R.IMM_CHAR, 0x77):
        with pytest.raises(Stall):
            chip.command(request, 0)
    with pytest.raises(Stall):
        chip.answer(R.SET_FLOW, NONE)


@given(st.integers(0, 255), st.integers(0, 0xFFFF), st.binary(max_size=20))
def test_no_request_breaks_it(request: int, value: int, data: bytes) -> None:
    chip = Chip()
    with suppress(Stall, DescriptorError):
        chip.command(request, value, data)
    with suppress(Stall):
        chip.answer(request, NONE)
    assert 300 <= chip.baudrate <= 1_000_000
    chip.received(data)
    chip.transmitted(data)


def test_each_part_says_what_it_is() -> None:
    assert Chip().vendor_answer(VendorValue.GET_PARTNUM) == b"\2\0"
    other = Chip(PartNumber.CP2104)
    assert other.vendor_answer(VendorValue.GET_PARTNUM) == b"\4\0"
    assert len(other.vendor_answer(VendorValue.GET_PORTCONFIG)) == 13
    for value in (VendorValue.GET_VERSION_2N, VendorValue.GET_PORTCONFIG):
        with pytest.raises(Stall):
            Chip().vendor_answer(value)


@pytest.mark.parametrize("part", [PartNumber.CP2102, PartNumber.CP2104])
def test_each_part_says_the_version_of_its_firmware(part: PartNumber) -> None:
    assert Chip(part, (1, 2, 3)).vendor_answer(VendorValue.GET_VERSION) == b"\1\2\3"


def test_a_cp2102n_says_its_version_elsewhere_and_has_no_free_pins() -> None:
    chip = Chip(PartNumber.CP2102N)
    assert chip.vendor_answer(VendorValue.GET_PARTNUM)[0] == 0x21
    assert chip.vendor_answer(VendorValue.GET_VERSION_2N) == b"\1\0\x08"
    config = chip.vendor_answer(VendorValue.READ_2NCONFIG)
    # The places that Linux's driver looks at (cp210x.c, cp2102n_gpioconf_init).
    assert (len(config), config[2], config[600] >> 2 & 0xF) == (0x02A6, 1, 0xF)


# ---- lines -----------------------------------------------------------------------------------------------------------


def test_each_line_of_the_host_changes_alone(chip: Chip) -> None:
    chip.command(R.SET_MHS, 0x0101)
    assert chip.lines & (ModemLine.DTR | ModemLine.RTS) == ModemLine.DTR
    chip.command(R.SET_MHS, 0x0202)
    chip.command(R.SET_MHS, 0x0100)
    assert chip.lines & (ModemLine.DTR | ModemLine.RTS) == ModemLine.RTS
    assert chip.answer(R.GET_MDMSTS, NONE) == bytes([0xB2])


def test_flow_control_drives_the_lines_as_well(chip: Chip) -> None:
    set_flow(chip, handshake=1, replace=RtsMode.ACTIVE << 6)
    assert chip.lines & 3 == 3
    set_flow(chip)
    assert chip.lines & 3 == 0


def test_rts_follows_the_room_there_is(chip: Chip) -> None:
    set_flow(chip, replace=RtsMode.RECEIVE_FLOW_CONTROL << 6)
    assert chip.lines & ModemLine.RTS
    chip.is_full = True
    assert not chip.lines & ModemLine.RTS
    assert chip.wants_silence


def test_without_flow_control_nobody_is_asked_for_silence(chip: Chip) -> None:
    chip.is_full = True
    assert not chip.wants_silence
    set_flow(chip, replace=Replace.AUTO_RECEIVE)
    assert chip.wants_silence


@pytest.mark.parametrize(
    ("handshake", "line", "hold"),
    [
        (Handshake.CTS, ModemLine.CTS, Hold.CTS),
        (Handshake.DSR, ModemLine.DSR, Hold.DSR),
        (Handshake.DCD, ModemLine.DCD, Hold.DCD),
    ],
)
def test_a_line_holds_what_the_host_sends_if_it_has_asked_for_that(
    chip: Chip, handshake: Handshake, line: ModemLine, hold: Hold
) -> None:
    chip.set_inputs(chip.inputs & ~line)
    assert not chip.holds
    set_flow(chip, handshake=handshake)
    assert chip.holds == hold
    assert chip.answer(R.GET_COMM_STATUS, NONE)[4] == hold
    chip.set_inputs(chip.inputs | line)
    assert not chip.holds


def test_a_break_holds_and_is_told(chip: Chip) -> None:
    assert Change.BREAK in chip.command(R.SET_BREAK, 1)
    assert chip.in_break
    assert chip.holds == Hold.BREAK
    chip.command(R.SET_BREAK, 0)
    assert not chip.holds


def test_changes_of_lines_are_told_in_the_stream_if_the_host_wants_that(chip: Chip) -> None:
    assert chip.set_inputs(ModemLine.CTS) == b""
    chip.command(R.EMBED_EVENTS, ESCAPE)
    assert chip.set_inputs(ModemLine.DSR | ModemLine.RI) == bytes([ESCAPE, 3, 0x60 | 0x01 | 0x02])
    assert chip.set_inputs(ModemLine.DSR) == bytes([ESCAPE, 3, 0x20 | 0x04])
    assert chip.set_inputs(ModemLine.DSR) == b""


def test_events_are_kept_until_they_are_asked_for(chip: Chip) -> None:
    expected = PortEvent.CTS_CHANGED | PortEvent.RI_TRAILING_EDGE
    chip.command(R.SET_EVENTMASK, expected)
    chip.set_inputs(ModemLine.RI)
    chip.set_inputs(ModemLine.DSR)
    assert chip.answer(R.GET_EVENTSTATE, NONE) == int(expected).to_bytes(2, "little")
    assert chip.answer(R.GET_EVENTSTATE, NONE) == bytes(2)


def test_a_special_character_is_an_event(chip: Chip) -> None:
    chip.command(R.SET_CHARS, 0, SpecialCharacters(event=0x0A).to_bytes())
    chip.command(R.SET_EVENTMASK, 0x0300)
    chip.received(b"line")
    assert chip.answer(R.GET_EVENTSTATE, NONE) == b"\x00\x01"
    chip.received(b"line\n")
    assert chip.answer(R.GET_EVENTSTATE, NONE) == b"\x00\x03"


# ---- data ------------------------------------------------------------------------------------------------------------


def test_every_byte_passes(chip: Chip) -> None:
    assert chip.received(EVERY_BYTE) == EVERY_BYTE
    assert chip.transmitted(memoryview(EVERY_BYTE)) == EVERY_BYTE


def test_what_has_too_many_bits_is_cut(chip: Chip) -> None:
    chip.command(R.SET_LINE_CTL, 0x0700)
    assert chip.received(b"\xe1\x61") == chip.transmitted(b"\xe1\x61") == b"aa"


def test_the_escape_character_is_escaped_and_only_while_events_are_embedded(chip: Chip) -> None:
    chip.command(R.EMBED_EVENTS, ESCAPE)
    assert chip.received(b"a\xecb") == b"a\xec\x00b"
    chip.command(R.IFC_ENABLE, 0)
    chip.command(R.IFC_ENABLE, 1)
    assert chip.received(b"a\xecb") == b"a\xecb"


def test_xoff_from_this_side_stops_the_host_until_xon(chip: Chip) -> None:
    set_flow(chip, replace=Replace.AUTO_TRANSMIT)
    assert chip.received(b"one\x13two") == b"onetwo"
    assert chip.holds == Hold.XOFF_RECEIVED
    assert chip.received(b"\x13\x11") == b""
    assert not chip.holds


def test_without_flow_control_xoff_is_a_byte(chip: Chip) -> None:
    assert chip.received(b"\x13") == b"\x13"
    assert not chip.holds


def test_the_host_may_choose_other_characters_to_stop(chip: Chip) -> None:
    chip.command(R.SET_CHARS, 0, SpecialCharacters(xon=0x51, xoff=0x53).to_bytes())
    set_flow(chip, replace=Replace.AUTO_TRANSMIT)
    assert chip.received(b"\x13Sx") == b"\x13x"
    assert chip.holds == Hold.XOFF_RECEIVED


def test_stopped_by_request(chip: Chip) -> None:
    chip.command(R.SET_XOFF, 0)
    assert chip.holds == Hold.XOFF_RECEIVED
    chip.command(R.SET_XON, 0)
    assert not chip.holds


def test_turning_flow_control_off_lets_go(chip: Chip) -> None:
    set_flow(chip, replace=Replace.AUTO_TRANSMIT)
    chip.received(b"\x13")
    set_flow(chip)
    assert not chip.holds


def test_zero_bytes_can_be_stripped(chip: Chip) -> None:
    set_flow(chip, replace=Replace.NULL_STRIPPING)
    assert chip.received(b"a\0b\0") == b"ab"


def test_errors_are_told_in_the_stream_where_they_happened(chip: Chip) -> None:
    chip.command(R.EMBED_EVENTS, ESCAPE)
    assert chip.failed(LineError.PARITY, 0x41) == bytes([ESCAPE, 1, 0x04, 0x41])
    assert chip.failed(LineError.FRAMING | LineError.QUEUE_OVERRUN, 0x42) == bytes([ESCAPE, 1, 0x0A, 0x42])
    assert chip.failed(LineError.BREAK) == bytes([ESCAPE, 2, 0x10])


def test_errors_are_in_the_status_once(chip: Chip) -> None:
    assert chip.failed(LineError.PARITY, 0x41) == b"A"
    assert chip.failed(LineError.HARDWARE_OVERRUN) == b""
    assert chip.answer(R.GET_COMM_STATUS, NONE)[0] == LineError.PARITY | LineError.HARDWARE_OVERRUN
    assert chip.answer(R.GET_COMM_STATUS, NONE)[0] == 0


def test_errors_can_be_replaced_by_characters(chip: Chip) -> None:
    chip.command(R.SET_CHARS, 0, SpecialCharacters(error=0x3F, break_=0x21).to_bytes())
    set_flow(chip, replace=Replace.ERROR_CHARACTER | Replace.BREAK_CHARACTER)
    assert chip.failed(LineError.PARITY, 0x41) == b"?"
    assert chip.failed(LineError.BREAK) == b"!"


def test_purging_concerns_what_the_host_has_not_read(chip: Chip) -> None:
    assert chip.command(R.PURGE, 0x0F) == (Change.PURGED_TO_HOST,)
    assert chip.command(R.PURGE, 0x05) == ()


def test_purging_concerns_what_is_held_back(chip: Chip) -> None:
    chip.command(R.SET_XOFF, 0)
    assert chip.command(R.PURGE, 0x0F) == (Change.PURGED_TO_HOST, Change.PURGED_TO_DEVICE)
    assert chip.command(R.PURGE, 0x04) == (Change.PURGED_TO_DEVICE,)


def test_a_reset_forgets_errors_and_lets_go(chip: Chip) -> None:
    chip.command(R.SET_XOFF, 0)
    chip.failed(LineError.PARITY)
    chip.command(R.RESET, 0)
    assert not chip.holds
    assert chip.answer(R.GET_COMM_STATUS, NONE) == bytes(19)


def test_the_queues_are_in_the_status(chip: Chip) -> None:
    status = chip.answer(R.GET_COMM_STATUS, Queues(to_host=3, to_device=5))
    assert (status[8], status[12]) == (3, 5)
