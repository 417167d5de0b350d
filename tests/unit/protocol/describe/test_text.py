"""Our text for bytes and the text of the real lsusb for the same bytes.

The files in ``lsusb`` hold both. What is named after a function of the kernel was recorded in the virtual machine; for
what is called crafted, lsusb was given bytes of our own in a sysfs of our own. Numbers of strings that could not
be read have no text there.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from gadget.protocol.describe.bos import CAPABILITY_TABLES
from gadget.protocol.describe.layouts import Key
from gadget.protocol.describe.names import Names
from gadget.protocol.describe.text import _TABLES, LAYOUTS, describe
from gadget.protocol.descriptors import (
    ConfigurationDescriptor,
    DeviceDescriptor,
    EndpointDescriptor,
    InterfaceDescriptor,
    SuperSpeedEndpointCompanion,
    join_descriptors,
)
from tests.lsusb import comparable
from tests.unit.protocol.test_tolerant import descriptor_like

RECORDED = sorted((Path(__file__).parent / "lsusb").glob("*.txt"))
NO_NAMES = Names()

DEVICE = DeviceDescriptor(
    usb_version=0x0200,
    class_code=0,
    subclass=0,
    protocol=0,
    max_packet_size_0=64,
    vendor_id=0x1D6B,
    product_id=0x0104,
    device_version=0x0100,
    manufacturer=1,
    product=2,
    serial_number=0,
    configuration_count=1,
)
ENDPOINT = EndpointDescriptor(address=0x81, attributes=2, max_packet_size=512)


def interface(class_code: int, subclass: int = 0, protocol: int = 0) -> bytes:
    return InterfaceDescriptor(0, 0, 0, class_code, subclass, protocol).to_bytes()


def lines(data: bytes, *more: bytes) -> list[str]:
    return describe(data, *more, names=NO_NAMES).splitlines()


def below(data: bytes, title: str) -> list[str]:
    """The lines after a title, without the blanks before them."""
    found = [line.strip() for line in lines(data)]
    return found[found.index(title) + 1 :]


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.stem)
def test_as_lsusb_shows_it(file: Path) -> None:
    head, _, expected = file.read_text().partition("\n\n")
    words = [line.split(" ", 2) for line in head.splitlines()]
    data = [bytes.fromhex(value) for kind, value, *_ in words if kind != "string"]
    strings = {int(number): text for kind, number, *rest in words if kind == "string" for text in rest}
    found = describe(*data, names=NO_NAMES, string=strings).splitlines()
    wanted = comparable(expected)
    # The qualifier is asked for by itself; the files have the descriptors and the BOS.
    if "Device Qualifier (for other device speed):" in wanted:
        wanted = wanted[: wanted.index("Device Qualifier (for other device speed):")]
    assert found == wanted


def test_there_is_something_recorded_of_every_family() -> None:
    assert len(RECORDED) == 18
    tables = {(key.class_code, key.subclass, key.protocol, key.descriptor_type) for key in LAYOUTS}
    text = "".join(file.read_text() for file in RECORDED)
    titles = {layout.title for layout in LAYOUTS.values() if layout.title}
    # lsusb shows no descriptor of a VideoControl endpoint, and of MBIM and countries it aligns the numbers otherwise.
    own = {"VideoControl Endpoint Descriptor:", "CDC MBIM:", "Country Selection:"}
    assert {title for title in titles if f"{title}\n" not in text} == own
    assert len(tables) > 10


@given(st.one_of(st.binary(max_size=200), descriptor_like), st.binary(max_size=40))
def test_any_bytes_have_a_text(data: bytes, more: bytes) -> None:
    text = describe(data, more)
    assert text.isprintable() or all(line.isprintable() for line in text.splitlines())
    assert bool(text) == bool(data + more)
    assert not text or text.endswith("\n")


@pytest.mark.parametrize("key", sorted(LAYOUTS, key=str), ids=str)
@pytest.mark.parametrize("byte", [0x00, 0x01, 0xFF])
def test_every_table_shows_every_length(key: Key, byte: int) -> None:
    """Of none, one and very many of whatever it counts."""
    head = interface(key.class_code, key.subclass or 0, key.protocol or 0) + ENDPOINT.to_bytes()
    without = len(lines(head))
    for length in range(3, 64):
        special = bytes([length, key.descriptor_type, key.subtype or 0]) + bytes([byte]) * (length - 3)
        found = lines(head + special)
        assert found[0] == "    Interface Descriptor:"
        assert len(found) > without, "it is shown, however short"


@given(st.sampled_from(sorted(LAYOUTS, key=str)), st.binary(max_size=80))
def test_any_bytes_of_a_class_have_a_text(key: Key, payload: bytes) -> None:
    head = interface(key.class_code, key.subclass or 0, key.protocol or 0) + ENDPOINT.to_bytes()
    special = bytes([3 + len(payload), key.descriptor_type, key.subtype or 0]) + payload
    assert lines(head + special)[0] == "    Interface Descriptor:"


@pytest.mark.parametrize("kind", [*_TABLES, *(0x1000 | capability for capability in CAPABILITY_TABLES)])
@pytest.mark.parametrize("byte", [0x00, 0x01, 0xFF])
def test_every_other_table_shows_every_length(kind: int, byte: int) -> None:
    start = bytes([0x10, kind & 0xFF]) if kind > 0xFF else bytes([kind])
    for length in range(1 + len(start), 64):
        assert lines(bytes([length]) + start + bytes([byte]) * (length - 1 - len(start)))


def test_the_unit_of_power_is_that_of_the_speed() -> None:
    configuration = ConfigurationDescriptor(total_length=9, interface_count=0, max_power=50).to_bytes()
    super_speed = DeviceDescriptor(0x0320, 0, 0, 0, 9, 0x1D6B, 0x0104, 0x0100, 0, 0, 0, 1)
    for device, power in ((b"", 100), (DEVICE.to_bytes(), 100), (super_speed.to_bytes(), 400)):
        assert f"    MaxPower              {power}mA" in lines(device + configuration + configuration)


def test_names_and_strings() -> None:
    names = Names({0x1D6B: "Linux Foundation"}, {(0x1D6B, 0x0104): "Composite"}, {(0xFF,): "Vendor", (0xFF, 1): "One"})
    data = DEVICE.to_bytes() + interface(0xFF, 1, 2)
    for string in ({1: "gadget"}, {1: "gadget"}.get):
        text = describe(data, names=names, string=string).splitlines()
        assert "  idVendor           0x1d6b Linux Foundation" in text
        assert "  idProduct          0x0104 Composite" in text
        assert "  iManufacturer           1 gadget" in text
        assert "  iProduct                2" in text
        assert "      bInterfaceClass       255 Vendor" in text
        assert "      bInterfaceSubClass      1 One" in text
        assert "      bInterfaceProtocol      2" in text
    assert "      bInterfaceClass       255 Vendor Specific" in describe(data).splitlines()


def test_string_0_is_no_string() -> None:
    assert "  iSerial                 0" in describe(DEVICE.to_bytes(), string=lambda index: "wrong").splitlines()


def test_what_breaks_a_rule_is_shown_with_the_rule() -> None:
    assert lines(interface(0xFF) + bytes.fromhex("07058103000200"))[-3:] == [
        "        wMaxPacketSize     0x0200  1x 512 bytes",
        "        bInterval               0",
        "        Warning: bInterval = 0: must be from 1 to 255 for interrupt (USB 2.0, 9.6.6)",
    ]


def test_what_is_too_short_or_too_long() -> None:
    short, long = interface(2) + bytes.fromhex("04240010"), interface(2) + bytes.fromhex("062400100177")
    assert below(short, "CDC Header:") == ["Warning: Descriptor too short", "junk at descriptor end: 10"]
    assert below(long, "CDC Header:") == ["bcdCDC               1.10", "junk at descriptor end: 77"]


def test_what_is_cut_off() -> None:
    assert lines(interface(0xFF) + b"\x07\x05\x81")[-1] == "      ** TRUNCATED:  07 05 81"
    assert lines(b"\x07")[-1] == "** TRUNCATED:  07"


def test_what_has_no_table() -> None:
    unknown = bytes.fromhex("0541010203")
    special, functional = bytes.fromhex("04240102"), bytes.fromhex("04210102")
    head = join_descriptors([ConfigurationDescriptor(total_length=9, interface_count=1)])
    assert lines(head + unknown)[-1] == "    ** UNRECOGNIZED:  05 41 01 02 03"
    assert lines(interface(0xFF) + special)[-1] == "      ** UNRECOGNIZED:  04 24 01 02"
    at_endpoint = lines(interface(0xFF) + ENDPOINT.to_bytes() + unknown + special + functional)
    assert at_endpoint[-3:] == [
        "        ** UNRECOGNIZED:  05 41 01 02 03",
        "        INTERFACE CLASS:  04 24 01 02",
        "        DEVICE CLASS:  04 21 01 02",
    ]


@pytest.mark.parametrize(
    ("attributes", "companion", "expected"),
    [
        (2, SuperSpeedEndpointCompanion(15), ["bMaxBurst              15"]),
        (2, SuperSpeedEndpointCompanion(0, 16), ["bMaxBurst               0", "MaxStreams          65536"]),
        (1, SuperSpeedEndpointCompanion(2, 2), ["bMaxBurst               2", "Mult                    2"]),
        (3, SuperSpeedEndpointCompanion(2, 0, 3072), ["bMaxBurst               2"]),
    ],
)
def test_companions(attributes: int, companion: SuperSpeedEndpointCompanion, expected: list[str]) -> None:
    endpoint = EndpointDescriptor(address=0x81, attributes=attributes, max_packet_size=1024, interval=1)
    found = lines(interface(0xFF) + endpoint.to_bytes() + companion.to_bytes())
    assert [line.strip() for line in found[-len(expected) :]] == expected
    assert found[-len(expected) - 1].strip() == "bInterval               1"


def test_what_lsusb_shows_otherwise_or_not_at_all() -> None:
    mbim, country = bytes.fromhex("0c241b00010010208000401f"), bytes.fromhex("082407000700f401")
    assert below(interface(2, 0x0E) + mbim, "CDC MBIM:") == [
        "bcdMBIMVersion       1.00",
        "wMaxControlMessage   4096",
        "bNumberFilters         32",
        "bMaxFilterSize        128",
        "wMaxSegmentSize     16384",
        "bmNetworkCapabilities 0x1f",
        "max datagram size",
    ]
    assert below(interface(2, 2) + country, "Country Selection:") == [
        "iCountryCodeRelDate        0",
        "wCountryCode          0x0007",
        "wCountryCode          0x01f4",
    ]
    endpoint = EndpointDescriptor(address=0x81, attributes=3, max_packet_size=16, interval=8).to_bytes()
    found = below(interface(0x0E, 1) + endpoint + bytes.fromhex("0525031000"), "VideoControl Endpoint Descriptor:")
    assert found[-2:] == ["bDescriptorSubtype      3 (EP_INTERRUPT)", "wMaxTransferSize       16"]


def test_the_fields_of_a_frame_are_those_of_the_specification() -> None:
    """Bit 1 clear is two fields for every format (UVC 1.5 MJPEG Payload, Table 3-1)."""
    title = "VideoStreaming Interface Descriptor:"
    for flags, fields in ((0, 2), (2, 1)):
        mjpeg = bytes.fromhex("0b2406010100010000") + bytes([flags, 0])
        assert f"Fields per frame: {fields} fields" in below(interface(0x0E, 2) + mjpeg, title)
