"""Faults of a host that changes its mind, gives up, or takes the power away."""

from __future__ import annotations

import pytest

from gadget import LinkState, UsageError
from gadget.testing import Faults, ServedGadget, wait_for
from tests.usb.devices import Echo

pytestmark = pytest.mark.usb(controller=["dummy_hcd", "usbip-vudc"])


def test_unlink(served: ServedGadget, echo: Echo, faults: Faults) -> None:
    """The device sends nothing, so nothing is lost; it takes what it is sent, so something may have arrived."""
    assert faults.unlink(echo.tx.address) == 0
    moved = faults.unlink(echo.rx.address, length=64, count=3)
    assert moved in (0, 64, 128, 192)
    assert faults.history == [f"unlink {echo.tx.address:#04x}", f"unlink {echo.rx.address:#04x}"]


def test_unlink_of_what_is_not_there(served: ServedGadget, faults: Faults) -> None:
    with pytest.raises(Exception, match="the host sees no endpoint 0x8f"):
        faults.unlink(0x8F)


def test_unlink_of_what_somebody_uses(served: ServedGadget, echo: Echo, faults: Faults) -> None:
    with served.libusb1(), pytest.raises(UsageError, match=r"interface 0 of .* is claimed by a driver or a program"):
        faults.unlink(echo.tx.address)


@pytest.mark.usb(needs="early withdrawal")
def test_abandon(served: ServedGadget, echo: Echo, faults: Faults) -> None:
    """Again and again, since it may be given up before the device has begun."""
    while not echo.withdrawn:
        faults.abandon(0xC1, 6, length=8)
    with served.pyusb() as device:
        assert bytes(device.ctrl_transfer(0xC1, 1, 0, 0, 8)) == b"1.0"


def test_abandon_with_data(served: ServedGadget, echo: Echo, faults: Faults) -> None:
    """It has arrived, or has not; or the device was about to read it, and the kernel gave its memory away.

    The request after it may be the one that this happens to (see limits.rst); the next is itself again.
    """
    faults.abandon(0x41, 2, data=b"secret")
    possible = (b"plain", b"secret", bytes(len(b"secret")))
    with served.pyusb() as device:
        assert bytes(device.ctrl_transfer(0xC1, 3, 0, 0, 8)) in possible
        assert bytes(device.ctrl_transfer(0xC1, 3, 0, 0, 8)) == echo.mode
        assert echo.mode in possible


@pytest.mark.usb(speed=["full", "high", "super"], needs="port power")
def test_power(served: ServedGadget, echo: Echo, faults: Faults) -> None:
    """The gadget stays where it is, and is disabled."""
    before = served.device
    faults.power_off()
    assert not before.present
    assert served.controller.tree == served.tree
    wait_for(lambda: echo.link is LinkState.BOUND, "DISABLE")
    faults.power_on()
    served.wait_generation(2)
    with served.pyusb() as device:
        assert bytes(device.ctrl_transfer(0xC1, 1, 0, 0, 8)) == b"1.0"
    assert faults.history == ["power_off", "power_on"]


@pytest.mark.usb(controller="usbip-vudc")
def test_power_where_nobody_would_notice(served: ServedGadget, faults: Faults) -> None:
    with pytest.raises(UsageError, match=r"usbip-vudc\.0 has no port power: USB/IP does not carry it"):
        faults.power_off()
    with pytest.raises(UsageError, match=r"power_off\(\) comes first"):
        faults.power_on()
