from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import serial

from gadget.testing import Bus, Served, ServedChild, wait_for

HERE = Path(__file__).parent
TIMEOUT = 60.0

pytestmark = pytest.mark.usb


def load_host() -> ModuleType:
    """Each example has a host.py, and pytest knows modules by their names."""
    spec = importlib.util.spec_from_file_location("serial_uart_host", HERE / "host.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HOST = load_host()


@pytest.fixture(scope="module")
def device(usb_bus: Bus) -> Iterator[Served]:
    subprocess.run(["modprobe", "cp210x"], check=True)
    driver, ours = Path("/sys/bus/usb-serial/drivers/cp210x/new_id"), "1209 0001 ff"
    if ours not in driver.read_text():
        driver.write_text(ours)
    with usb_bus.serve(HERE / "device.py", child=True) as served:
        yield served


def port_of(device: Served, interface: int) -> str:
    pattern = f"*:1.{interface}/ttyUSB*"
    wait_for(lambda: list(device.device.path.glob(pattern)), f"the host's {pattern}")
    (found,) = device.device.path.glob(pattern)
    return f"/dev/{found.name}"


def test_what_a_program_here_writes_the_host_reads(device: ServedChild) -> None:
    path = port_of(device, 0)
    wait_for(lambda: "the bridge ends at" in device.output, "the name of the pseudo-terminal")
    wire = device.output.partition("the bridge ends at ")[2].split()[0]
    every_byte = bytes(range(256))
    with serial.Serial(path, timeout=TIMEOUT) as host, serial.Serial(wire, timeout=TIMEOUT) as here:
        here.write(every_byte)
        assert host.read(256) == every_byte
        host.write(every_byte)
        assert here.read(256) == every_byte


def test_the_sensor_speaks_nmea(device: ServedChild) -> None:
    sentences = HOST.sentences(port_of(device, 1))
    assert [next(sentences) for _ in range(2)] == [["WIMTW", "21.5", "C"]] * 2
    sentences.close()
