"""pyusb in tests: every test finds the devices of its own moment, and none of them can crash libusb."""

from __future__ import annotations

import gc

import pytest
import usb.core
import usb.util

from gadget.testing import ServedGadget
from gadget.testing.observe.leaks import settle, snapshot
from gadget.testing.pyusb_backend import forget_backend

pytestmark = pytest.mark.usb

VENDOR_IN, VERSION = 0xC1, 1


def version(device: usb.core.Device) -> bytes:
    return bytes(device.ctrl_transfer(VENDOR_IN, VERSION, 0, 0, 8))


@pytest.mark.parametrize("time", ["first", "second"])
def test_find_sees_what_is_there_now(served: ServedGadget, time: str) -> None:
    vendor, product = served.device.identity
    device = usb.core.find(idVendor=vendor, idProduct=product)
    assert device is not None, f"pyusb does not see the device the {time} time"
    assert (device.bus, device.address) == (served.device.bus, served.device.address)
    assert version(device) == b"1.0"
    usb.util.dispose_resources(device)


def test_a_device_that_is_kept_for_too_long_is_an_error_and_no_crash(served: ServedGadget) -> None:
    with served.pyusb() as device:
        assert version(device) == b"1.0"
    with pytest.raises(AttributeError):
        version(device)
    del device
    gc.collect()


def test_a_traceback_may_hold_a_device(served: ServedGadget) -> None:
    """It goes with the garbage, at any time later, when its libusb is gone."""
    kept = []
    for _ in range(20):
        with pytest.raises(usb.core.USBError) as refusal, served.pyusb() as device:
            device.ctrl_transfer(VENDOR_IN, 0x77, 0, 0, 8)
        kept.append(refusal)
    kept.clear()
    gc.collect()
    with served.pyusb() as device:
        assert version(device) == b"1.0"


def test_a_libusb_lives_as_long_as_somebody_uses_it(served: ServedGadget) -> None:
    """As a fixture of a module does, from one test to the next."""
    with served.pyusb() as device:
        assert version(device) == b"1.0", "whatever the device itself opens late is open by now"
    before = snapshot()
    vendor, product = served.device.identity
    device = usb.core.find(idVendor=vendor, idProduct=product)
    forget_backend()
    assert version(device) == b"1.0"
    usb.util.dispose_resources(device)
    assert snapshot().leaks_since(before)
    del device
    forget_backend()
    assert settle(before, 5.0) == []
