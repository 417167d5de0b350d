"""Endpoint halt from the device's side, and what the controller's FIFO tells."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest
import usb.core

from gadget import BulkIn, BulkOut, Function, Gadget, UnsupportedError
from gadget.testing import ServedGadget

pytestmark = pytest.mark.usb(controller=["dummy_hcd", "usbip-vudc"])

every_speed = pytest.mark.usb(speed=["full", "high", "super"])

TIMEOUT_MS = 10_000
OLD, NEW = b"\xaa" * 4096, b"\x55" * 100


class Pair(Function):
    rx = BulkOut(transfer_size=4096, depth=4)
    tx = BulkIn(transfer_size=4096, depth=4)


@pytest.fixture
def function() -> Pair:
    return Pair()


@pytest.fixture
def served(serve: Callable[..., ServedGadget], function: Pair) -> ServedGadget:
    return serve(Gadget(function))


def assert_stalls(call: Callable[[], Any]) -> None:
    with pytest.raises(usb.core.USBError) as caught:
        call()
    assert caught.value.errno == errno.EPIPE


@every_speed
def test_an_in_endpoint_takes_its_writes_back_and_stalls(served: ServedGadget, function: Pair, usb_device: Any) -> None:
    served.call(function.tx.write(OLD * 3))
    served.call(function.tx.halt())
    assert (function.tx.halted, function.tx.halts) == (True, 1)
    assert (function.tx.counters.withdrawn, function.tx.counters.errors) == (3, 0)
    assert_stalls(lambda: usb_device.read(function.tx.address, 4096, TIMEOUT_MS))
    # What is written meanwhile waits until the host has cleared it.
    served.call(function.tx.write(NEW))
    usb_device.clear_halt(function.tx.address)
    assert bytes(usb_device.read(function.tx.address, 4096, TIMEOUT_MS)) == NEW
    served.call(function.tx.drain())


@every_speed
def test_an_out_endpoint_stalls_and_receives_again(served: ServedGadget, function: Pair, usb_device: Any) -> None:
    served.call(function.rx.halt())
    assert_stalls(lambda: usb_device.write(function.rx.address, OLD, TIMEOUT_MS))
    usb_device.clear_halt(function.rx.address)
    usb_device.write(function.rx.address, NEW, TIMEOUT_MS)
    assert served.call(function.rx.read(len(NEW))) == NEW
    assert function.rx.counters.errors == 0


def test_the_device_ends_a_halt_itself(served: ServedGadget, function: Pair, usb_device: Any) -> None:
    served.call(function.tx.halt())
    served.call(function.tx.clear_halt())
    assert not function.tx.halted
    served.call(function.tx.write(NEW))
    assert bytes(usb_device.read(function.tx.address, 4096, TIMEOUT_MS)) == NEW


def test_halting_while_a_task_writes_lets_it_go_on_afterwards(
    served: ServedGadget, function: Pair, usb_device: Any
) -> None:
    writing = served.begin(function.tx.write(OLD * 4 + NEW))
    served.call(function.tx.halt())
    assert_stalls(lambda: usb_device.read(function.tx.address, 4096, TIMEOUT_MS))
    usb_device.clear_halt(function.tx.address)
    writing.result(30)
    # The four that were queued are gone; what was not queued yet is not.
    assert bytes(usb_device.read(function.tx.address, 4096, TIMEOUT_MS)) == NEW


def test_a_new_generation_is_not_halted(served: ServedGadget, function: Pair, usb_device: Any) -> None:
    served.call(function.tx.halt())
    usb_device.reset()
    served.wait_generation(2)
    assert (function.tx.halted, function.tx.halts) == (False, 1)


def test_what_the_controller_does_not_offer_is_said_by_name(served: ServedGadget, function: Pair) -> None:
    for use in (function.tx.fifo_status, function.tx.flush_fifo, function.rx.fifo_status):
        with pytest.raises(UnsupportedError, match=rf"Pair\.[rt]x: the controller {served.controller.name} .* no FIFO"):
            served.call(use())
