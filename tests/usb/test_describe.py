"""Our text of real devices on a real bus, line by line against the real ``lsusb -v`` (usbutils 014).

What is not compared, and why, stands in ``tests/lsusb.py``. The video function is left out: it stays off the bus until
a program serves its video device.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

import pytest
import usb.core
import usb.util

from gadget import Speed
from gadget.cli.presented import presented
from gadget.configfs.apply import applied
from gadget.configfs.model import ConfigurationModel, GadgetModel
from gadget.configfs.plan import plan
from gadget.configfs.steps import MakeDirectory, Step, WriteAttribute
from gadget.protocol.constants import DescriptorType
from gadget.protocol.describe.names import Names
from gadget.protocol.describe.text import describe
from gadget.protocol.descriptors import EndpointDescriptor, InterfaceDescriptor, parse_descriptors
from gadget.protocol.tolerant import Malformed, Truncated, parse_tolerant
from gadget.testing import HostDevice, Served, ServedGadget
from tests.lsusb import comparable
from tests.usb.devices import Echo, echo_gadget

pytestmark = pytest.mark.usb

every_speed = pytest.mark.usb(speed=["full", "high", "super"])
on_usbip = pytest.mark.usb(controller="usbip-vudc")

#: No names: the guest has no hwdb, so lsusb knows none either.
NO_NAMES = Names()
BOS_TITLE = "Binary Object Store Descriptor:"
QUALIFIER_TITLE = "Device Qualifier (for other device speed):"

#: A keyboard (HID 1.11, E.6), as short as it can be.
REPORT = bytes.fromhex("05010906a101050719e029e71500250175019508810295017508810195067508150025650507190029658100c0")
#: What the functions need that are not complete as they are made.
ATTRIBUTES = {
    "hid.0": {"protocol": b"1", "subclass": b"1", "report_length": b"8", "report_desc": REPORT},
    "mass_storage.0": {"lun.0/removable": b"1"},
}

FUNCTIONS = [
    ("acm.0",),
    ("ecm.0",),
    ("ncm.0",),
    ("rndis.0",),
    ("eem.0",),
    ("geth.0",),
    ("gser.0",),
    ("mass_storage.0",),
    ("hid.0",),
    ("midi.0",),
    ("printer.0",),
    ("acm.0", "mass_storage.0", "hid.0"),
]


def steps(functions: tuple[str, ...]) -> Iterator[Step]:
    configuration = ConfigurationModel(functions=functions, max_power_ma=100, label="All of it")
    model = GadgetModel(
        name="described",
        manufacturer="gadget",
        product="Described",
        serial_number="0001",
        configurations=(configuration,),
    )
    for step in plan(model):
        yield step
        if isinstance(step, MakeDirectory):
            yield from _attributes(step.path)


def _attributes(path: PurePosixPath) -> Iterator[Step]:
    for name, value in ATTRIBUTES.get(path.name, {}).items():
        yield WriteAttribute(path / name, value)


@contextmanager
def kernel_functions(serve: Callable[..., Served], *functions: str) -> Iterator[Served]:
    with applied(list(steps(functions))) as tree:
        served = serve(Path(tree))
        try:
            yield served
        finally:
            served.stop()


def asked(served: Served, kind: DescriptorType, length: int = 255) -> bytes:
    """What the device answers to GET_DESCRIPTOR; nothing where it refuses."""
    with served.pyusb() as device, suppress(usb.core.USBError):
        return bytes(device.ctrl_transfer(0x80, 6, kind << 8, 0, length))
    return b""


def strings_of(served: Served) -> dict[int, str]:
    found = {}
    with served.pyusb() as device:
        for number in range(1, 20):
            with suppress(usb.core.USBError, ValueError):
                found[number] = usb.util.get_string(device, number) or ""
    return found


def descriptors_of(device: HostDevice) -> bytes:
    return (device.path / "descriptors").read_bytes()


def lsusb(device: HostDevice) -> list[str]:
    command = ["lsusb", "-v", "-s", f"{device.bus}:{device.address}"]
    return comparable(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def assert_same(served: Served) -> None:
    data = descriptors_of(served.device)
    parsed = parse_tolerant(data)
    assert not [one for one in parsed if isinstance(one, Malformed | Truncated)]
    more = [asked(served, DescriptorType.BOS), asked(served, DescriptorType.DEVICE_QUALIFIER)]
    assert describe(data, *more, names=NO_NAMES, string=strings_of(served)).splitlines() == lsusb(served.device)


@every_speed
def test_our_own_device(served: ServedGadget) -> None:
    assert_same(served)


@pytest.mark.parametrize("functions", FUNCTIONS, ids="+".join)
def test_functions_of_the_kernel(serve: Callable[..., Served], functions: tuple[str, ...]) -> None:
    with kernel_functions(serve, *functions) as served:
        assert_same(served)


@on_usbip
@pytest.mark.parametrize("function", ["uac1.0", "uac2.0"])
def test_functions_of_the_kernel_that_need_isochronous_endpoints(serve: Callable[..., Served], function: str) -> None:
    with kernel_functions(serve, function) as served:
        assert_same(served)


def test_the_command(served: ServedGadget) -> None:
    """It has no more than sysfs, which on Linux 6.1 has no BOS, and strings of what the kernel has bound."""
    device = served.device
    command = [sys.executable, "-m", "gadget", "show", device.path.name, "--ids", "/dev/null"]
    first, *others = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert first == f"Bus {device.bus:03} Device {device.address:03}: ID 1d6b:0104"
    wanted = lsusb(device)
    end = next((n for n, line in enumerate(wanted) if line in (BOS_TITLE, QUALIFIER_TITLE)), len(wanted))
    assert others == wanted[:end]


@every_speed
def test_what_a_file_presents_is_what_the_host_sees(served: ServedGadget, usb_speed: Speed) -> None:
    """But for what the kernel chooses: the addresses of endpoints, and the numbers of strings."""

    def shape(data: bytes) -> list[tuple[object, ...]]:
        return [
            (one.transfer_type, one.direction, one.max_packet_size, one.interval)
            if isinstance(one, EndpointDescriptor)
            else (one.number, one.class_code, one.endpoint_count)
            if isinstance(one, InterfaceDescriptor)
            else (one.type_code, len(one.to_bytes()))
            for one in parse_descriptors(data)
        ]

    expected = presented(echo_gadget(Echo()), usb_speed)
    data = descriptors_of(served.device)
    assert shape(expected.data) == shape(data)
    device, wanted = parse_descriptors(data[:18]), parse_descriptors(expected.data[:18])
    assert device == wanted
    # MaxPower and the sum of all lengths.
    assert expected.data[18:24] == data[18:24]
    assert expected.data[25:27] == data[25:27]
