from __future__ import annotations

import pytest

from gadget import (
    Association,
    BulkIn,
    BulkOut,
    Configuration,
    Function,
    Gadget,
    Interface,
    InterruptIn,
    LanguageId,
    Speed,
    WebUsb,
)
from gadget.cli.presented import device_descriptor, presented, speeds_of
from gadget.errors import UsageError
from gadget.kernel_functions import Acm
from gadget.protocol.descriptors import (
    ConfigurationDescriptor,
    DeviceDescriptor,
    EndpointDescriptor,
    InterfaceAssociation,
    InterfaceDescriptor,
    parse_descriptors,
)


class Echo(Function):
    interface_string = "Echo"
    rx = BulkOut()
    tx = BulkIn()


class Report(Function):
    tx = InterruptIn(interval=0.01)


class Named(Function):
    interface_string = "Named"


@pytest.mark.parametrize(
    ("speed", "usb_version", "max_packet_0", "power", "size"),
    [
        (Speed.FULL, 0x0200, 64, 250, 64),
        (Speed.HIGH, 0x0200, 64, 250, 512),
        (Speed.SUPER, 0x0320, 9, 62, 1024),
    ],
)
def test_at_each_speed(speed: Speed, usb_version: int, max_packet_0: int, power: int, size: int) -> None:
    gadget = Gadget(Echo(), product="Echo", device_version=0x0203)
    found = presented(gadget, speed)
    device, configuration, interface, *endpoints = parse_descriptors(found.data)
    assert device == DeviceDescriptor(usb_version, 0, 0, 0, max_packet_0, 0x1D6B, 0x0104, 0x0203, 1, 2, 3, 1)
    assert configuration == ConfigurationDescriptor(len(found.data) - 18, 1, 1, 0, 0x80, power)
    assert interface == InterfaceDescriptor(0, 0, 2, 0xFF, 0, 0, 4)
    sizes = [one.max_packet_size for one in endpoints if isinstance(one, EndpointDescriptor)]
    assert sizes == [size, size]
    assert found.strings == {1: "", 2: "Echo", 3: "", 4: "Echo"}


def test_several_functions_share_interfaces_and_strings() -> None:
    found = presented(Gadget(Echo(), Report(), Named()), Speed.HIGH)
    interfaces = [one for one in parse_descriptors(found.data) if isinstance(one, InterfaceDescriptor)]
    assert [(one.number, one.string) for one in interfaces] == [(0, 1), (1, 0), (2, 2)]
    assert found.strings == {1: "Echo", 2: "Named"}
    device = parse_descriptors(found.data)[0]
    assert isinstance(device, DeviceDescriptor)
    assert (device.manufacturer, device.product, device.serial_number) == (0, 0, 0)


def test_the_label_of_a_configuration_is_a_string() -> None:
    found = presented(Gadget(configurations=[Configuration([Echo()], "Only")], product="x"), Speed.HIGH)
    assert found.strings == {1: "", 2: "x", 3: "", 4: "Only", 5: "Echo"}
    configuration = parse_descriptors(found.data)[1]
    assert isinstance(configuration, ConfigurationDescriptor)
    assert configuration.string == 4


def test_more_power_than_a_slow_bus_has() -> None:
    gadget = Gadget(Echo(), max_power_ma=900)
    powers = [parse_descriptors(presented(gadget, speed).data)[1] for speed in (Speed.HIGH, Speed.SUPER)]
    assert [one.max_power for one in powers if isinstance(one, ConfigurationDescriptor)] == [250, 112]


def test_the_speeds_of_a_gadget() -> None:
    assert speeds_of(Gadget(Echo())) == [Speed.FULL, Speed.HIGH, Speed.SUPER]
    assert speeds_of(Gadget(Echo(), max_speed=Speed.HIGH)) == [Speed.FULL, Speed.HIGH]
    assert speeds_of(Gadget(Echo(), max_speed=Speed.SUPER_PLUS)) == [Speed.FULL, Speed.HIGH, Speed.SUPER]


class Modem(Function):
    association = Association(2, 6, string={LanguageId.GERMAN: "Modem", LanguageId.ENGLISH_US: "modem"})
    control, data = Interface(2, 6), Interface(10, string="data")


class OnlyFull(Function):
    def descriptors(self, first_interface: int) -> dict[Speed, list[InterfaceDescriptor]]:
        return {Speed.FULL: [InterfaceDescriptor(first_interface, 0, 0, 0xFF, 0x42)]}


def test_associations_and_strings_of_a_later_function_have_their_numbers() -> None:
    found = presented(Gadget(Named(), Modem()), Speed.HIGH)
    parsed = parse_descriptors(found.data)
    assert [one for one in parsed if isinstance(one, InterfaceAssociation)] == [InterfaceAssociation(1, 2, 2, 6, 0, 3)]
    assert found.strings == {1: "Named", 2: "data", 3: "modem"}
    assert isinstance(parsed[0], DeviceDescriptor)
    assert parsed[0].class_code == 0xEF


def test_descriptors_given_speed_by_speed() -> None:
    gadget = Gadget(Named(), OnlyFull())
    assert speeds_of(gadget) == [Speed.FULL]
    assert InterfaceDescriptor(1, 0, 0, 0xFF, 0x42) in parse_descriptors(presented(gadget, Speed.FULL).data)


def test_what_the_kernels_own_functions_present_is_not_known() -> None:
    for gadget in (
        Gadget(Acm()),
        Gadget(configurations=[Configuration([Echo()]), Configuration([Echo()])]),
    ):
        with pytest.raises(UsageError, match="is for the kernel to say"):
            speeds_of(gadget)


def test_a_bos_is_announced_by_bcdusb() -> None:
    model = Gadget(Echo(), webusb=WebUsb("https://example.org")).model
    versions = [
        device_descriptor(model, speed, {}, controller).usb_version
        for speed in (Speed.HIGH, Speed.SUPER)
        for controller in (None, Speed.SUPER_PLUS)
    ]
    assert versions == [0x0201, 0x0210, 0x0320, 0x0320]
