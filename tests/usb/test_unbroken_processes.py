"""The process that serves a device is told to end, or is killed, at any moment: what is left, and who removes it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gadget.configfs.apply import USB_GADGET_ROOT
from gadget.configfs.record import default_folder
from gadget.functionfs.mount import functionfs_mounts
from gadget.testing import BenchController, Faults, ServedChild, wait_for
from tests.conftest import Soak
from tests.usb import sturdy
from tests.usb.standing import Before
from tests.usb.traffic import Traffic, echoes

pytestmark = pytest.mark.usb(speed="high")

Serve = Callable[..., ServedChild]

DEVICE = f"{sturdy.__file__}:sturdy"
SECOND = f"{sturdy.__file__}:second"
#: Seconds in which an orderly end is over; emulated, it takes 0.3.
ORDERLY = 2.0


def left_of(name: str) -> list[Path]:
    """What there is of a gadget: its tree in configfs, what is mounted for it, its record."""
    mounts = [folder for instance, folder in functionfs_mounts() if instance == name]
    places = (USB_GADGET_ROOT / name, default_folder() / f"{name}.json", default_folder() / f"ffs.{name}")
    return [*mounts, *(place for place in places if place.exists())]


@pytest.mark.usb(controller=["dummy_hcd", "usbip-vudc"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_told_to_end_with_transfers_in_flight(serve: Serve, soak: Soak, number: int) -> None:
    source = soak.random()
    child = serve(DEVICE, child=True)
    for again in range(soak.count(1, 50)):
        if again:
            child.start_again()
        with Traffic(child, source) as traffic:
            traffic.wait_flowing()
            traffic.expect_a_break()
            took = child.end(number)
            traffic.wait_ended()
        assert took < ORDERLY
        print(f"{took:.2f} s")
        assert left_of("sturdy") == []
        assert child.controller.sysfs.holder is None


@pytest.mark.usb(controllers=2, needs="interrupted unbind")
def test_what_a_killed_process_left_is_reclaimed_and_nothing_else(
    serve: Serve, udcs: list[BenchController], soak: Soak
) -> None:
    """Beside it live another gadget of ours, in use, and one that nobody serves."""
    source = soak.random()
    neighbour, child = serve(SECOND, udc=udcs[1], child=True), serve(DEVICE, udc=udcs[0], child=True)
    foreign = USB_GADGET_ROOT / "somebody-elses"
    foreign.mkdir()
    try:
        before = Before(neighbour, source)
        with Traffic(neighbour, random.Random(2)) as beside:
            for _ in range(soak.count(1, 50)):
                with Traffic(child, source) as traffic:
                    traffic.wait_flowing()
                    traffic.expect_a_break()
                    child.kill()
                    traffic.wait_ended()
                assert left_of("sturdy")
                beside.wait_flowing()
                child.start_again()
                echoes(child, source)
            beside.wait_flowing()
        assert foreign.is_dir()
        before.check()
    finally:
        foreign.rmdir()


def test_killed_at_every_stage_of_its_start(udc: BenchController, serve: Serve, soak: Soak) -> None:
    """Wherever it was, the next start takes it from there."""
    tree, mounted = USB_GADGET_ROOT / "sturdy", default_folder() / "ffs.sturdy"
    stages: dict[str, Callable[[], object]] = {
        "its record is there": (default_folder() / "sturdy.json").exists,
        "its tree is begun": tree.exists,
        "its tree is made": (tree / "configs/c.1/ffs.sturdy").exists,
        "FunctionFS is mounted": (mounted / "ep0").exists,
        "it is described": (mounted / "ep2").exists,
        "it is bound": lambda: udc.sysfs.holder,
    }
    for number in range(1, 1 + soak.count(3, 200)):
        name, reached = list(stages.items())[number * 5 % len(stages)]
        command = [sys.executable, "-m", "gadget", "run", DEVICE, "--udc", udc.name]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            wait_for(lambda reached=reached, process=process: reached() or process.poll() is not None, name)  # type: ignore[misc]
            assert process.poll() is None, f"it has ended by itself before {name}"
            process.kill()
        assert process.returncode == -signal.SIGKILL
    child = serve(DEVICE, udc=udc, child=True)
    echoes(child, soak.random())
    child.end()
    assert left_of("sturdy") == []


def test_frozen_while_it_is_taken_off_its_controller(serve: Serve, soak: Soak) -> None:
    """It hears of everything at once when it goes on, and serves the host that has come meanwhile."""
    source = soak.random()
    child = serve(DEVICE, child=True)
    before, faults = Before(child, source), Faults(child)
    for _ in range(soak.count(1, 50)):
        with Traffic(child, source) as traffic:
            traffic.wait_flowing()
            taken = traffic.expect_a_break()
            with faults.frozen():
                faults.unbind()
                traffic.wait_ended()
                faults.bind()
        before.check(traffic, taken)


def test_nobody_is_left_to_hear_a_signal_twice(serve: Serve) -> None:
    """SIGTERM again and again while it goes down changes nothing."""
    child = serve(DEVICE, child=True)
    with Traffic(child, random.Random(1)) as traffic:
        traffic.wait_flowing()
        traffic.expect_a_break()
        for _ in range(5):
            os.kill(child.process.pid, signal.SIGTERM)
        child.end()
        traffic.wait_ended()
    assert left_of("sturdy") == []
