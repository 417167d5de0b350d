"""The host reads what Windows would: string 0xEE, the compatible IDs, the properties of each interface."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import Any

import pytest
import usb.core

from gadget import BulkIn, Function, Gadget, Interface, vendor_in
from gadget.configfs.announced import MicrosoftOsString
from gadget.configfs.apply import USB_GADGET_ROOT, apply, ensure_configfs, listing, revert
from gadget.configfs.model import ConfigurationModel, GadgetModel
from gadget.configfs.plan import plan, tree_undo
from gadget.protocol.constants import PropertyType
from gadget.protocol.microsoft_os import MicrosoftOs, Property
from gadget.testing import ServedGadget

pytestmark = pytest.mark.usb

GUID = "{6f4c1f0c-7bb1-4a0e-9f0e-0f6c6b1a2c3d}"
VENDOR_CODE = 0xCD
DEVICE_IN, INTERFACE_IN = 0xC0, 0xC1
COMPATIBLE_ID, PROPERTIES = 4, 5
LARGEST = {f"p{number:02}": Property.binary(bytes([number]) * 78) for number in range(40)}


class Plain(Function):
    """Two interfaces, the first of the gadget, that tell Windows nothing."""

    control = Interface(0xFF)
    data = Interface(0xFF)
    tx = BulkIn()


class Winusb(Function):
    """Three interfaces: a driver and properties, nothing, as many properties as fit."""

    microsoft_os = (
        MicrosoftOs(
            "WINUSB",
            properties={
                "DeviceInterfaceGUID": Property.text(GUID),
                "Icons": Property.text("%SystemRoot%\\system32\\x.dll,-1", PropertyType.EXPANDABLE_TEXT),
                "Link": Property.text("there", PropertyType.LINK),
                "Empty": Property.text(""),
                "Blob": Property.binary(bytes(range(100))),
                "Nothing": Property.binary(b""),
            },
        ),
        MicrosoftOs("RNDIS", "5162001", {**LARGEST, "last": Property.binary(b"\xaa" * 61)}, interface=2),
    )
    one = Interface(0xFF)
    two = Interface(0xFF)
    three = Interface(0xFF)
    rx = BulkIn()

    @vendor_in(request=1)
    async def version(self, setup: object) -> bytes:
        return b"1.0"


def wide(text: str) -> bytes:
    return text.encode("utf-16-le") + b"\0\0"


def record(name: str, value: Property) -> bytes:
    """A property as Windows reads it (Extended Properties OS Feature Descriptor Specification, Table 4)."""
    raw = value.data if value.type is PropertyType.BINARY else wide(str(value.value))
    body = struct.pack("<IH", value.type, len(wide(name))) + wide(name) + struct.pack("<I", len(raw)) + raw
    return struct.pack("<I", 4 + len(body)) + body


def read(device: Any, kind: int, index: int, value: int) -> bytes:
    """First the head, then all of it, as Windows does; both begin with the length of all."""
    head = bytes(device.ctrl_transfer(kind, VENDOR_CODE, value, index, 16 if index == COMPATIBLE_ID else 10))
    (length,) = struct.unpack_from("<I", head)
    whole = bytes(device.ctrl_transfer(kind, VENDOR_CODE, value, index, length))
    assert whole.startswith(head)
    assert len(whole) == length
    return whole


@pytest.fixture(params=[[Winusb], [Plain, Winusb]], ids=["alone", "behind another function"])
def functions(request: pytest.FixtureRequest) -> list[type[Function]]:
    found: list[type[Function]] = request.param
    return found


@pytest.fixture
def served(serve: Callable[..., ServedGadget], functions: list[type[Function]]) -> ServedGadget:
    return serve(Gadget(*(kind() for kind in functions), name="test-windows"))


@pytest.fixture
def first(functions: list[type[Function]]) -> int:
    """The number of the first interface that says something."""
    return 2 * (len(functions) - 1)


every_speed = pytest.mark.usb(speed=["full", "high", "super"])


@every_speed
def test_the_host_reads_what_was_declared(served: ServedGadget, usb_device: Any, first: int) -> None:
    string = bytes(usb_device.ctrl_transfer(0x80, 6, 0x03EE, 0, 255))
    assert string == b"\x12\x03" + "MSFT100".encode("utf-16-le") + bytes([VENDOR_CODE, 0])

    names = [(b"", b"")] * first + [(b"WINUSB", b""), (b"", b""), (b"RNDIS", b"5162001")]
    entries = b"".join(struct.pack("<BB8s8s6x", number, 1, *name) for number, name in enumerate(names))
    expected = struct.pack("<IHHB7x", 16 + len(entries), 0x0100, COMPATIBLE_ID, len(names)) + entries
    assert read(usb_device, DEVICE_IN, COMPATIBLE_ID, 0) == expected

    for place, said in enumerate(
        (*[{}] * first, Winusb.microsoft_os[0].properties, {}, Winusb.microsoft_os[1].properties)
    ):
        records = b"".join(record(name, value) for name, value in said.items())
        expected = struct.pack("<IHHH", 10 + len(records), 0x0100, PROPERTIES, len(said)) + records
        assert read(usb_device, INTERFACE_IN, PROPERTIES, place) == expected, f"interface {place}"
    assert len(expected) == 4095, "the last interface has as many properties as the kernel serves"


def test_other_requests_still_reach_the_function(served: ServedGadget, usb_device: Any, first: int) -> None:
    assert bytes(usb_device.ctrl_transfer(INTERFACE_IN, 1, 0, first, 8)) == b"1.0"
    with pytest.raises(usb.core.USBError) as refusal:
        usb_device.ctrl_transfer(INTERFACE_IN, VENDOR_CODE, 0, 6, 8)
    assert refusal.value.errno == errno.EPIPE


def test_a_gadget_that_tells_windows_nothing_has_no_such_string(
    serve: Callable[..., ServedGadget], usb_bus: Any
) -> None:
    serve(Gadget(Plain(), name="test-windows"))
    with usb_bus.latest.pyusb() as device, pytest.raises(usb.core.USBError) as refusal:
        device.ctrl_transfer(0x80, 6, 0x03EE, 0, 255)
    assert refusal.value.errno == errno.EPIPE


def test_strings_in_two_languages(serve: Callable[..., ServedGadget], usb_bus: Any) -> None:
    product = {0x0407: "Größe", 0x0409: "Size"}
    serve(Gadget(Plain(), name="test-windows", manufacturer="gadget", product=product))
    with usb_bus.latest.pyusb() as device:
        assert device.langids == (0x0407, 0x0409)
        for language, text in product.items():
            strings = [usb.util.get_string(device, at, language) for at in (device.iManufacturer, device.iProduct)]
            assert strings == ["gadget", text]


def test_a_tree_that_was_left_behind_is_removed() -> None:
    """The link to the configuration is in the way of everything else; the kernel's own folders go with the gadget."""
    ensure_configfs()
    configuration = ConfigurationModel(label={0x0409: "a", 0x0407: "b"}, functions=("ffs.test-left",))
    configurations = (configuration, ConfigurationModel(number=2, name="d", functions=("ffs.test-left",)))
    string = MicrosoftOsString(configuration=2)
    model = GadgetModel("test-left", product="Echo", configurations=configurations, microsoft_os=string)
    apply(plan(model))
    tree = USB_GADGET_ROOT / "test-left"
    assert (tree / "os_desc" / "d.2").resolve() == tree / "configs" / "d.2"
    assert (tree / "os_desc" / "qw_sign").read_text().rstrip("\n\0") == "MSFT100"
    assert sorted(folder.name for folder in (tree / "strings").iterdir()) == ["0x407", "0x409"]
    revert(tree_undo(listing("test-left")))
    assert not tree.exists()
