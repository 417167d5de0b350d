"""The pytest plugin: tests marked ``usb`` run on a real bus.

Where this machine's kernel has a USB device controller and we are root they run in place. Otherwise the same selection
is carried into the virtual machine, one boot for all of it, and what happens there is reported here as if it had
happened here: the plugin starts pytest in the guest with the node ids of the selection, and replays its reports.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Generator
from pathlib import Path

import pytest

from gadget.testing.carry import Carrier, Reporter


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options."""
    group = parser.getgroup("gadget", "USB gadgets on a real bus")
    group.addoption(
        "--gadget-bus",
        choices=("auto", "here", "vm"),
        default="auto",
        help="where tests marked usb run: on this machine's own controller, in the virtual machine, or as it fits",
    )
    group.addoption(
        "--gadget-timeout",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="how long one test in the virtual machine may take before the guest is given up (default: 300)",
    )
    group.addoption("--gadget-report-fd", type=int, default=None, help=argparse.SUPPRESS)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, None, None]:
    """In the guest: takes standard output for the reports, before pytest starts to capture it."""
    descriptor = early_config.known_args_namespace.gadget_report_fd
    if descriptor is not None:
        early_config.pluginmanager.register(Reporter(early_config, descriptor), "gadget-reporter")
    return (yield)


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker, and the one who carries where it is needed."""
    config.addinivalue_line(
        "markers", "usb: runs on a real USB bus, in the virtual machine unless this machine has one"
    )
    if _to_carry(config.getoption("--gadget-bus")):
        config.pluginmanager.register(Carrier(config), "gadget-carrier")


def _to_carry(where: str) -> bool:
    if where != "auto":
        return where == "vm"
    controllers = Path("/sys/class/udc")
    return os.geteuid() != 0 or not controllers.is_dir() or not any(controllers.iterdir())
