"""Every byte that the host reads of the device is as declared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import usb.util
import usb1

from gadget import Speed
from gadget.protocol.descriptors import (
    ConfigurationDescriptor,
    Descriptor,
    DeviceDescriptor,
    EndpointDescriptor,
    InterfaceDescriptor,
    SuperSpeedEndpointCompanion,
    parse_descriptors,
)
from gadget.testing import ServedGadget
from tests.usb.devices import Echo, echo_gadget

pytestmark = pytest.mark.usb(controller=["dummy_hcd", "usbip-vudc"])

every_speed = pytest.mark.usb(speed=["full", "high", "super"])

PACKET = {Speed.FULL: 64, Speed.HIGH: 512, Speed.SUPER: 1024}
#: What the kernel sets by itself (drivers/usb/gadget/composite.c, composite_setup): bcdUSB by the speed, and at
#: SuperSpeed bMaxPacketSize0 as a power of two.
USB_VERSION = {Speed.FULL: 0x0200, Speed.HIGH: 0x0200, Speed.SUPER: 0x0320}
MAX_PACKET_0 = {Speed.FULL: 64, Speed.HIGH: 64, Speed.SUPER: 9}
#: enum libusb_speed.
LIBUSB_SPEED = {Speed.FULL: 2, Speed.HIGH: 3, Speed.SUPER: 4}


def descriptors_read(served: ServedGadget) -> tuple[DeviceDescriptor, ConfigurationDescriptor, list[Descriptor]]:
    """What the host's kernel read from the device: the device descriptor, then the whole configuration."""
    data = (served.device.path / "descriptors").read_bytes()
    device, configuration, *others = parse_descriptors(data)
    assert isinstance(device, DeviceDescriptor)
    assert isinstance(configuration, ConfigurationDescriptor)
    assert configuration.total_length == len(data) - len(device.to_bytes())
    return device, configuration, others


def assert_device(found: DeviceDescriptor, usb_version: int, max_packet_size_0: int) -> None:
    assert found == DeviceDescriptor(
        usb_version=usb_version,
        class_code=0,
        subclass=0,
        protocol=0,
        max_packet_size_0=max_packet_size_0,
        vendor_id=0x1D6B,
        product_id=0x0104,
        device_version=0x0234,
        manufacturer=found.manufacturer,
        product=found.product,
        serial_number=found.serial_number,
        configuration_count=1,
    )
    assert 0 not in (found.manufacturer, found.product, found.serial_number)


@every_speed
def test_every_descriptor_is_as_declared(served: ServedGadget, echo: Echo, usb_speed: Speed) -> None:
    device, configuration, (interface, *endpoints) = descriptors_read(served)
    assert_device(device, USB_VERSION[usb_speed], MAX_PACKET_0[usb_speed])
    assert configuration == ConfigurationDescriptor(
        total_length=configuration.total_length,
        interface_count=1,
        value=1,
        string=configuration.string,
        attributes=0x80,
        max_power=100 // (8 if usb_speed is Speed.SUPER else 2),
    )
    assert isinstance(interface, InterfaceDescriptor)
    assert interface == InterfaceDescriptor(
        number=0,
        alternate_setting=0,
        endpoint_count=2,
        class_code=0xFF,
        subclass=0,
        protocol=0,
        string=interface.string,
    )
    assert interface.string != 0
    companion = [SuperSpeedEndpointCompanion()] if usb_speed is Speed.SUPER else []
    assert endpoints == [
        EndpointDescriptor(address=echo.rx.address, attributes=2, max_packet_size=PACKET[usb_speed]),
        *companion,
        EndpointDescriptor(address=echo.tx.address, attributes=2, max_packet_size=PACKET[usb_speed]),
        *companion,
    ]
    assert echo.rx.address < 0x80 < echo.tx.address
    assert echo.rx.packet_size == echo.tx.packet_size == PACKET[usb_speed]


@every_speed
def test_pyusb_sees_it(served: ServedGadget, usb_device: Any, usb_speed: Speed) -> None:
    identity = (usb_device.idVendor, usb_device.idProduct, usb_device.bcdDevice)
    assert identity == (0x1D6B, 0x0104, 0x0234)
    strings = (usb_device.manufacturer, usb_device.product, usb_device.serial_number)
    assert strings == ("gadget", "Echo \u00fcber USB", "0001")
    assert usb_device.speed == LIBUSB_SPEED[usb_speed]
    interface = usb_device.get_active_configuration()[(0, 0)]
    assert interface.bInterfaceClass == 0xFF
    assert [endpoint.wMaxPacketSize for endpoint in interface] == [PACKET[usb_speed]] * 2
    assert usb.util.get_string(usb_device, interface.iInterface) == "Echo"


@every_speed
def test_libusb1_sees_it(served: ServedGadget, echo: Echo, usb_handle: usb1.USBDeviceHandle, usb_speed: Speed) -> None:
    device = usb_handle.getDevice()
    assert (device.getVendorID(), device.getProductID()) == (0x1D6B, 0x0104)
    assert usb_handle.getStringDescriptor(device.device_descriptor.iProduct, 0x0409) == "Echo \u00fcber USB"
    assert device.getDeviceSpeed() == LIBUSB_SPEED[usb_speed]
    (setting,) = [setting for interface in next(iter(device)) for setting in interface]
    assert [endpoint.getAddress() for endpoint in setting] == [echo.rx.address, echo.tx.address]


@every_speed
def test_the_controller_runs_at_the_speed_of_the_bus(served: ServedGadget, usb_speed: Speed) -> None:
    assert served.gadget.controller.current_speed is usb_speed
    assert served.device.speed is usb_speed
    assert served.gadget.controller.gadget == "test-echo"


@pytest.mark.usb(speed="super")
@pytest.mark.parametrize("max_speed", [Speed.FULL, Speed.HIGH])
def test_a_device_can_be_slower_than_its_controller(serve: Callable[..., ServedGadget], max_speed: Speed) -> None:
    """bcdUSB is 2.1 then: the controller can do SuperSpeed, and the connection doesn't (composite.c)."""
    echo = Echo()
    served = serve(echo_gadget(echo, max_speed=max_speed))
    device, _, others = descriptors_read(served)
    assert_device(device, 0x0210, MAX_PACKET_0[max_speed])
    packets = [found.max_packet_size for found in others if isinstance(found, EndpointDescriptor)]
    assert packets == [PACKET[max_speed]] * 2
    assert (echo.rx.packet_size, echo.tx.packet_size) == (PACKET[max_speed],) * 2
    assert served.gadget.controller.current_speed is served.device.speed is max_speed
