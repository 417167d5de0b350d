import errno

import pytest
import usb.core
from test_first import Echo

pytestmark = pytest.mark.usb


@pytest.fixture
def echo(serve):
    return serve(Echo())


def echoes(echo):
    with echo.pyusb() as device:
        device.write(echo.function.rx.address, b"hello")
        assert bytes(device.read(echo.function.tx.address, 1024)) == b"hello"


def test_survives_whatever_comes(echo, faults):
    faults.play("reset", "rebind", "reconfigure", count=2, after_each=lambda: echoes(echo))
    faults.play(count=5, seed=7, after_each=lambda: echoes(echo))


@pytest.mark.usb(controller="usbip-vudc")
def test_the_host_program_clears_a_stall(echo, faults, usb_device):
    stalled = faults.stall(echo.function.rx.address)
    with pytest.raises(usb.core.USBError) as failure:
        usb_device.write(echo.function.rx.address, b"hello")
    assert failure.value.errno == errno.EPIPE
    assert stalled.hits == 1
    usb_device.clear_halt(echo.function.rx.address)
    usb_device.write(echo.function.rx.address, b"hello")
