"""The same again and again: bound and unbound, and everything by turns for a minute or for hours."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

import pytest

from gadget.configfs.udc import bind, unbind
from gadget.testing import Bus, Faults, Served
from gadget.testing.controller_kinds import kind_of
from tests.conftest import Soak
from tests.usb import sturdy
from tests.usb.standing import Before, Steady
from tests.usb.test_unbroken_control import ENDS, abandon, draw, play
from tests.usb.traffic import Traffic

pytestmark = pytest.mark.usb

DEVICE = f"{sturdy.__file__}:sturdy"


@pytest.fixture(scope="module")
def child(usb_bus: Bus) -> Iterator[Served]:
    with usb_bus.serve(DEVICE, child=True) as served:
        yield served


def test_bound_and_unbound(child: Served, soak: Soak) -> None:
    source = soak.random()
    before, steady, faults = Before(child, source), Steady(child), Faults(child)
    for _ in range(soak.count(9, 200)):
        faults.rebind()
        before.check()
        steady.sample()
    steady.check()


def test_bound_and_unbound_in_a_hurry(child: Served, soak: Soak) -> None:
    """The host has not even looked at it when it is gone again."""
    source = soak.random()
    before, steady, faults = Before(child, source), Steady(child), Faults(child)
    for _ in range(soak.count(9, 200)):
        for _ in range(source.randint(1, 5)):
            unbind(child.tree)
            bind(child.tree, child.controller.name)
        faults.rebind()  # After that there is no doubt which of these devices the host has.
        before.check()
        steady.sample()
    steady.check()


def quiet_requests(served: Served, source: random.Random) -> None:
    with served.device.usbfs() as usbfs:
        usbfs.claim(0)
        for _ in range(20):
            assert play(served, usbfs, draw(source)) in ENDS
        kind = kind_of(served.controller.name)
        if kind is not None and not kind.lack("early withdrawal"):
            for _ in range(5):
                abandon(usbfs, source)


@pytest.mark.usb(speed="high", controller=["dummy_hcd", "usbip-vudc"])
def test_soak(child: Served, soak: Soak) -> None:
    """Everything by turns, for half a minute on each controller; for half an hour in the full form."""
    source = soak.random()
    before, steady, faults = Before(child, source), Steady(child), Faults(child)
    steps: list[Callable[[], object]] = [faults.reset, faults.rebind, faults.reconfigure, faults.replug]
    end = time.monotonic() + soak.count(30, 1800)
    rounds = 0
    while time.monotonic() < end or rounds < 6:
        with Traffic(child, source, unlink=source.choice((0, 0.2))) as traffic:
            traffic.wait_flowing(source.randrange(64))
            taken = traffic.expect_a_break()
            source.choice(steps)()
        before.check(None if traffic.unlinked else traffic, taken)
        quiet_requests(child, source)
        faults.reset()
        before.check()
        steady.sample()
        rounds += 1
    print(f"{rounds} rounds: {', '.join(faults.history)}")
    steady.check()
