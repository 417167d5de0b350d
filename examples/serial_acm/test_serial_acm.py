from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import serial

from gadget.testing import Bus, Served, wait_for

HERE = Path(__file__).parent

pytestmark = pytest.mark.usb


def load_host() -> ModuleType:
    """Each example has a host.py, and pytest knows modules by their names."""
    spec = importlib.util.spec_from_file_location("serial_acm_host", HERE / "host.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HOST = load_host()


@pytest.fixture(scope="module")
def device(usb_bus: Bus) -> Iterator[Served]:
    subprocess.run(["modprobe", "cdc-acm"], check=True)
    with usb_bus.serve(HERE / "device.py", child=True) as served:
        yield served


@pytest.fixture
def ports(device: Served) -> list[Path]:
    patterns = ("*:1.0/tty/ttyACM*", "*:1.2/tty/ttyACM*")
    found: Callable[[], list[Path]] = lambda: [path for each in patterns for path in device.device.path.glob(each)]  # noqa: E731
    wait_for(lambda: len(found()) == 2, "both ports")
    return [Path("/dev", path.name) for path in found()]


def test_lines_come_back(ports: list[Path]) -> None:
    for text in ("hello", "", "über", "x" * 5000):
        assert HOST.echo(str(ports[0]), text) == text


def test_what_is_too_long_for_a_line_ends_nothing(ports: list[Path]) -> None:
    with serial.Serial(str(ports[0]), timeout=60, write_timeout=60) as host:
        host.write(b"x" * 70_000 + b"\nhello\n")
        assert host.read_until(b"hello\n").endswith(b"\nhello\n")


def test_the_host_finds_both(ports: list[Path]) -> None:
    assert HOST.ports() == [str(port) for port in ports]


def test_python_answers_and_remembers(ports: list[Path]) -> None:
    python = HOST.Python(str(ports[1]))
    try:
        assert python.run("6 * 7") == "42"
        assert python.run("a = 'remembered'") == ""
        assert python.run("print(a)") == "remembered"
        assert "ZeroDivisionError" in python.run("1 / 0")
        assert python.run("exit()") == ""
        assert python.run("a") == "'remembered'"
    finally:
        python.close()
