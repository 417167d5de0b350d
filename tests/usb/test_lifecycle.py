"""Resets, re-binds, kills: the device serves on, or is gone without a trace."""

from __future__ import annotations

import asyncio
import contextlib
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
from gadget.configfs.udc import bind, unbind
from tests.usb.conftest import CONFIGFS, Served, open_pyusb, traces, wait_for
from tests.usb.devices import echo_gadget
from tests.usb.test_echo import round_trip

pytestmark = pytest.mark.usb

DEVICE = Path(__file__).parents[2] / "examples/echo/device.py"
DATA = bytes(range(256)) * 300


def assert_echoes(served: Served) -> None:
    with served.pyusb() as device:
        assert round_trip(served, device, DATA) == DATA


def test_survives_a_host_reset(serve: Callable[..., Served], speed: Speed) -> None:
    served = serve(echo_gadget(speed))
    assert_echoes(served)
    for count in range(3):
        with served.pyusb() as device:
            device.reset()
        served.wait_reconfigured(count + 2)
        assert_echoes(served)


def test_survives_a_reset_with_transfers_in_flight(serve: Callable[..., Served], speed: Speed) -> None:
    """The host has sent what it never reads, so the device holds transfers both ways; none of them comes later."""
    served = serve(echo_gadget(speed))
    rx, tx = served.gadget.functions[0]._endpoints()
    with served.pyusb() as device:
        assert 0 < device.write(rx.address, bytes(4 << 20), 500) < 4 << 20
        assert tx.counters.in_flight > 0
        device.reset()
    served.wait_reconfigured(2)
    assert_echoes(served)


def test_survives_a_rebind(serve: Callable[..., Served], speed: Speed) -> None:
    served = serve(echo_gadget(speed))
    assert_echoes(served)
    for count in range(2):
        unbind(served.gadget.path)
        wait_for(lambda: served.gadget.functions[0].link is LinkState.UNBOUND, "UNBIND")
        bind(served.gadget.path, "dummy_udc.0")
        served.wait_reconfigured(count + 2)
        assert_echoes(served)


def test_survives_being_unconfigured(serve: Callable[..., Served], speed: Speed) -> None:
    served = serve(echo_gadget(speed))
    for count in range(2):
        with served.pyusb() as device:
            device.set_configuration(0)
            wait_for(lambda: served.gadget.functions[0].link is LinkState.BOUND, "DISABLE")
            device.set_configuration(1)
        served.wait_reconfigured(count + 2)
        assert_echoes(served)


class Child:
    """examples/echo/device.py, served by the command in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "gadget", "run", str(DEVICE), *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    @property
    def stdout(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout

    def wait_configured(self) -> str:
        line = self.stdout.readline()
        assert "configured" in line, self.process.communicate()
        return line

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        with self.process:
            return self.process.wait(30)


@contextmanager
def child(*arguments: str) -> Iterator[Child]:
    started = Child(*arguments)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.process.kill()
        started.process.communicate()


def assert_child_echoes() -> None:
    host = DEVICE.with_name("host.py")
    result = subprocess.run([sys.executable, host, "--total", "1"], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_takes_it_down_in_order(number: int) -> None:
    before = traces()
    with child() as device:
        assert device.wait_configured() == "echo: configured by the host on dummy_udc.0, 1d6b:0104, super-speed\n"
        assert (CONFIGFS / "echo").is_dir()
        started = time.monotonic()
        assert device.end(number) == 0
        assert time.monotonic() - started < 10  # within two seconds on a machine; this one is emulated
    assert traces() == before


def test_an_impatient_second_sigint_leaves_nothing_for_good() -> None:
    """It may give the teardown up half-way; the next start then takes the rest down."""
    before = traces()
    with child() as device:
        device.wait_configured()
        device.process.send_signal(signal.SIGINT)
        assert device.end(signal.SIGINT) in (0, 130)
    with child() as device:
        device.wait_configured()
        assert device.end(signal.SIGINT) == 0
    assert traces() == before


def test_after_sigkill_the_next_start_reclaims_and_echoes() -> None:
    before = traces()
    with child() as device:
        device.wait_configured()
        assert device.end(signal.SIGKILL) == -signal.SIGKILL
    assert (CONFIGFS / "echo").is_dir(), "a killed process cleans nothing up: this test would show nothing"
    foreign = CONFIGFS / "somebody-elses"
    foreign.mkdir()
    try:
        with child() as device:
            device.wait_configured()
            assert_child_echoes()
            assert device.end(signal.SIGINT) == 0
        assert foreign.is_dir(), "another gadget was touched"
    finally:
        foreign.rmdir()
    assert traces() == before


def test_killed_with_transfers_in_flight() -> None:
    with child() as device:
        device.wait_configured()
        with open_pyusb(0x1D6B, 0x0104) as host:
            errors: list[int] = []
            writing = threading.Thread(target=_write_until_it_fails, args=(host, errors))
            writing.start()
            device.end(signal.SIGKILL)
            writing.join(30)
            assert not writing.is_alive(), "the host hangs"
        assert errors, "the device is gone and the host has not noticed"
    with child() as device:
        device.wait_configured()
        assert_child_echoes()
        assert device.end(signal.SIGTERM) == 0


def _write_until_it_fails(host: Any, errors: list[int]) -> None:
    try:
        while True:
            host.write(0x02, bytes(1 << 20), 500)
    except usb.core.USBTimeoutError:
        _write_until_it_fails(host, errors)
    except usb.core.USBError as error:
        errors.append(error.errno or 0)


def test_no_second_gadget_of_the_same_name(serve: Callable[..., Served]) -> None:
    serve(echo_gadget())
    with pytest.raises(GadgetBusyError, match=f"{os.getpid()}"):
        Served(echo_gadget()).start()


def test_no_second_gadget_on_the_same_controller(serve: Callable[..., Served]) -> None:
    serve(echo_gadget())
    with pytest.raises(ControllerBusyError, match="held by gadget test-echo"):
        Served(echo_gadget(name="other")).start()


def test_no_such_controller() -> None:
    with child("--udc", "nothing.0") as device:
        out, err = device.process.communicate(timeout=60)
    assert device.process.returncode == 1
    assert err.startswith("gadget run: there is no USB device controller 'nothing.0'; there are: dummy_udc.0")
    assert out == ""
    with pytest.raises(NoControllerError):
        Served(echo_gadget(), "nothing.0").start()


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


def test_a_task_a_direction_survives_resets(serve: Callable[..., Served]) -> None:
    served = serve(Gadget(BothWays(), name="both-ways"))
    tx = served.gadget.functions[0]._endpoints()[1]
    for count in range(5):
        with served.pyusb() as device:
            assert len(device.read(tx.address, 65536, 10_000)) == 65536
            device.reset()
        served.wait_reconfigured(count + 2)


def test_a_mount_that_is_in_use_is_reclaimed_by_the_next_start() -> None:
    before = traces()
    served = Served(echo_gadget())
    served.start()
    user = os.open("/run/gadget/ffs.test-echo", os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(NotUndoneError, match=r"fuser -vm"):
            served.stop()
        assert Path("/run/gadget/test-echo.json").exists()
    finally:
        os.close(user)
    served = Served(echo_gadget())
    served.start()
    assert_echoes(served)
    served.stop()
    assert traces() == before


class Stubborn(Function):
    """Ignores that its generation has ended, until it is allowed to end."""

    rx = BulkOut()

    def __init__(self) -> None:
        self.allowed = asyncio.Event()

    async def run(self) -> None:
        while not self.allowed.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await self.allowed.wait()


def test_a_function_that_ignores_its_end_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gadget.functionfs.instance.PATIENCE", 0.2)
    before = traces()
    function = Stubborn()

    async def serve() -> None:
        with pytest.raises(GadgetError, match=r"Stubborn\.run ignores that it is cancelled"):
            async with Gadget(function).up() as gadget:
                await gadget.wait_configured()
        function.allowed.set()

    asyncio.run(serve())
    assert traces() == before


class Crashing(Function):
    """Fails as soon as something arrives."""

    rx = BulkOut()
    tx = BulkIn()

    async def run(self) -> None:
        async for _ in self.rx:
            raise ZeroDivisionError("on purpose")


def test_a_failing_function_takes_the_gadget_down_with_its_own_error() -> None:
    before = traces()
    served = Served(Gadget(Crashing(), name="crashing"))
    served.start()
    with served.pyusb() as device:
        device.write(served.gadget.functions[0]._endpoints()[0].address, b"x", 10_000)
    served.wait_over()
    with pytest.raises(ZeroDivisionError, match="on purpose"):
        served.stop()
    assert traces() == before
