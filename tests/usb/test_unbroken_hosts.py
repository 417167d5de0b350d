"""Hosts that keep to the letter of USB and to nothing else: they never read, never end, send nothing, never let go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest

from gadget import BulkIn, BulkOut, Function, Gadget, MessageTooLongError
from gadget.testing import Bus, Faults, Served, wait_for
from gadget.testing.usbfs import ControlRequest
from tests.conftest import Soak
from tests.usb import sturdy
from tests.usb.standing import Before, Steady
from tests.usb.traffic import PATIENCE, Traffic, bulk_endpoints

pytestmark = pytest.mark.usb


@pytest.fixture(scope="module")
def child(usb_bus: Bus) -> Iterator[Served]:
    with usb_bus.serve(f"{sturdy.__file__}:sturdy", child=True) as served:
        yield served


def test_a_host_that_never_reads(child: Served, soak: Soak) -> None:
    """The device takes what it has room for and no more; a host that reads after all gets every byte."""
    source = soak.random()
    before, steady = Before(child, source), Steady(child)
    out, into = bulk_endpoints(child.device)
    for _ in range(soak.count(6, 100)):
        data = source.randbytes(1 << 20)
        with child.device.usbfs() as usbfs:
            usbfs.claim(0)
            pieces = [usbfs.submit(out, data[at : at + (1 << 16)]) for at in range(0, len(data), 1 << 16)]
            while usbfs.reap(0.3) is not None:
                pass
            assert len(usbfs.in_flight) > 1, "the device takes whatever it is sent"
            steady.sample()
            came = bytearray()
            usbfs.submit(into, 1 << 16)
            while len(came) < len(data):
                urb = usbfs.reap(PATIENCE)
                assert urb is not None, f"nothing moves after {len(came)} bytes"
                assert urb.status == 0
                if urb not in pieces:
                    came += urb.data
                    usbfs.submit(into, 1 << 16)
        assert came == data
    before.check()
    steady.check()


def test_a_host_that_sends_nothing_in_many_packets(child: Served, soak: Soak) -> None:
    """Each zero-length packet is a message, and comes back as one."""
    source = soak.random()
    before, steady = Before(child, source), Steady(child)
    out, into = bulk_endpoints(child.device)
    with child.device.usbfs() as usbfs:
        usbfs.claim(0)
        for _ in range(soak.count(12, 2000)):
            for _ in range(32):
                usbfs.submit(out, b"")
                usbfs.submit(into, 4096)
            while usbfs.in_flight:
                urb = usbfs.reap(PATIENCE)
                assert urb is not None
                assert (urb.status, urb.transferred) == (0, 0)
            steady.sample()
    before.check()
    steady.check()


class Patient(Function):
    """Takes messages of a length that it can bear."""

    rx = BulkOut()
    tx = BulkIn()

    def __init__(self) -> None:
        self.too_long = 0
        self.messages: list[bytes] = []

    async def run(self) -> None:
        messages = self.rx.messages(limit=4096)
        while True:
            try:
                self.messages.append(await anext(messages))
            except MessageTooLongError:
                self.too_long += 1


@pytest.mark.usb(controllers=2)  # The other one is the child's, of this module.
def test_a_message_that_never_ends(usb_bus: Bus) -> None:
    """What is too long is dropped as it comes, and the message after it is complete."""
    function = Patient()
    with usb_bus.serve(Gadget(function)) as served, served.device.usbfs() as usbfs:
        out, _ = bulk_endpoints(served.device)
        usbfs.claim(0)
        for _ in range(64):
            usbfs.submit(out, 1 << 16)
        for data in (b"", b"short", b""):
            usbfs.submit(out, data)
        while usbfs.in_flight:
            urb = usbfs.reap(PATIENCE)
            assert urb is not None
            assert urb.status == 0
        wait_for(lambda: function.messages == [b"short", b""], "the messages after it")
        assert function.too_long == 1


def test_a_storm_of_selections(child: Served, soak: Soak) -> None:
    """Interface and configuration selected anew, whatever is in flight, and whether or not anybody is ready."""
    source = soak.random()
    before, steady = Before(child, source), Steady(child)
    requests = [ControlRequest(0x01, 11), ControlRequest(0x00, 9, 1), ControlRequest(0x00, 9, 0)]
    for _ in range(soak.count(6, 500)):
        with Traffic(child, source) as traffic:
            traffic.wait_flowing(4)
            taken = traffic.expect_a_break()
            for request in source.choices(requests, k=20):
                with suppress(BrokenPipeError):  # Without a configuration there is no interface to select.
                    traffic.ask(request)
            traffic.ask(ControlRequest(0x00, 9, 1))
        before.check(traffic, taken)
        steady.sample()
    steady.check()


@pytest.mark.usb(needs="bus reset")
def test_a_storm_of_resets(child: Served, soak: Soak) -> None:
    source = soak.random()
    before, steady, faults = Before(child, source), Steady(child), Faults(child)
    for _ in range(soak.count(6, 200)):
        for _ in range(source.randint(1, 4)):
            faults.reset()
        before.check()
        steady.sample()
    steady.check()


def test_a_host_that_does_not_trust_it(child: Served, soak: Soak) -> None:
    """The host's kernel can refuse a device that it has configured already, and change its mind again."""
    source = soak.random()
    before = Before(child, source)
    authorized = child.device.path / "authorized"
    for _ in range(soak.count(1, 100)):
        with Traffic(child, source) as traffic:
            traffic.wait_flowing()
            taken = traffic.expect_a_break()
            authorized.write_text("0")
        authorized.write_text("1")
        child.wait_configured()
        before.check(traffic, taken)


def test_a_host_that_removes_it(child: Served, soak: Soak) -> None:
    """ "Safely remove": the device is still plugged in, and hears nothing until it is bound anew."""
    source = soak.random()
    before, faults = Before(child, source), Faults(child)
    with Traffic(child, source) as traffic:
        traffic.wait_flowing()
        taken = traffic.expect_a_break()
        (child.device.path / "remove").write_text("1")
    child.controller.wait_gone()
    faults.rebind()
    before.check(traffic, taken)
