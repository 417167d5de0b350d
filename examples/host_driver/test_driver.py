from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from gadget.testing import Faults, ServedGadget, wait_for
from gadget.testing.kernel_module import KernelModule

HERE = Path(__file__).parent

pytestmark = pytest.mark.usb(module=HERE)


@pytest.fixture
def sensor(tmp_path: Path) -> Path:
    file = tmp_path / "sensor"
    file.write_text("21500\n")
    return file


@pytest.fixture
def thermometer(
    kernel_modules: list[KernelModule],
    serve: Callable[..., ServedGadget],
    sensor: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> ServedGadget:
    """The device, with the driver bound to it."""
    monkeypatch.setenv("SENSOR", str(sensor))
    served = serve(f"{HERE / 'device.py'}:thermometer")
    wait_for(lambda: "thermometer" in served.device.interfaces().values(), "the driver to bind")
    return served


def temperature(thermometer: ServedGadget) -> int:
    (file,) = thermometer.device.path.glob("*/temperature")
    return int(file.read_text())


@pytest.mark.parametrize("value", [0, 21500, -40000, 2**31 - 1, -(2**31)])
def test_reads_what_the_device_says(thermometer: ServedGadget, sensor: Path, value: int) -> None:
    sensor.write_text(f"{value}\n")
    assert temperature(thermometer) == value


def test_a_refusal_is_told(thermometer: ServedGadget, sensor: Path) -> None:
    sensor.unlink()
    with pytest.raises(OSError, match="Broken pipe") as failure:
        temperature(thermometer)
    assert failure.value.errno == errno.EPIPE


def test_serves_on_after_faults(thermometer: ServedGadget, faults: Faults) -> None:
    def still_reads() -> None:
        wait_for(lambda: "thermometer" in thermometer.device.interfaces().values(), "the driver to bind again")
        assert temperature(thermometer) == 21500

    faults.play("reset", "rebind", "reconfigure", count=2, after_each=still_reads)


@pytest.mark.usb(controller="usbip-vudc")
def test_a_short_answer_is_an_error(thermometer: ServedGadget, faults: Faults) -> None:
    faults.short(0, 3)
    with pytest.raises(OSError, match="Remote I/O error") as failure:
        temperature(thermometer)
    assert failure.value.errno == errno.EREMOTEIO
    assert temperature(thermometer) == 21500


@pytest.mark.usb(controller="usbip-vudc")
def test_an_answer_that_never_comes_is_given_up(thermometer: ServedGadget, faults: Faults) -> None:
    faults.never(0)
    with pytest.raises(OSError, match="timed out"):
        temperature(thermometer)
    assert temperature(thermometer) == 21500
