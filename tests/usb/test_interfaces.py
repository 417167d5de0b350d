"""Several interfaces and several functions: their descriptors, their strings, and who answers which request."""

from __future__ import annotations

import errno
import struct
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import usb.core
import usb.util

from gadget import (
    Association,
    BulkIn,
    BulkOut,
    ClassCode,
    Function,
    Gadget,
    HidDescriptor,
    Interface,
    InterruptIn,
    LanguageId,
    Recipient,
    Setup,
    Speed,
    Stall,
    class_in,
    standard_in,
    vendor_in,
)
from gadget.errors import DescriptorError
from gadget.protocol.constants import DescriptorType, EndpointAttribute, StandardRequest
from gadget.protocol.descriptors import (
    Descriptor,
    EndpointDescriptor,
    InterfaceAssociation,
    InterfaceDescriptor,
    SuperSpeedEndpointCompanion,
    parse_descriptors,
)
from gadget.testing import ServedGadget, wait_for

pytestmark = pytest.mark.usb

every_speed = pytest.mark.usb(speed=["full", "high", "super"])

ENGLISH, GERMAN = LanguageId.ENGLISH_US, LanguageId.GERMAN
TIMEOUT_MS = 10_000
VENDOR_IN_INTERFACE, VENDOR_IN_DEVICE, VENDOR_IN_ENDPOINT, VENDOR_IN_OTHER = 0xC1, 0xC0, 0xC2, 0xC3


class Plain(Function):
    """One interface, so that those of the next function do not begin with 0."""

    tx = BulkIn()

    @vendor_in(1, recipient=Recipient.OTHER)
    async def other(self, setup: Setup) -> bytes:
        return b"other %d" % setup.index


class Modem(Function):
    """Two interfaces that belong together."""

    association = Association(ClassCode.COMMUNICATIONS, 6, 0, {ENGLISH: "modem", GERMAN: "Modem"})

    control = Interface(ClassCode.COMMUNICATIONS, 6, string={ENGLISH: "control", GERMAN: "Steuerung"})
    notify = InterruptIn(interval=0.032)
    data = Interface(ClassCode.CDC_DATA, string="data")
    rx = BulkOut()
    tx = BulkIn()

    def __init__(self) -> None:
        self.seen: list[Setup] = []

    @vendor_in(1, interface=control)
    async def of_control(self, setup: Setup) -> bytes:
        self.seen.append(setup)
        return b"control"

    @vendor_in(1, interface=data)
    async def of_data(self, setup: Setup) -> bytes:
        self.seen.append(setup)
        return b"data"

    @vendor_in(2)
    async def of_both(self, setup: Setup) -> bytes:
        return b"interface %d" % setup.index

    @vendor_in(3, recipient=Recipient.DEVICE)
    async def of_the_device(self, setup: Setup) -> bytes:
        return b"device"

    @class_in(4, recipient=Recipient.ENDPOINT)
    async def of_an_endpoint(self, setup: Setup) -> bytes:
        return b"%02x" % setup.index


@pytest.fixture
def modem() -> Modem:
    return Modem()


@pytest.fixture
def served(serve: Callable[..., ServedGadget], modem: Modem) -> ServedGadget:
    return serve(Gadget(Plain(), modem, product="Modem"))


def configuration(served: ServedGadget) -> list[Descriptor]:
    """What the host has read, as sysfs keeps it: the device descriptor and all of the configuration."""
    return parse_descriptors((served.device.path / "descriptors").read_bytes())


@every_speed
def test_the_host_sees_the_interfaces_and_what_belongs_together(served: ServedGadget, modem: Modem) -> None:
    found = configuration(served)
    kinds = [one for one in found if isinstance(one, InterfaceAssociation | InterfaceDescriptor)]
    assert [(type(one).__name__, one.class_code) for one in kinds] == [
        ("InterfaceDescriptor", 0xFF),
        ("InterfaceAssociation", 2),
        ("InterfaceDescriptor", 2),
        ("InterfaceDescriptor", 10),
    ]
    assert [one.number for one in kinds if isinstance(one, InterfaceDescriptor)] == [0, 1, 2]
    (association,) = (one for one in found if isinstance(one, InterfaceAssociation))
    assert (association.first_interface, association.interface_count) == (1, 2)
    assert [endpoint.address for endpoint in modem._endpoints()] == [
        one.address for one in found if isinstance(one, EndpointDescriptor)
    ][1:]
    with served.pyusb() as device:
        assert (device.bDeviceClass, device.bDeviceSubClass, device.bDeviceProtocol) == (0xEF, 2, 1)


def test_strings_come_in_the_language_that_the_host_asks_for(served: ServedGadget, usb_device: Any) -> None:
    control, data = (usb_device.get_active_configuration()[(number, 0)] for number in (1, 2))
    assert set(usb_device.langids) == {ENGLISH, GERMAN}
    for language, words in ((ENGLISH, ("control", "data")), (GERMAN, ("Steuerung", "data"))):
        assert tuple(usb.util.get_string(usb_device, one.iInterface, language) for one in (control, data)) == words
    (association,) = (one for one in configuration(served) if isinstance(one, InterfaceAssociation))
    assert usb.util.get_string(usb_device, association.string, GERMAN) == "Modem"


def test_each_interface_has_its_own_answers(served: ServedGadget, modem: Modem, usb_device: Any) -> None:
    assert bytes(usb_device.ctrl_transfer(VENDOR_IN_INTERFACE, 1, 0, 1, 64)) == b"control"
    assert bytes(usb_device.ctrl_transfer(VENDOR_IN_INTERFACE, 1, 0, 2, 64)) == b"data"
    # The number is the one that the host uses, not the function's own count.
    assert [setup.index for setup in modem.seen] == [1, 2]
    assert bytes(usb_device.ctrl_transfer(VENDOR_IN_INTERFACE, 2, 0, 2, 64)) == b"interface 2"


def test_requests_for_the_device_reach_the_function_that_answers_them(served: ServedGadget, usb_device: Any) -> None:
    """Which is not the one that the kernel hands them to."""
    assert bytes(usb_device.ctrl_transfer(VENDOR_IN_DEVICE, 3, 0, 0, 64)) == b"device"
    assert bytes(usb_device.ctrl_transfer(VENDOR_IN_OTHER, 1, 0, 7, 64)) == b"other 7"
    with pytest.raises(usb.core.USBError) as caught:
        usb_device.ctrl_transfer(VENDOR_IN_DEVICE, 9, 0, 0, 64)
    assert caught.value.errno == errno.EPIPE


@pytest.mark.usb(needs="distinct endpoint numbers")
def test_requests_for_an_endpoint_name_its_real_address(served: ServedGadget, modem: Modem, usb_device: Any) -> None:
    for endpoint in (modem.notify, modem.rx, modem.tx):
        assert bytes(usb_device.ctrl_transfer(0xA2, 4, 0, endpoint.address, 64)) == b"%02x" % endpoint.address


def test_a_standard_request_that_the_kernel_leaves_to_us(serve: Callable[..., ServedGadget]) -> None:
    class Reporting(Function):
        tx = BulkIn()

        @standard_in(StandardRequest.GET_DESCRIPTOR)
        async def get_descriptor(self, setup: Setup) -> bytes:
            return setup.value.to_bytes(2, "big")

    with serve(Gadget(Reporting())).pyusb() as device:
        assert bytes(device.ctrl_transfer(0x81, 6, 0x2200, 0, 64)) == b"\x22\0"
        assert bytes(device.ctrl_transfer(0x81, 0, 0, 0, 2)) == b"\0\0"  # GET_STATUS has its answer by default


class Unconfigured(Function):
    answers_unconfigured = True
    tx = BulkIn()

    @vendor_in(1, recipient=Recipient.DEVICE)
    async def who(self, setup: Setup) -> bytes:
        return b"me"


class Configured(Unconfigured):
    answers_unconfigured = False


@pytest.mark.parametrize(("function", "answers"), [(Unconfigured, True), (Configured, False)])
def test_requests_before_the_configuration(
    serve: Callable[..., ServedGadget], function: type[Unconfigured], answers: bool
) -> None:
    with serve(Gadget(function())).pyusb() as device:
        assert bytes(device.ctrl_transfer(VENDOR_IN_DEVICE, 1, 0, 0, 64)) == b"me"
        device.ctrl_transfer(0x00, 9, 0, 0)  # SET_CONFIGURATION(0)
        if answers:
            assert bytes(device.ctrl_transfer(VENDOR_IN_DEVICE, 1, 0, 0, 64)) == b"me"
        else:
            with pytest.raises(usb.core.USBError) as caught:
                device.ctrl_transfer(VENDOR_IN_DEVICE, 1, 0, 0, 64)
            assert caught.value.errno == errno.EPIPE


class BySpeed(Function):
    """Its descriptors are given speed by speed, with sizes and intervals that no declaration would make."""

    event = InterruptIn(interval=0.001, packet_size={Speed.FULL: 8, Speed.HIGH: 16, Speed.SUPER: 32})

    SIZES: Mapping[Speed, tuple[int, int]] = {Speed.FULL: (8, 3), Speed.HIGH: (16, 5), Speed.SUPER: (32, 7)}

    def descriptors(self, first_interface: int) -> Mapping[Speed, Sequence[Descriptor]]:
        found: dict[Speed, Sequence[Descriptor]] = {}
        for speed, (size, interval) in self.SIZES.items():
            interface = InterfaceDescriptor(first_interface, 0, 1, 0xFF, 0x42)
            endpoint = EndpointDescriptor(0x81, 3 | EndpointAttribute.NOTIFICATION, size, interval)
            companion = SuperSpeedEndpointCompanion(0, 0, size)
            found[speed] = [interface, endpoint, *([companion] if speed is Speed.SUPER else [])]
        return found


@every_speed
def test_descriptors_given_speed_by_speed(serve: Callable[..., ServedGadget], usb_speed: Speed) -> None:
    function = BySpeed()
    with serve(Gadget(function)).pyusb() as device:
        interface = device.get_active_configuration()[(0, 0)]
        (endpoint,) = interface
        assert interface.bInterfaceSubClass == 0x42
        assert (endpoint.wMaxPacketSize, endpoint.bInterval) == function.SIZES[usb_speed]
        assert endpoint.bmAttributes == 0x13


def test_descriptors_that_are_not_those_of_the_endpoints_are_refused(serve: Callable[..., ServedGadget]) -> None:
    class Wrong(BySpeed):
        event = None  # type: ignore[assignment]  # this is how an endpoint is dropped
        rx = BulkOut()

    with pytest.raises(DescriptorError, match="must be BULK OUT, as Wrong declares them"):
        serve(Gadget(Wrong()))


def test_full_speed_is_always_there(serve: Callable[..., ServedGadget]) -> None:
    class OnlyHigh(BySpeed):
        def descriptors(self, first_interface: int) -> Mapping[Speed, Sequence[Descriptor]]:
            return {Speed.HIGH: super().descriptors(first_interface)[Speed.HIGH]}

    with pytest.raises(DescriptorError, match="must have descriptors for full speed"):
        serve(Gadget(OnlyHigh()))


REPORT_DESCRIPTOR = bytes.fromhex(
    "05010906a101"  # a keyboard
    "050719e029e715002501750195088102"  # eight modifier keys of one bit
    "950175088101"  # a byte that is reserved
    "95067508150026ff000507190029ff8100"  # six keys of one byte
    "c0"
)


class Keyboard(Function):
    """The host's own HID driver has to make a keyboard of it."""

    interface_class = ClassCode.HID
    interface_subclass = 1
    interface_protocol = 1
    interface_descriptors = (HidDescriptor(report_length=len(REPORT_DESCRIPTOR)),)

    keys = InterruptIn(interval=0.008, packet_size=8)

    @standard_in(StandardRequest.GET_DESCRIPTOR)
    async def get_descriptor(self, setup: Setup) -> bytes:
        if setup.value >> 8 == DescriptorType.REPORT:
            return REPORT_DESCRIPTOR
        raise Stall


@pytest.fixture
def hid_driver() -> None:
    # Nothing loads drivers by itself in the guest, which has no udev.
    subprocess.run(["modprobe", "--all", "usbhid", "hid_generic", "evdev"], check=True)


@every_speed
def test_a_keyboard_types(hid_driver: None, serve: Callable[..., ServedGadget]) -> None:
    function = Keyboard()
    served = serve(Gadget(function, product="Keyboard"))
    device = served.device.path
    (events,) = wait_for(lambda: list(device.glob("*:1.0/*/input/input*/event*")), "the host's input device")
    with Path(f"/dev/input/{events.name}").open("rb") as keyboard:
        served.call(function.keys.write(bytes([0, 0, 0x04, 0, 0, 0, 0, 0])))
        served.call(function.keys.write(bytes(8)))
        seen = [struct.unpack("llHHi", keyboard.read(struct.calcsize("llHHi")))[2:] for _ in range(6)]
    assert [(code, value) for kind, code, value in seen if kind == 1] == [(30, 1), (30, 0)]  # EV_KEY, KEY_A
