"""The pytest plugin: tests marked ``usb`` run on a real bus.

Where this machine's kernel has dummy_hcd and we are root they run in place. Otherwise the same selection is carried
into the virtual machine, one boot for all of it, and what happens there is reported here as if it had happened here:
the plugin starts pytest in the guest, and replays its reports (``gadget/testing/carry/carrier.py``).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Generator

import pytest

from gadget.testing.bus import count_controllers
from gadget.testing.carry import descriptors
from gadget.testing.carry.carried import Carried, take_orders
from gadget.testing.controller_kinds import DUMMY, KINDS, SPEEDS
from gadget.testing.durations import Durations
from gadget.testing.fixtures import (  # noqa: F401 - pytest finds them here
    _usb_test,
    faults,
    guest_log,
    kernel_modules,
    parametrize_bus,
    serve,
    udc,
    udcs,
    usb_bus,
    usb_capture,
    usb_controller,
    usb_device,
    usb_handle,
    usb_speed,
)
from gadget.testing.marker import skip_what_cannot_run

MARKER = (
    "usb(speed=, controllers=1, controller=, needs=, timeout=, module=): runs on a real USB bus, in the virtual "
    "machine unless this one has it; at this speed or these, with as many controllers of this kind or these"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options."""
    group = parser.getgroup("gadget", "USB gadgets on a real bus")
    group.addoption(
        "--gadget-bus",
        choices=("auto", "here", "vm"),
        default="auto",
        help="where tests marked usb run: with this kernel's own dummy_hcd, in the virtual machine, or as it fits",
    )
    group.addoption(
        "--gadget-speed",
        choices=SPEEDS,
        default="super",
        help="the speed of the bus for tests that do not ask for one (default: %(default)s)",
    )
    group.addoption(
        "--gadget-controller",
        choices=tuple(KINDS),
        default=DUMMY.name,
        help="the device controller for tests that do not ask for one (default: %(default)s)",
    )
    group.addoption(
        "--gadget-timeout",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="how long one test in the virtual machine may take before the guest is given up (default: 300)",
    )
    group.addoption(
        "--gadget-artifacts",
        default="gadget-artifacts",
        metavar="DIR",
        help="where a failing test keeps the kernel's log and a capture of the bus (default: %(default)s, in rootdir)",
    )
    group.addoption(
        "--gadget-durations", action="store_true", help="show where the time goes before and between tests marked usb"
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, None, None]:
    """Keeps the standard streams, before pytest starts to capture; in the guest also what it has to do."""
    descriptors.keep()
    orders = take_orders(os.environ)
    if orders is not None:
        early_config.pluginmanager.register(Carried(early_config, orders), "gadget-carried")
    return (yield)


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker, and the one who carries where it is needed."""
    config.addinivalue_line("markers", MARKER)
    durations = Durations()
    config.pluginmanager.register(durations, "gadget-durations")
    if _to_carry(config.getoption("--gadget-bus")):
        from gadget.testing.carry.carrier import Carrier

        config.pluginmanager.register(Carrier(config, durations), "gadget-carrier")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Makes a test that names controllers or speeds run with each of them."""
    if metafunc.definition.get_closest_marker("usb") is not None:
        parametrize_bus(metafunc)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Looks at what the tests need: refuses what makes no sense before anything runs, skips what cannot be had."""
    count_controllers(config, items)
    skip_what_cannot_run(items)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failing test keeps what was observed."""
    observation = sys.modules.get("gadget.testing.observe.observation")  # Without it nothing was observed.
    if observation is not None:
        observation.keep_if_failed(item, call)
    return (yield)


def _to_carry(where: str) -> bool:
    if where != "auto":
        return where == "vm"
    return os.geteuid() != 0 or not _has_dummy_hcd()


def _has_dummy_hcd() -> bool:
    """Whether it is loaded, or could be: a real controller has no host at its other end that tests could use."""
    if os.path.isdir("/sys/module/dummy_hcd"):  # noqa: PTH112 - pathlib is slow to begin with
        return True
    modprobe = shutil.which("modprobe", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if modprobe is None:
        return False
    return subprocess.run([modprobe, "-n", "-q", "dummy_hcd"], check=False).returncode == 0
