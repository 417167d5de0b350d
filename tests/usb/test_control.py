"""Control requests: in, out, without data, refused, unknown, failed, given up by the host."""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
import usb.core
import usb1

from gadget import Gadget, Setup
from gadget.functionfs.control_endpoint import ControlEndpoint
from gadget.protocol.functionfs_format import only_setup
from gadget.testing import ServedGadget, wait_for
from gadget.testing.usbfs import ControlRequest
from tests.usb.devices import Echo

pytestmark = pytest.mark.usb(controller=["dummy_hcd", "usbip-vudc"])

# What goes over the wire differs with the speed: packets of 64 bytes, or of 512 with bursts and status packets.
every_speed = pytest.mark.usb(speed=["full", "high", "super"])

VENDOR_IN, VENDOR_OUT = 0xC1, 0x41  # to the interface
INTERFACE = 0


def assert_stalls(device: Any, *request: Any) -> None:
    with pytest.raises(usb.core.USBError) as refusal:
        device.ctrl_transfer(*request)
    assert refusal.value.errno == errno.EPIPE


def assert_answers(device: Any) -> None:
    assert bytes(device.ctrl_transfer(VENDOR_IN, 1, 0, INTERFACE, 8)) == b"1.0"


@every_speed
def test_in(served: ServedGadget, echo: Echo, usb_device: Any, usb_handle: usb1.USBDeviceHandle) -> None:
    assert bytes(usb_device.ctrl_transfer(VENDOR_IN, 1, 0x1234, INTERFACE, 64)) == b"1.0"
    assert usb_handle.controlRead(VENDOR_IN, 1, 0x1234, INTERFACE, 64) == b"1.0"
    assert echo.seen == [Setup(VENDOR_IN, 1, 0x1234, INTERFACE, 64)] * 2


@every_speed
def test_data_of_every_length_out_and_in(served: ServedGadget, echo: Echo, usb_device: Any) -> None:
    """The answer is shorter than, as long as, or longer than what the host asks for."""
    for length in (1, 3, 63, 64, 65, 511, 512, 513, 4096):  # usbfs allows 4096
        data = bytes(i * 7 % 256 for i in range(length))
        assert usb_device.ctrl_transfer(VENDOR_OUT, 2, 0, INTERFACE, data) == length
        for asked in {1, length - 1, length, min(length + 1, 4096), 4096} - {0}:
            answer = bytes(usb_device.ctrl_transfer(VENDOR_IN, 3, 0, INTERFACE, asked))
            assert answer == data[:asked], f"{asked} bytes of {length}"
        assert echo.seen[-1].length == length


@every_speed
def test_without_data(served: ServedGadget, echo: Echo, usb_device: Any, usb_handle: usb1.USBDeviceHandle) -> None:
    assert usb_device.ctrl_transfer(VENDOR_OUT, 4, 0, INTERFACE) == 0
    assert usb_handle.controlWrite(VENDOR_OUT, 4, 0, INTERFACE, b"") == 0
    assert [setup.length for setup in echo.seen] == [0, 0]


@every_speed
def test_refused(served: ServedGadget, usb_device: Any, usb_handle: usb1.USBDeviceHandle) -> None:
    assert_stalls(usb_device, VENDOR_OUT, 4, 1, INTERFACE)
    assert_stalls(usb_device, VENDOR_IN, 5, 0, INTERFACE, 8)
    assert_answers(usb_device)
    with pytest.raises(usb1.USBErrorPipe):
        usb_handle.controlRead(VENDOR_IN, 5, 0, INTERFACE, 8)
    assert usb_handle.controlRead(VENDOR_IN, 1, 0, INTERFACE, 8) == b"1.0"


@every_speed
def test_a_request_that_the_host_gives_up_is_withdrawn(served: ServedGadget, echo: Echo, usb_device: Any) -> None:
    with pytest.raises(usb.core.USBTimeoutError):
        usb_device.ctrl_transfer(VENDOR_IN, 6, 0, INTERFACE, 8, timeout=200)
    assert_answers(usb_device)
    wait_for(lambda: echo.withdrawn == 1, "the handler to be stopped")


@pytest.mark.usb(needs="early withdrawal")
@pytest.mark.parametrize("length", [8, 0])
def test_one_that_is_given_up_as_it_is_read(
    serve: Callable[..., ServedGadget], monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    """Its eventfd rings before anybody decides about it, so the handler would wait for a host that does not."""
    is_read, go_on = threading.Event(), threading.Event()
    read = ControlEndpoint._read

    def read_slowly(endpoint: ControlEndpoint) -> bytes:
        data = read(endpoint)
        setup = only_setup(data)
        if setup is not None and setup.request == 6:
            is_read.set()
            assert go_on.wait(60)
        return data

    monkeypatch.setattr(ControlEndpoint, "_read", read_slowly)
    echo = Echo()
    served = serve(Gadget(echo))
    with served.device.usbfs() as usbfs:
        usbfs.claim(INTERFACE)
        withdrawn = usbfs.submit_control(ControlRequest(VENDOR_IN, 6, length=length))
        assert is_read.wait(60)
        usbfs.discard(withdrawn)
        assert usbfs.reap(60) is withdrawn
        asked = usbfs.submit_control(ControlRequest(VENDOR_IN, 1, length=8))
        assert usbfs.reap(0.2) is None
        go_on.set()
        assert usbfs.reap(60) is asked
        assert asked.data == b"1.0"
    wait_for(lambda: echo.withdrawn == 1, "the handler to be stopped")


def test_to_the_device(served: ServedGadget, usb_device: Any) -> None:
    assert bytes(usb_device.ctrl_transfer(0xC0, 8, 0, 0, 64)) == b"device"
    assert_stalls(usb_device, VENDOR_IN, 8, 0, INTERFACE, 64)


def test_unknown_is_refused_and_suggested(
    served: ServedGadget, usb_device: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert_stalls(usb_device, VENDOR_IN, 0x77, 0, INTERFACE, 8)
    assert_stalls(usb_device, VENDOR_OUT, 0x78, 0, INTERFACE, b"data")
    assert_answers(usb_device)
    assert "@vendor_in(request=0x77)" in caplog.text
    assert "@vendor_out(request=0x78)" in caplog.text


def test_a_failing_handler_stalls_and_is_reported_once(
    served: ServedGadget, usb_device: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert_stalls(usb_device, VENDOR_IN, 7, 0, INTERFACE, 8)
    assert_answers(usb_device)
    failures = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(failures) == 1
    assert failures[0].exc_info is not None
    assert isinstance(failures[0].exc_info[1], ZeroDivisionError)


def test_a_handler_that_ignores_its_end_holds_nothing_up(served: ServedGadget, echo: Echo, usb_device: Any) -> None:
    with pytest.raises(usb.core.USBTimeoutError):
        usb_device.ctrl_transfer(VENDOR_IN, 10, 0, INTERFACE, 8, timeout=200)
    assert_answers(usb_device)
    assert not echo.allowed.is_set()
    served.loop.call_soon_threadsafe(echo.allowed.set)


def begin_request(handle: usb1.USBDeviceHandle, request: int) -> Any:
    """Asks, and does not wait for the answer."""
    transfer = handle.getTransfer()
    transfer.setControl(VENDOR_IN, request, 0, INTERFACE, 8)
    transfer.submit()
    return transfer


def test_requests_while_data_flows(served: ServedGadget, echo: Echo) -> None:
    """A handler that takes its time does not hold the data endpoints up."""
    with served.device.libusb1_context() as (context, handle):
        waiting = begin_request(handle, 6)
        for size in (1, 1000, 5000):
            assert handle.bulkWrite(echo.rx.address, bytes(size), 10_000) == size
            assert handle.bulkRead(echo.tx.address, 8192, 10_000) == bytes(size)
        assert echo.entered
        assert echo.withdrawn == 0
        waiting.cancel()
        while waiting.isSubmitted():
            context.handleEvents()
        assert handle.controlRead(VENDOR_IN, 1, 0, INTERFACE, 8) == b"1.0"


def test_taken_down_while_a_handler_decides(served: ServedGadget, echo: Echo) -> None:
    """The host waits for an answer when the gadget goes down: it still goes down, at once and in order."""
    with served.device.libusb1_context() as (context, handle):
        waiting = begin_request(handle, 6)
        wait_for(lambda: echo.entered, "the handler")
        served.stop()
        while waiting.isSubmitted():
            context.handleEvents()
        assert waiting.getStatus() != usb1.TRANSFER_COMPLETED
    assert echo.withdrawn == 1


def test_data_that_is_looked_at_holds_nothing_up(served: ServedGadget, echo: Echo, usb_device: Any) -> None:
    """A handler of acknowledged data takes its time: data flows, a reset is noticed, and ends it."""
    assert usb_device.ctrl_transfer(VENDOR_OUT, 9, 0, INTERFACE, b"data") == 4
    usb_device.write(echo.rx.address, b"x", 10_000)
    assert bytes(usb_device.read(echo.tx.address, 64, 10_000)) == b"x"
    with pytest.raises(usb.core.USBTimeoutError):  # in turn: the next request waits for its handler
        usb_device.ctrl_transfer(VENDOR_IN, 1, 0, INTERFACE, 8, timeout=300)
    assert echo.withdrawn == 0
    usb_device.reset()
    served.wait_generation(2)
    assert echo.withdrawn == 1
    assert_answers(usb_device)
