"""Control requests: in, out, without data, refused, unknown, failed, given up by the host."""

from __future__ import annotations

import contextlib
import errno
import logging
from collections.abc import Callable
from typing import Any

import pytest
import usb.core
import usb1

from gadget.protocol.functionfs_format import Setup
from tests.usb.conftest import Served, wait_for
from tests.usb.devices import Echo, echo_gadget

pytestmark = pytest.mark.usb

VENDOR_IN, VENDOR_OUT = 0xC1, 0x41  # to the interface
INTERFACE = 0


@pytest.fixture
def served(serve: Callable[..., Served], speed: Any) -> Served:
    return serve(echo_gadget(speed))


@pytest.fixture
def echo(served: Served) -> Echo:
    function = served.gadget.functions[0]
    assert isinstance(function, Echo)
    return function


def test_in(served: Served, echo: Echo) -> None:
    with served.pyusb() as device:
        assert bytes(device.ctrl_transfer(VENDOR_IN, 1, 0x1234, INTERFACE, 64)) == b"1.0"
    with served.libusb1() as (_, handle):
        assert handle.controlRead(VENDOR_IN, 1, 0x1234, INTERFACE, 64) == b"1.0"
    assert echo.seen == [Setup(VENDOR_IN, 1, 0x1234, INTERFACE, 64)] * 2


@pytest.mark.parametrize("length", [1, 3, 63, 64, 65, 512, 4096])
def test_data_of_every_length_out_and_in(served: Served, echo: Echo, length: int) -> None:
    """The answer is shorter than, as long as, or longer than what the host asks for."""
    data = bytes(i * 7 % 256 for i in range(length))
    with served.pyusb() as device:
        assert device.ctrl_transfer(VENDOR_OUT, 2, 0, INTERFACE, data) == length
        for asked in {1, length - 1, length, min(length + 1, 4096), 4096} - {0}:  # usbfs allows 4096
            assert bytes(device.ctrl_transfer(VENDOR_IN, 3, 0, INTERFACE, asked)) == data[:asked]
    assert echo.seen[-1].length == length


def test_to_the_device(served: Served) -> None:
    with served.pyusb() as device:
        assert bytes(device.ctrl_transfer(0xC0, 8, 0, 0, 64)) == b"device"
        assert_stalls(device, VENDOR_IN, 8, 0, INTERFACE, 64)


def test_without_data(served: Served, echo: Echo) -> None:
    with served.pyusb() as device:
        assert device.ctrl_transfer(VENDOR_OUT, 4, 0, INTERFACE) == 0
    with served.libusb1() as (_, handle):
        assert handle.controlWrite(VENDOR_OUT, 4, 0, INTERFACE, b"") == 0
    assert [setup.length for setup in echo.seen] == [0, 0]


def assert_stalls(device: Any, *request: Any) -> None:
    with pytest.raises(usb.core.USBError) as refusal:
        device.ctrl_transfer(*request)
    assert refusal.value.errno == errno.EPIPE


def test_refused(served: Served) -> None:
    with served.pyusb() as device:
        assert_stalls(device, VENDOR_OUT, 4, 1, INTERFACE)
        assert_stalls(device, VENDOR_IN, 5, 0, INTERFACE, 8)
        assert bytes(device.ctrl_transfer(VENDOR_IN, 1, 0, INTERFACE, 8)) == b"1.0"
    with served.libusb1() as (_, handle):
        with pytest.raises(usb1.USBErrorPipe):
            handle.controlRead(VENDOR_IN, 5, 0, INTERFACE, 8)
        assert handle.controlRead(VENDOR_IN, 1, 0, INTERFACE, 8) == b"1.0"


def test_unknown_is_refused_and_suggested(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    with served.pyusb() as device:
        assert_stalls(device, VENDOR_IN, 0x77, 0, INTERFACE, 8)
        assert_stalls(device, VENDOR_OUT, 0x78, 0, INTERFACE, b"data")
        assert bytes(device.ctrl_transfer(VENDOR_IN, 1, 0, INTERFACE, 8)) == b"1.0"
    assert "@vendor_in(request=0x77)" in caplog.text
    assert "@vendor_out(request=0x78)" in caplog.text


def test_a_failing_handler_stalls_and_is_reported_once(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    with served.pyusb() as device:
        assert_stalls(device, VENDOR_IN, 7, 0, INTERFACE, 8)
        assert bytes(device.ctrl_transfer(VENDOR_IN, 1, 0, INTERFACE, 8)) == b"1.0"
    failures = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(failures) == 1
    assert failures[0].exc_info is not None
    assert isinstance(failures[0].exc_info[1], ZeroDivisionError)


def test_a_request_that_the_host_gives_up_is_withdrawn(served: Served, echo: Echo) -> None:
    with served.pyusb() as device:
        with pytest.raises(usb.core.USBTimeoutError):
            device.ctrl_transfer(VENDOR_IN, 6, 0, INTERFACE, 8, timeout=200)
        assert bytes(device.ctrl_transfer(VENDOR_IN, 1, 0, INTERFACE, 8)) == b"1.0"
    wait_for(lambda: echo.withdrawn == 1, "the handler to be stopped")


def test_a_handler_that_ignores_its_end_holds_nothing_up(served: Served, echo: Echo) -> None:
    with served.pyusb() as device:
        with pytest.raises(usb.core.USBTimeoutError):
            device.ctrl_transfer(VENDOR_IN, 10, 0, INTERFACE, 8, timeout=200)
        assert bytes(device.ctrl_transfer(VENDOR_IN, 1, 0, INTERFACE, 8)) == b"1.0"
    served.loop.call_soon_threadsafe(echo.allowed.set)


def test_requests_while_data_flows(served: Served) -> None:
    """A handler that takes its time does not hold the data endpoints up."""
    rx, tx = served.gadget.functions[0]._endpoints()
    with served.libusb1() as (context, handle):
        waiting = handle.getTransfer()
        waiting.setControl(VENDOR_IN, 6, 0, INTERFACE, 8)
        waiting.submit()
        for size in (1, 1000, 5000):
            assert handle.bulkWrite(rx.address, bytes(size), 10_000) == size
            assert handle.bulkRead(tx.address, 8192, 10_000) == bytes(size)
        waiting.cancel()
        while waiting.isSubmitted():
            context.handleEvents()
        assert handle.controlRead(VENDOR_IN, 1, 0, INTERFACE, 8) == b"1.0"


def test_taken_down_while_a_handler_decides(serve: Callable[..., Served]) -> None:
    """The host waits for an answer when the gadget goes down: it still goes down, at once and in order."""
    served = serve(echo_gadget())
    echo = served.gadget.functions[0]
    assert isinstance(echo, Echo)
    # In the end libusb cannot release the interface of a device that is gone.
    with contextlib.suppress(usb1.USBErrorNoDevice), served.libusb1() as (context, handle):
        waiting = handle.getTransfer()
        waiting.setControl(VENDOR_IN, 6, 0, INTERFACE, 8)
        waiting.submit()
        wait_for(lambda: echo.entered, "the handler")
        served.stop()
        while waiting.isSubmitted():
            context.handleEvents()
    assert echo.withdrawn == 1


def test_data_that_is_looked_at_holds_nothing_up(served: Served, echo: Echo) -> None:
    """A handler of acknowledged data takes its time: data flows, a reset is noticed, and ends it."""
    rx, tx = served.gadget.functions[0]._endpoints()
    with served.pyusb() as device:
        assert device.ctrl_transfer(VENDOR_OUT, 9, 0, INTERFACE, b"data") == 4
        device.write(rx.address, b"x", 10_000)
        assert bytes(device.read(tx.address, 64, 10_000)) == b"x"
        with pytest.raises(usb.core.USBTimeoutError):  # in turn: the next request waits for its handler
            device.ctrl_transfer(VENDOR_IN, 1, 0, INTERFACE, 8, timeout=300)
        assert echo.withdrawn == 0
        device.reset()
        served.wait_reconfigured(2)
        assert echo.withdrawn == 1
        assert bytes(device.ctrl_transfer(VENDOR_IN, 1, 0, INTERFACE, 8)) == b"1.0"
