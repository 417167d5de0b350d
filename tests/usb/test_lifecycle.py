"""Resets, re-binds, kills: the device serves on, or is gone without a trace."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
import usb.core

from gadget import (
    BulkIn,
    BulkOut,
    ControllerBusyError,
    Function,
    Gadget,
    GadgetBusyError,
    GadgetError,
    LinkState,
    NoControllerError,
    NotUndoneError,
    Speed,
)
from gadget.configfs.apply import USB_GADGET_ROOT
from gadget.configfs.record import default_folder
from gadget.testing import BenchController, Faults, ServedChild, ServedGadget, wait_for
from tests.usb.devices import Echo, echo_gadget
from tests.usb.test_echo import round_trip

pytestmark = pytest.mark.usb(controller=["dummy_hcd", "usbip-vudc"])

every_speed = pytest.mark.usb(speed=["full", "high", "super"])

DEVICE = Path(__file__).parents[2] / "examples/echo/device.py"
DATA = bytes(range(256)) * 300


def assert_echoes(served: ServedGadget, echo: Echo) -> None:
    with served.pyusb() as device:
        assert round_trip(echo, device, DATA) == DATA


@every_speed
def test_survives_a_host_reset(served: ServedGadget, echo: Echo, faults: Faults) -> None:
    assert_echoes(served, echo)
    for count in range(3):
        faults.reset()
        served.wait_generation(count + 2)
        assert_echoes(served, echo)


def fill(device: Any, echo: Echo) -> None:
    """Sends until the device takes no more; how much of the last transfer it took, not every host controller says."""
    for _ in range(100):
        try:
            if device.write(echo.rx.address, bytes(1 << 16), 500) < 1 << 16:
                return
        except usb.core.USBTimeoutError:
            return
    pytest.fail("the device takes whatever it is sent")


@every_speed
def test_survives_a_reset_with_transfers_in_flight(served: ServedGadget, echo: Echo) -> None:
    """The host has sent what it never reads, so the device holds transfers both ways; none of them comes later."""
    with served.pyusb() as device:
        fill(device, echo)
        assert echo.tx.counters.in_flight > 0
        device.reset()
    served.wait_generation(2)
    assert_echoes(served, echo)


@every_speed
def test_survives_a_rebind(served: ServedGadget, echo: Echo, faults: Faults) -> None:
    assert_echoes(served, echo)
    for count in range(2):
        faults.unbind()
        wait_for(lambda: echo.link is LinkState.UNBOUND, "UNBIND")
        faults.bind()
        served.wait_generation(count + 2)
        assert_echoes(served, echo)


@every_speed
def test_survives_being_unconfigured(served: ServedGadget, echo: Echo) -> None:
    """By a program that has the device open, unlike in :class:`gadget.testing.Faults`."""
    for count in range(2):
        with served.pyusb() as device:
            device.set_configuration(0)
            wait_for(lambda: echo.link is LinkState.BOUND, "DISABLE")
            device.set_configuration(1)
        served.wait_generation(count + 2)
        assert_echoes(served, echo)


class Command:
    """``gadget run examples/echo/device.py``: its lines and its exit status are what is looked at."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "gadget", "run", str(DEVICE), *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    @property
    def stdout(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout

    def wait_configured(self, udc: BenchController) -> str:
        udc.wait_bound()
        udc.connection.plug()
        line = self.stdout.readline()
        assert "configured" in line, self.process.communicate()
        return line

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        with self.process:
            return self.process.wait(30)


@contextmanager
def command(*arguments: str) -> Iterator[Command]:
    started = Command(*arguments)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.process.kill()
        started.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_takes_it_down_in_order(udc: BenchController, usb_speed: Speed, number: int) -> None:
    with command("--udc", udc.name) as device:
        line = f"echo: configured by the host on {udc.name}, 1d6b:0104, {usb_speed.maximum}\n"
        assert device.wait_configured(udc) == line
        assert udc.tree == USB_GADGET_ROOT / "echo"
        started = time.monotonic()
        assert device.end(number) == 0
        assert time.monotonic() - started < 10  # within two seconds on a machine; this one is emulated
    assert not (USB_GADGET_ROOT / "echo").exists()
    assert udc.sysfs.holder is None


@pytest.mark.usb(needs="interrupted unbind")
def test_an_impatient_second_sigint_leaves_nothing_for_good(udc: BenchController) -> None:
    """It may give the teardown up half-way; the next start then takes the rest down."""
    with command("--udc", udc.name) as device:
        device.wait_configured(udc)
        device.process.send_signal(signal.SIGINT)
        assert device.end(signal.SIGINT) in (0, 130)
    udc.connection.unplug()
    with command("--udc", udc.name) as device:
        device.wait_configured(udc)
        assert device.end(signal.SIGINT) == 0
    assert not (USB_GADGET_ROOT / "echo").exists()


@pytest.fixture
def child(serve: Callable[..., ServedChild]) -> ServedChild:
    return serve(DEVICE, child=True)


def assert_child_echoes() -> None:
    host = DEVICE.with_name("host.py")
    result = subprocess.run([sys.executable, host, "--total", "1"], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr


def assert_gone(child: ServedChild) -> None:
    """It has ended in order, and nothing of it is left."""
    assert child.process.returncode == 0
    assert not child.tree.exists()
    assert not (default_folder() / f"{child.tree.name}.json").exists()
    assert child.controller.sysfs.holder is None


@pytest.mark.usb(needs="interrupted unbind")
def test_after_sigkill_the_next_start_reclaims_and_echoes(child: ServedChild, faults: Faults) -> None:
    faults.kill()
    assert child.process.returncode == -signal.SIGKILL
    assert child.tree.is_dir(), "a killed process cleans nothing up: this test would show nothing"
    foreign = USB_GADGET_ROOT / "somebody-elses"
    foreign.mkdir()
    try:
        child.start_again()
        assert_child_echoes()
        child.stop()
        assert foreign.is_dir(), "another gadget was touched"
    finally:
        foreign.rmdir()
    assert_gone(child)


@pytest.mark.usb(needs="interrupted unbind")
def test_killed_with_transfers_in_flight(child: ServedChild) -> None:
    with child.pyusb() as host:
        errors: list[int] = []
        begun = threading.Event()
        writing = threading.Thread(target=_write_until_it_fails, args=(host, errors, begun))
        writing.start()
        assert begun.wait(30)
        child.kill()
        writing.join(30)
        assert not writing.is_alive(), "the host hangs"
    assert errors, "the device is gone and the host has not noticed"
    assert set(errors) <= {errno.ENODEV, errno.EIO, errno.EPIPE, errno.ESHUTDOWN}
    child.start_again()
    assert_child_echoes()
    child.stop()
    assert_gone(child)


def _write_until_it_fails(host: Any, errors: list[int], begun: threading.Event) -> None:
    """The device echoes until its own transfers are full, so in the end a write is always in flight."""
    (out,) = [each.bEndpointAddress for each in host[0][0, 0] if each.bEndpointAddress < 0x80]
    while not errors:
        try:
            host.write(out, bytes(1 << 20), 500)
        except usb.core.USBTimeoutError:
            begun.set()
        except usb.core.USBError as error:
            errors.append(error.errno or 0)
        begun.set()


async def go_up(gadget: Gadget, udc: str | None = None) -> None:
    async with gadget.up(udc):
        pass


def test_no_second_gadget_of_the_same_name(served: ServedGadget) -> None:
    with pytest.raises(GadgetBusyError, match=f"{os.getpid()}"):
        asyncio.run(go_up(echo_gadget()))


def test_no_second_gadget_on_the_same_controller(served: ServedGadget) -> None:
    with pytest.raises(ControllerBusyError, match=r"held by gadget test-echo; stop that one first"):
        asyncio.run(go_up(echo_gadget(name="other"), served.controller.name))


def test_no_such_controller(udc: BenchController) -> None:
    with command("--udc", "nothing.0") as device:
        out, err = device.process.communicate(timeout=60)
    assert device.process.returncode == 1
    assert err.startswith("gadget run: there is no USB device controller 'nothing.0'; there are: ")
    assert udc.name in err
    assert out == ""
    with pytest.raises(NoControllerError):
        asyncio.run(go_up(echo_gadget(), "nothing.0"))


class BothWays(Function):
    """One task a direction, as one writes it."""

    rx = BulkOut()
    tx = BulkIn()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.receive())
            group.create_task(self.send())

    async def receive(self) -> None:
        async for _ in self.rx:
            pass

    async def send(self) -> None:
        while True:
            await self.tx.write(bytes(16384))


def test_a_task_a_direction_survives_resets(serve: Callable[..., ServedGadget]) -> None:
    function = BothWays()
    served = serve(function)
    for count in range(5):
        with served.pyusb() as device:
            assert len(device.read(function.tx.address, 65536, 10_000)) == 65536
            device.reset()
        served.wait_generation(count + 2)


def test_a_mount_that_is_in_use_is_reclaimed_by_the_next_start(serve: Callable[..., ServedGadget]) -> None:
    served = serve(echo_gadget())
    user = os.open(default_folder() / "ffs.test-echo", os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(NotUndoneError, match=r"fuser -vm"):
            served.stop()
        assert (default_folder() / "test-echo.json").exists()
    finally:
        os.close(user)
    echo = Echo()
    again = serve(echo_gadget(echo))
    assert_echoes(again, echo)
    again.stop()
    assert not (default_folder() / "test-echo.json").exists()
    assert not again.tree.exists()


async def plugged(gadget: Gadget, udc: BenchController) -> None:
    udc.connection.plug()
    await gadget.wait_configured()


class Stubborn(Function):
    """Ignores that its generation has ended, until it is allowed to end."""

    rx = BulkOut()

    def __init__(self) -> None:
        self.allowed = asyncio.Event()

    async def run(self) -> None:
        while not self.allowed.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await self.allowed.wait()


def test_a_function_that_ignores_its_end_is_left_behind(udc: BenchController, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gadget.functionfs.generations.PATIENCE", 0.2)
    function = Stubborn()

    async def serve() -> None:
        with pytest.raises(GadgetError, match=r"Stubborn\.run ignores that it is cancelled"):
            async with Gadget(function).up(udc.name) as gadget:
                await plugged(gadget, udc)
        function.allowed.set()

    asyncio.run(serve())
    assert not (USB_GADGET_ROOT / "stubborn").exists()
    assert udc.sysfs.holder is None


class Crashing(Function):
    """Fails as soon as something arrives."""

    rx = BulkOut()
    tx = BulkIn()

    async def run(self) -> None:
        async for _ in self.rx:
            raise ZeroDivisionError("on purpose")


def test_a_failing_function_takes_the_gadget_down_with_its_own_error(serve: Callable[..., ServedGadget]) -> None:
    function = Crashing()
    served = serve(function)
    # The device may be gone before the host has its answer.
    with served.pyusb() as device, contextlib.suppress(usb.core.USBError):
        device.write(function.rx.address, b"x", 10_000)
    served.wait_over()
    assert served.controller.sysfs.holder is None
    assert not served.tree.exists()
    with pytest.raises(ZeroDivisionError, match="on purpose"):
        served.stop()
