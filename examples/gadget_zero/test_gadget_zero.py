"""The kernel's usbtest against our gadget zero; and against the kernel's own, which shows that what we ask is right."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import pytest
import usb.util
from usbtest import BULK_AND_CONTROL, INTERRUPT, ZEROS_ONLY, Case, Parameters, Target, set_pattern
from usbtest_plan import usual

from gadget.testing import Bus, Served, ServedChild, wait_for

HERE = Path(__file__).parent
DEVICE = HERE / "device.py"
KERNELS_OWN = Path("/sys/kernel/config/usb_gadget/kernels-own-zero")

#: How often each case runs here, with the usual parameters and with those that are drawn; host.py --soak is for hours.
ITERATIONS = int(os.environ.get("USBTEST_ITERATIONS", "10"))
DRAWN_ITERATIONS = os.environ.get("USBTEST_ITERATIONS", "2")
#: What is drawn.
SEED = os.environ.get("USBTEST_SEED", "5")

# One controller for the device that most tests share, and one for the others.
pytestmark = pytest.mark.usb(speed=["full", "high", "super"], controllers=2)


@pytest.fixture(scope="module")
def driver() -> Iterator[None]:
    """The host's driver, which binds to a device with gadget zero's IDs by itself."""
    subprocess.run(["modprobe", "usbtest"], check=True)
    yield
    subprocess.run(["modprobe", "-r", "usbtest"], check=True)


def target_of(served: Served) -> Target:
    """What is served, as usbtest sees it."""
    wait_for(lambda: "usbtest" in served.device.interfaces().values(), "usbtest to bind")
    (interface,) = served.device.interfaces()
    return Target(served.device.path / interface)


@pytest.fixture(scope="module")
def device(usb_bus: Bus, driver: None) -> Iterator[Served]:
    """The device, served by a process of its own for all tests that do not need another one, as on a board."""
    with usb_bus.serve(f"{DEVICE}:gadget_zero", child=True) as served:
        yield served


@pytest.fixture
def target(device: Served) -> Iterator[Target]:
    with target_of(device) as target:
        yield target


def check(target: Target, case: Case, iterations: int = ITERATIONS) -> None:
    result = target.run(case, usual(case, target.packet_size, iterations))
    assert not result.error, f"case {case}, {case.says}: {result.reason}"


@pytest.mark.parametrize("case", BULK_AND_CONTROL, ids=lambda case: f"{case.value}-{case.name}")
def test_case(target: Target, case: Case) -> None:
    check(target, case)


def test_settings_selected_in_a_hurry(target: Target) -> None:
    for _ in range(100):
        check(target, Case.NOTHING, 1)
    check(target, Case.QUEUED_WRITES)
    check(target, Case.QUEUED_READS)


def test_serves_another_driver_afterwards(device: Served, target: Target) -> None:
    for case in (Case.UNLINK_READS, Case.UNLINK_QUEUED_WRITES, Case.HALT):
        check(target, case)
    with device.pyusb() as host:
        host.detach_kernel_driver(0)
        serves(host)
        usb.util.release_interface(host, 0)
        host.attach_kernel_driver(0)
    check(target, Case.READ)


def serves(host: Any) -> None:
    """The device does what it is there for, for a host of our own."""
    stored = bytes(range(256)) * 16
    assert host.ctrl_transfer(0x40, 0x5B, 0, 0, stored) == len(stored)
    assert bytes(host.ctrl_transfer(0xC0, 0x5C, 0, 0, len(stored))) == stored
    source, sink = sorted(host.get_active_configuration()[(0, 0)], key=lambda e: -(e.bEndpointAddress & 0x80))
    assert bytes(source.read(1 << 16)) == bytes(1 << 16)
    assert sink.write(bytes(1 << 16)) == 1 << 16


@pytest.fixture
def serve_another(driver: None, usb_bus: Bus) -> Iterator[Callable[[str], Any]]:
    """Serves another gadget of the file, in this process: the test can look into it."""
    with ExitStack() as stack:
        stack.callback(set_pattern, "zeros")
        yield lambda name: stack.enter_context(usb_bus.serve(f"{DEVICE}:{name}"))


DATA_CASES = [case for case in BULK_AND_CONTROL if case not in ZEROS_ONLY]


def test_a_pattern_that_shows_lost_packets(serve_another: Callable[[str], Any]) -> None:
    served = serve_another("mod63")
    set_pattern("mod63")
    with target_of(served) as target:
        for case in DATA_CASES:
            check(target, case)
    assert served.function.sink.counters.bytes > 0
    assert served.function.corrupted == 0


def test_wrong_data_is_found_at_both_ends(serve_another: Callable[[str], Any]) -> None:
    served = serve_another("mod63")  # while usbtest is for zeros
    with target_of(served) as target:
        read = target.run(Case.READ, usual(Case.READ, target.packet_size, 1))
        assert (read.error, read.seconds) == (errno.EINVAL, 0)
        assert "not the pattern" in read.reason
        check(target, Case.WRITE)
        wait_for(lambda: served.function.corrupted, "the device to find what was written wrong")


def test_interrupt_endpoints(serve_another: Callable[[str], Any]) -> None:
    with target_of(serve_another("interrupts")) as target:
        for case in (*sorted(INTERRUPT), *BULK_AND_CONTROL):
            check(target, case)


def test_what_the_device_does_not_have_is_told(target: Target) -> None:
    result = target.run(Case.INTERRUPT_WRITE, usual(Case.INTERRUPT_WRITE, target.packet_size, 1))
    assert result.error == errno.EOPNOTSUPP
    assert "no such endpoint" in result.reason


@pytest.mark.usb(speed="high")
def test_a_case_that_hangs_ends_with_the_device(driver: None, usb_bus: Bus) -> None:
    with usb_bus.serve(f"{DEVICE}:mod63", child=True) as served, target_of(served) as target:
        with ThreadPoolExecutor(1) as thread, served.frozen():
            running = thread.submit(target.run, Case.QUEUED_WRITES, Parameters(100, 8 * target.packet_size))
            wait_for(lambda: waits_in("test_queue"), "the case to wait for the device")
            cast(ServedChild, served).kill()
        assert running.result().error == errno.EIO


def waits_in(function: str) -> bool:
    """Whether a thread of this process waits in a function of the kernel's."""
    return any(function in stack.read_text() for stack in Path("/proc/self/task").glob("*/stack"))


@pytest.fixture
def kernels_own(driver: None, usb_bus: Bus) -> Iterator[Served]:
    """The kernel's own gadget zero, without loopback: f_sourcesink.c."""
    function, configuration = KERNELS_OWN / "functions/SourceSink.0", KERNELS_OWN / "configs/c.1"
    for folder in (KERNELS_OWN, function, configuration):
        folder.mkdir()
    (KERNELS_OWN / "idVendor").write_text("0x0525")
    (KERNELS_OWN / "idProduct").write_text("0xa4a0")
    (configuration / function.name).symlink_to(function)
    with usb_bus.serve(KERNELS_OWN) as served:
        yield served
    (configuration / function.name).unlink()
    for folder in (configuration, function, KERNELS_OWN):
        folder.rmdir()


def test_the_kernels_own_passes_the_same(kernels_own: Served) -> None:
    with target_of(kernels_own) as target:
        for case in BULK_AND_CONTROL:
            check(target, case)


def run_host(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, HERE / "host.py", *arguments], capture_output=True, text=True, check=False)


def test_the_command_line_with_parameters_that_are_drawn(device: Served, target: Target) -> None:
    done = run_host("--soak", "--seed", SEED, "--iterations", DRAWN_ITERATIONS)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    passed = [line for line in done.stdout.splitlines() if f" {DRAWN_ITERATIONS} times, 0 of " in line]
    assert len(passed) == len(BULK_AND_CONTROL), done.stdout


@pytest.mark.usb(speed="high")
def test_the_command_line_tells_a_failure_and_how_to_repeat_it(device: Served, target: Target) -> None:
    odd = target.packet_size + 1
    done = run_host("--case", "1", "--case", "2", "--iterations", "2", "--length", str(odd))
    assert done.returncode == 1
    assert f"FAILED  reads (--iterations 2 --length {odd})" in done.stdout
    assert "EOVERFLOW: the device sent a longer packet" in done.stdout
    assert done.stdout.endswith("1 failed\n")
