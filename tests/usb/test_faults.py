"""Faults of the host and of the process, seen from the host's side, on whatever serves the device."""

from __future__ import annotations

import errno
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import usb.core
import usb.util

from gadget import GadgetError, LinkState, UsageError
from gadget.testing import Bus, Cable, Faults, KernelLog, Served, ServedChild, ServedGadget, wait_for
from tests.usb import loopback
from tests.usb.devices import echo_gadget

pytestmark = pytest.mark.usb(speed="high")  # the fastest at which dummy_hcd suspends

DEVICE = Path(__file__).parents[2] / "examples/echo/device.py"
# Alone with the standard library, and not all of that: it starts as fast as Python can.
PROGRAM = [sys.executable, "-I", "-S", loopback.__file__]
MESSAGE = bytes(range(100))
TIMEOUT_MS = 10_000
VENDOR_IN = 0xC1


def endpoints(device: Any) -> tuple[int, int]:
    """The addresses out and in, from the descriptors."""
    addresses = [endpoint.bEndpointAddress for endpoint in device.get_active_configuration()[(0, 0)]]
    (out,) = [address for address in addresses if address < 0x80]
    (into,) = [address for address in addresses if address >= 0x80]
    return out, into


def assert_echoes(served: Served) -> None:
    """It sends a message back: all of these devices do."""
    with served.pyusb() as device:
        out, into = endpoints(device)
        device.write(out, MESSAGE, TIMEOUT_MS)
        assert bytes(device.read(into, 512, TIMEOUT_MS)) == MESSAGE


def is_suspended(served: Served) -> bool:
    """Whether the device's side has noticed (drivers/usb/gadget/composite.c, suspended_show)."""
    (attribute,) = Path("/sys/class/udc", served.controller.name, "device").glob("gadget*/suspended")
    return attribute.read_text().strip() == "1"


@pytest.fixture
def in_process(serve: Callable[..., ServedGadget]) -> ServedGadget:
    return serve(echo_gadget())


@pytest.fixture
def child(serve: Callable[..., ServedChild]) -> ServedChild:
    return serve(DEVICE, child=True)


@pytest.fixture
def program(serve: Callable[..., ServedChild]) -> ServedChild:
    return serve(PROGRAM)


class TestWhoeverServes:
    """What needs nothing of the program that serves the device."""

    @pytest.fixture(scope="class", params=["in this process", "child", "configfs", "program"])
    @staticmethod
    def served(usb_bus: Bus, request: pytest.FixtureRequest) -> Iterator[Served]:
        with ExitStack() as stack:
            if request.param == "configfs":
                loopback.make()
                stack.callback(loopback.remove)
            what: dict[str, Any] = {
                "in this process": echo_gadget(),
                "child": DEVICE,
                "configfs": Path(loopback.TREE),
                "program": PROGRAM,
            }
            yield stack.enter_context(usb_bus.serve(what[request.param], child=request.param == "child"))

    def test_reset(self, served: Served, faults: Faults, guest_log: KernelLog) -> None:
        generation = served.function.generation if isinstance(served, ServedGadget) else 0
        assert_echoes(served)
        faults.reset()
        guest_log.wait_for(rf"{served.device.path.name}: reset high-speed USB device")
        if isinstance(served, ServedGadget):
            served.wait_generation(generation + 1)
        assert_echoes(served)

    def test_unbind_and_bind(self, served: Served, faults: Faults) -> None:
        before = served.device
        faults.unbind()
        assert not before.present
        assert not before.path.exists()
        assert served.controller.device is None
        assert served.controller.sysfs.holder is None
        with pytest.raises(GadgetError, match="pyusb does not see"), before.pyusb():
            pass
        with pytest.raises(GadgetError, match="the host sees no device"):
            _ = served.device
        faults.bind()
        assert served.device.address != before.address
        assert_echoes(served)

    def test_unconfigure_and_configure(self, served: Served, faults: Faults) -> None:
        faults.unconfigure()
        assert served.device.configuration == 0
        assert served.device.interfaces() == {}
        if isinstance(served, ServedGadget):
            function = served.function
            wait_for(lambda: function.link is LinkState.BOUND, "DISABLE")
        faults.configure()
        assert served.device.configuration == 1
        assert len(served.device.interfaces()) == 1
        assert_echoes(served)

    @pytest.mark.usb(needs="suspend")
    def test_suspend_and_resume(self, served: Served, faults: Faults) -> None:
        status = served.device.path / "power/runtime_status"
        assert not is_suspended(served)
        faults.suspend()
        assert status.read_text() == "suspended\n"
        wait_for(lambda: is_suspended(served), "the device to notice")
        faults.resume()
        assert status.read_text() == "active\n"
        wait_for(lambda: not is_suspended(served), "the device to notice")
        assert_echoes(served)

    def test_halt(self, served: Served, faults: Faults) -> None:
        with served.pyusb() as device:
            for address in endpoints(device):
                faults.halt(address)
                with pytest.raises(usb.core.USBError) as failure:
                    device.write(address, b"x") if address < 0x80 else device.read(address, 512)
                assert failure.value.errno == errno.EPIPE
                device.clear_halt(address)
                usb.util.release_interface(device, 0)
        assert faults.history == [f"halt {address:#04x}" for address in endpoints_of(served)]
        assert_echoes(served)

    def test_replug(self, served: Served, faults: Faults) -> None:
        """Without a cable it is the gadget that comes and goes."""
        before = served.device
        faults.replug()
        has_cable = isinstance(served.controller.connection, Cable)
        assert faults.history == (["unplug", "plug"] if has_cable else ["unbind", "bind"])
        assert not before.present
        assert_echoes(served)


def endpoints_of(served: Served) -> tuple[int, int]:
    with served.pyusb() as device:
        return endpoints(device)


def test_an_interface_in_use_is_halted_by_its_user(in_process: ServedGadget, faults: Faults, usb_device: Any) -> None:
    """The host's kernel lets nobody else send that (drivers/usb/core/devio.c, check_ctrlrecip)."""
    out, into = endpoints(usb_device)
    usb_device.write(out, MESSAGE, TIMEOUT_MS)
    with pytest.raises(UsageError, match=rf"ctrl_transfer\(0x02, 3, 0, {into:#04x}\)"):
        faults.halt(into)
    usb_device.ctrl_transfer(0x02, 3, 0, into)
    with pytest.raises(usb.core.USBError) as failure:
        usb_device.read(into, 512, TIMEOUT_MS)
    assert failure.value.errno == errno.EPIPE


def state_of(process: int) -> str:
    """Its state as in proc(5): T is stopped."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


def test_frozen_child(child: ServedChild, faults: Faults, usb_device: Any) -> None:
    with faults.frozen():
        assert state_of(child.process.pid) == "T"
        with pytest.raises(usb.core.USBTimeoutError):
            usb_device.ctrl_transfer(VENDOR_IN, 1, 0, 0, 8, timeout=300)
    assert bytes(usb_device.ctrl_transfer(VENDOR_IN, 1, 0, 0, 8)) == b"1.0"
    with faults.frozen():
        faults.kill()
    assert faults.history == ["frozen", "frozen", "kill"]
    assert child.tree.is_dir()
    child.stop()
    assert not child.tree.exists(), "as the next start would have removed it"


def test_frozen_program(program: ServedChild, faults: Faults) -> None:
    with faults.frozen():
        assert state_of(program.process.pid) == "T"
        assert_echoes(program)  # The kernel does that.
    wait_for(lambda: state_of(program.process.pid) == "S", "the process to go on")


def test_kill_child(child: ServedChild, faults: Faults) -> None:
    """The device goes with the process that serves it, and comes back with it."""
    before = child.device
    faults.kill()
    assert child.process.returncode == -signal.SIGKILL
    assert not before.present
    assert child.controller.device is None
    assert child.tree.is_dir(), "nobody was there to remove it"
    child.start_again()
    assert child.device.address != before.address
    assert_echoes(child)


@pytest.mark.usb(needs="always plugged in")
def test_kill_program(program: ServedChild, faults: Faults) -> None:
    """The kernel serves on, and the next start has to cope with what the last one left."""
    before = program.device
    faults.kill()
    assert program.process.returncode == -signal.SIGKILL
    assert before.present
    assert_echoes(program)
    program.start_again()
    wait_for(lambda: not before.present, "the old device to go")
    program.wait_configured()
    assert "removing what an earlier run has left" in program.output
    assert_echoes(program)


def test_a_killed_program_that_nobody_starts_again(usb_bus: Bus) -> None:
    """What it left is its own, and so is reported; but the controller is free."""
    with usb_bus.serve(PROGRAM) as program:
        Faults(program).kill()
    assert program.controller.sysfs.holder is None
    assert program.tree.is_dir()
    loopback.remove()


def test_what_has_no_process_of_its_own(in_process: ServedGadget, faults: Faults) -> None:
    with pytest.raises(UsageError, match="child=True"):
        faults.kill()
    with pytest.raises(UsageError, match="child=True"), faults.frozen():
        pass
    assert_echoes(in_process)


def test_sequences_in_turn(in_process: ServedGadget, faults: Faults, guest_log: KernelLog) -> None:
    addresses: list[int] = []

    def look() -> None:
        assert_echoes(in_process)
        addresses.append(in_process.device.address)

    faults.play("reset", "rebind", faults.reconfigure, count=2, after_each=look)
    assert faults.history == ["reset", "unbind", "bind", "unconfigure", "configure 1"] * 2
    assert len(addresses) == 6
    assert len(set(addresses)) == 3  # Each time that it is bound again it is a new device to the host.
    assert len([line for line in guest_log.lines() if "reset high-speed USB device" in line.text]) == 2
    assert in_process.function.generation == 7


def test_sequences_at_random(in_process: ServedGadget) -> None:
    def play(seed: int) -> list[str]:
        faults = Faults(in_process)
        faults.play(count=5, seed=seed, after_each=lambda: assert_echoes(in_process))
        return faults.history

    first = play(1)
    assert play(1) == first
    assert play(2) != first


def test_a_sequence_with_an_unknown_name_is_not_begun(in_process: ServedGadget, faults: Faults) -> None:
    for name in ("explode", "halt", "served", "_cable"):
        with pytest.raises(UsageError, match=f"there is no fault '{name}'; there are reset, rebind"):
            faults.play("reset", name)
    assert faults.history == []
    assert in_process.function.generation == 1


@pytest.mark.usb(speed="super", controller="dummy_hcd")
def test_superspeed_is_never_suspended(in_process: ServedGadget, faults: Faults) -> None:
    with pytest.raises(UsageError, match=r"dummy_hcd does not suspend at SuperSpeed: ask for usb\(speed='high'\)"):
        faults.suspend()
    faults.history.clear()
    faults.play(after_each=lambda: assert_echoes(in_process))
    assert faults.history == ["reset", "unbind", "bind", "unconfigure", "configure 1", "unbind", "bind"]


def test_a_device_that_is_open_is_not_suspended(in_process: ServedGadget, usb_device: Any) -> None:
    usb_device.get_active_configuration()
    with pytest.raises(TimeoutError, match=r"close what has it open"):
        in_process.device.suspend(timeout=0.5)
    in_process.device.resume()
    assert_echoes(in_process)
