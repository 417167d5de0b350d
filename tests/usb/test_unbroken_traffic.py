"""Transfers in flight both ways, and the connection ends, in every way that a host or a cable has.

After each the device serves on: its own process has not one task, thread, descriptor or transfer more than before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gadget.testing import Bus, Faults, Served
from gadget.testing.usbfs import ControlRequest
from tests.conftest import Soak
from tests.usb import sturdy
from tests.usb.standing import Before
from tests.usb.traffic import Traffic, bulk_endpoints

pytestmark = [
    pytest.mark.usb(speed=["full", "high", "super"], controller=["dummy_hcd", "usbip-vudc"]),
]

DEVICE = Path(sturdy.__file__)


@pytest.fixture(scope="module")
def served(usb_bus: Bus) -> Iterator[Served]:
    """One process for all of them, so that what one fault leaves is there in the next."""
    with usb_bus.serve(f"{DEVICE}:sturdy", child=True) as served:
        yield served


Break = Callable[[Faults, Traffic], object]


def configuration_0_and_back(faults: Faults, traffic: Traffic) -> None:
    """By the program that has the device open, so that the host's kernel does not know."""
    for value in (0, 1):
        traffic.ask(ControlRequest(0x00, 9, value))


def interface_anew(faults: Faults, traffic: Traffic) -> None:
    """The same, for SET_INTERFACE."""
    traffic.ask(ControlRequest(0x01, 11))


def vanish(faults: Faults, traffic: Traffic) -> None:
    """The cable is pulled in the middle of a transfer."""
    _, into = bulk_endpoints(faults.served.device)
    faults.vanish(into, skip=3)
    faults.served.controller.wait_gone()
    faults.plug()


def power_cycle(faults: Faults, traffic: Traffic) -> None:
    faults.power_cycle()


BREAKS: dict[str, Break] = {
    "unbind": lambda faults, traffic: faults.rebind(),
    "reset": lambda faults, traffic: faults.reset(),
    "configuration 0": lambda faults, traffic: faults.reconfigure(),
    "interface anew": interface_anew,
}


def play(served: Served, soak: Soak, how: Break) -> None:
    """Breaks the connection again and again, and looks after the device each time."""
    source = soak.random()
    before, faults = Before(served, source), Faults(served)
    for _ in range(soak.count(1, 50)):
        with Traffic(served, source) as traffic:
            traffic.wait_flowing()
            taken = traffic.expect_a_break()
            how(faults, traffic)
        before.check(traffic, taken)


@pytest.mark.parametrize("name", BREAKS)
def test_the_connection_ends(served: Served, soak: Soak, name: str) -> None:
    play(served, soak, BREAKS[name])


@pytest.mark.usb(controller="dummy_hcd")
def test_configuration_0_behind_the_kernels_back(served: Served, soak: Soak) -> None:
    """Its transfers go on meanwhile, to endpoints that are not there: usbip-vudc ends its connection at the first."""
    play(served, soak, configuration_0_and_back)


@pytest.mark.usb(needs="port power")
def test_the_power_goes(served: Served, soak: Soak) -> None:
    play(served, soak, power_cycle)


@pytest.mark.usb(controller="usbip-vudc")
def test_the_cable_is_pulled(served: Served, soak: Soak) -> None:
    play(served, soak, vanish)


def test_the_host_changes_its_mind(served: Served, soak: Soak) -> None:
    """It takes transfers back at random, of both endpoints, and submits others: the connection does not even end."""
    source = soak.random()
    before = Before(served, source)
    for _ in range(soak.count(1, 20)):
        with Traffic(served, source, unlink=0.3) as traffic:
            while traffic.unlinked < 30:
                traffic.wait_flowing(1)
            assert not traffic.ended
        before.check()
