from __future__ import annotations

import errno
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from gadget.errors import UsageError
from gadget.protocol.constants import TransferType
from gadget.testing.observe.capture_file import write_pcapng
from gadget.testing.observe.usbmon_event import Event, EventType, parse_event

#: The order of ``struct mon_bin_hdr``, as Documentation/usb/usbmon.rst gives it.
HEADER = "=QBBBBHBBqiiII8siiII"
KERNEL_ORDER = [TransferType.ISOCHRONOUS, TransferType.INTERRUPT, TransferType.CONTROL, TransferType.BULK]
GET_DEVICE = bytes.fromhex("8006000100001200")

# Taken from dummy_hcd's root hub under Linux 6.1: the device descriptor is asked for, and comes.
SUBMITTED = bytes.fromhex(
    "c0332c068088ffff530280010200003ccb6b016b00000000d32d00008dffffff1200000000000000800600010000120000000000000000000002000000000000"
)
COMPLETED = bytes.fromhex(
    "c0332c068088ffff4302800102002d00cb6b016b000000001d2e0000000000001200000012000000000000000000000000000000000000000002000000000000"
    "12010003090003096b1d0300010603020101"
)


def packet(
    *,
    kind: str = "C",
    pipe: int = 3,
    endpoint: int = 0x81,
    no_setup: int = ord("-"),
    no_data: int = 0,
    status: int = 0,
    length: int = 0,
    captured: int | None = None,
    setup: bytes = bytes(8),
    descriptors: int = 0,
    data: bytes = b"",
    seconds: int = 0,
    microseconds: int = 0,
) -> bytes:
    count = len(data) if captured is None else captured
    fields: list[Any] = [7, ord(kind), pipe, endpoint, 5, 2, no_setup, no_data, seconds, microseconds, status, length]
    return struct.pack(HEADER, *fields, count, setup, 0, 0, 0, descriptors) + data


little_endian = pytest.mark.skipif(sys.byteorder != "little", reason="was captured on a little-endian machine")


@little_endian
def test_a_submission() -> None:
    event = parse_event(SUBMITTED)
    assert (event.kind, event.transfer, event.endpoint) == (EventType.SUBMIT, TransferType.CONTROL, 0x80)
    assert (event.bus, event.device, event.status) == (2, 1, -errno.EINPROGRESS)
    assert (event.setup, event.length, event.data) == (GET_DEVICE, 18, b"")
    assert event.timestamp == (0x6B016BCB * 1_000_000 + 0x2DD3) * 1000


@little_endian
def test_its_completion() -> None:
    event = parse_event(COMPLETED)
    assert (event.id, event.kind, event.status) == (parse_event(SUBMITTED).id, EventType.COMPLETE, 0)
    assert event.setup is None
    assert event.data == bytes.fromhex("12010003090003096b1d0300010603020101")
    assert event.timestamp - parse_event(SUBMITTED).timestamp == (0x2E1D - 0x2DD3) * 1000


def test_data_begins_behind_the_descriptors_of_isochronous_packets() -> None:
    event = parse_event(packet(pipe=0, descriptors=2, length=3, data=bytes(32) + b"abc"))
    assert (event.transfer, event.data) == (TransferType.ISOCHRONOUS, b"abc")


def test_the_length_may_be_more_than_was_captured() -> None:
    event = parse_event(packet(length=100_000, data=b"abc"))
    assert (event.length, event.data) == (100_000, b"abc")


def test_what_fills_the_ring_behind_the_data_is_not_data() -> None:
    assert parse_event(packet(data=b"abc") + b"more").data == b"abc"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"", "its header alone has 64"),
        (packet()[:48], "an event of 48 bytes"),
        (packet(captured=1), "its header says 65"),
        (packet(kind="@"), "of type 0x40"),
        (packet(pipe=4), "a transfer of type 4"),
        (packet(endpoint=0x91), "endpoint = 0x91"),
    ],
)
def test_what_is_no_event_is_refused(bad: bytes, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        parse_event(bad)


@pytest.mark.parametrize(("field", "value"), [("device", 128), ("setup", b"short"), ("endpoint", 0x70)])
def test_an_event_is_checked_when_it_is_made(field: str, value: object) -> None:
    fields: dict[str, Any] = {"endpoint": 0x81, "device": 5, "setup": None, field: value}
    with pytest.raises(UsageError, match=field):
        Event(1, EventType.SUBMIT, TransferType.BULK, bus=1, timestamp=0, status=0, length=0, **fields)


@given(
    kind=st.sampled_from("SCE"),
    pipe=st.integers(0, 3),
    endpoint=st.builds(lambda number, direction: number | direction, st.integers(0, 15), st.sampled_from([0, 0x80])),
    has_setup=st.booleans(),
    setup=st.binary(min_size=8, max_size=8),
    status=st.integers(-200, 0),
    length=st.integers(0, 2**32 - 1),
    data=st.binary(max_size=200),
    seconds=st.integers(0, 2**33),
    microseconds=st.integers(0, 999_999),
)
def test_every_header_is_read_as_it_was_written(
    kind: str, pipe: int, endpoint: int, has_setup: bool, setup: bytes, status: int, length: int, data: bytes,
    seconds: int, microseconds: int,
) -> None:  # fmt: skip
    raw = packet(
        kind=kind, pipe=pipe, endpoint=endpoint, no_setup=0 if has_setup else ord("-"), setup=setup, status=status,
        length=length, data=data, seconds=seconds, microseconds=microseconds, no_data=0 if data else ord("<"),
    )  # fmt: skip
    assert parse_event(raw) == Event(
        id=7,
        kind=EventType(kind),
        transfer=KERNEL_ORDER[pipe],
        endpoint=endpoint,
        device=5,
        bus=2,
        timestamp=seconds * 10**9 + microseconds * 1000,
        status=status,
        length=length,
        data=data,
        setup=setup if has_setup else None,
    )


@given(raw=st.binary(max_size=200))
def test_any_bytes_are_an_event_or_refused(raw: bytes) -> None:
    try:
        event = parse_event(raw)
    except UsageError:
        return
    assert len(event.data) <= len(raw) - 64


def read_back(path: Path) -> list[Any]:
    from pcapng import FileScanner

    with path.open("rb") as file:
        return list(FileScanner(file))


def test_saved_packets_are_read_back(tmp_path: Path) -> None:
    packets = [packet(kind="S", length=512, no_data=ord("<"), seconds=5_000_000_000, microseconds=7),
               packet(length=100_000, data=b"abc", seconds=5_000_000_001),
               packet(pipe=0, descriptors=1, length=4, data=bytes(16) + b"iso!")]  # fmt: skip
    write_pcapng(tmp_path / "usb.pcapng", packets, 3, "usbmon0")
    section, interface, *saved, statistics = read_back(tmp_path / "usb.pcapng")
    assert section.options["shb_userappl"] == "gadget"
    assert (interface.link_type, interface.options["if_name"]) == (220, "usbmon0")
    assert [block.packet_data for block in saved] == packets
    # The whole length counts what was not captured, but nothing where there is no data.
    assert [block.packet_len for block in saved] == [64, 64 + 100_000, 64 + 16 + 4]
    stamps = [block.timestamp_high << 32 | block.timestamp_low for block in saved]
    assert stamps == [5_000_000_000_000_007, 5_000_000_001_000_000, 0]
    assert (statistics.options["isb_ifrecv"], statistics.options["isb_ifdrop"]) == (6, 3)


def test_a_capture_of_nothing_can_be_saved(tmp_path: Path) -> None:
    path = tmp_path / "usb.pcapng"
    write_pcapng(path, [], 0, "usbmon1")
    assert [type(block).__name__ for block in read_back(path)] == [
        "SectionHeader",
        "InterfaceDescription",
        "InterfaceStatistics",
    ]


def test_the_file_has_the_byte_order_of_the_headers_in_it(tmp_path: Path) -> None:
    path = tmp_path / "usb.pcapng"
    write_pcapng(path, [packet()], 0, "usbmon1")
    # Section Header Block: type, length, byte-order magic (pcapng specification, 4.1).
    assert struct.unpack_from("=I", path.read_bytes(), 8) == (0x1A2B3C4D,)


def test_without_the_library_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pcapng", None)
    with pytest.raises(UsageError, match="python-pcapng: pip install"):
        write_pcapng(tmp_path / "usb.pcapng", [], 0, "usbmon0")
    assert not list(tmp_path.iterdir())
