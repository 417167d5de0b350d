"""Every byte that the host reads of the device is as declared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import usb.util

from gadget import Speed
from gadget.protocol.descriptors import (
    ConfigurationDescriptor,
    DeviceDescriptor,
    EndpointDescriptor,
    InterfaceDescriptor,
    SuperSpeedEndpointCompanion,
    parse_descriptors,
)
from tests.usb.conftest import Served, wait_for
from tests.usb.devices import echo_gadget

pytestmark = pytest.mark.usb

PACKET = {Speed.FULL: 64, Speed.HIGH: 512, Speed.SUPER: 1024}
#: The kernel sets these by itself: bcdUSB by the speed, 2.1 where the controller can do SuperSpeed but the connection
#: doesn't; and at SuperSpeed bMaxPacketSize0 as a power of two (drivers/usb/gadget/composite.c, composite_setup).
USB_VERSION = {Speed.HIGH: 0x0210, Speed.SUPER: 0x0320}
MAX_PACKET_0 = {Speed.HIGH: 64, Speed.SUPER: 9}


def sysfs_descriptors(served: Served) -> bytes:
    """What the host's kernel read from the device: the device descriptor, then the whole configuration."""
    for folder in Path("/sys/bus/usb/devices").iterdir():
        product = folder / "product"
        if product.exists() and product.read_text() == f"{served.gadget.model.product}\n":
            return (folder / "descriptors").read_bytes()
    return b""


def test_every_descriptor_is_as_declared(serve: Callable[..., Served], speed: Speed) -> None:
    served = serve(echo_gadget(speed))
    found = parse_descriptors(wait_for(lambda: sysfs_descriptors(served), "the descriptors in sysfs"))
    companion = [SuperSpeedEndpointCompanion()] if speed is Speed.SUPER else []
    rx, tx = served.gadget.functions[0]._endpoints()
    configuration = found[1]
    assert isinstance(configuration, ConfigurationDescriptor)
    device = found[0]
    assert isinstance(device, DeviceDescriptor)
    assert device == DeviceDescriptor(
        usb_version=USB_VERSION[speed],
        class_code=0,
        subclass=0,
        protocol=0,
        max_packet_size_0=MAX_PACKET_0[speed],
        vendor_id=0x1D6B,
        product_id=0x0104,
        device_version=0x0234,
        manufacturer=device.manufacturer,
        product=device.product,
        serial_number=device.serial_number,
        configuration_count=1,
    )
    assert 0 not in (device.manufacturer, device.product, device.serial_number)
    assert configuration == ConfigurationDescriptor(
        total_length=configuration.total_length,
        interface_count=1,
        value=1,
        string=configuration.string,
        attributes=0x80,
        max_power=100 // (8 if speed is Speed.SUPER else 2),
    )
    interface = found[2]
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
    assert found[3:] == [
        EndpointDescriptor(address=rx.address, attributes=2, max_packet_size=PACKET[speed]),
        *companion,
        EndpointDescriptor(address=tx.address, attributes=2, max_packet_size=PACKET[speed]),
        *companion,
    ]
    assert rx.address < 0x80 < tx.address
    assert rx.packet_size == tx.packet_size == PACKET[speed]


def test_pyusb_sees_it(serve: Callable[..., Served], speed: Speed) -> None:
    served = serve(echo_gadget(speed))
    with served.pyusb() as device:
        assert (device.idVendor, device.idProduct, device.bcdDevice) == (0x1D6B, 0x0104, 0x0234)
        assert (device.manufacturer, device.product, device.serial_number) == ("gadget", "Echo \u00fcber USB", "0001")
        assert device.speed == {Speed.HIGH: 3, Speed.SUPER: 4}[speed]
        interface = device.get_active_configuration()[(0, 0)]
        assert interface.bInterfaceClass == 0xFF
        assert [endpoint.wMaxPacketSize for endpoint in interface] == [PACKET[speed]] * 2
        assert usb.util.get_string(device, interface.iInterface) == "Echo"


def test_libusb1_sees_it(serve: Callable[..., Served], speed: Speed) -> None:
    served = serve(echo_gadget(speed))
    with served.libusb1() as (_, handle):
        device = handle.getDevice()
        assert (device.getVendorID(), device.getProductID()) == (0x1D6B, 0x0104)
        assert handle.getStringDescriptor(device.device_descriptor.iProduct, 0x0409) == "Echo \u00fcber USB"
        assert device.getDeviceSpeed() == {Speed.HIGH: 3, Speed.SUPER: 4}[speed]
        (setting,) = [setting for interface in next(iter(device)) for setting in interface]
        addresses = [endpoint.getAddress() for endpoint in setting]
        assert addresses == [endpoint.address for endpoint in served.gadget.functions[0]._endpoints()]


def test_the_controller_runs_at_the_speed_asked_for(serve: Callable[..., Served], speed: Speed) -> None:
    served = serve(echo_gadget(speed))
    assert served.gadget.controller.current_speed is speed
    assert served.gadget.controller.gadget == "test-echo"
