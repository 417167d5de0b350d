from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gadget.testing.marker import Needs


def test_what_it_says_by_default() -> None:
    needs = Needs()
    assert (needs.speeds, needs.kinds, needs.abilities, needs.controllers, needs.modules) == ((), (), (), 1, ())


def test_one_or_several() -> None:
    assert Needs(speed="high").speeds == ("high",)
    assert Needs(speed=["full", "super"]).speeds == ("full", "super")
    assert Needs(controller="usbip-vudc").kinds == ("usbip-vudc",)
    assert Needs(controller=["dummy_hcd", "usbip-vudc"]).kinds == ("dummy_hcd", "usbip-vudc")
    assert Needs(needs="suspend").abilities == ("suspend",)
    assert Needs(needs=("suspend", "remote wakeup")).abilities == ("suspend", "remote wakeup")
    assert Needs(module="driver").modules == (Path("driver"),)
    assert Needs(module=["a", Path("b")]).modules == (Path("a"), Path("b"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"speed": "low"}, "speed='low': there are full, high, super"),
        ({"controllers": 0}, "controllers=0"),
        ({"controller": "dwc2"}, "there are dummy_hcd, usbip-vudc"),
        ({"controller": ["dummy_hcd", "dwc3"]}, "controller='dwc3'"),
        ({"needs": "warmth"}, "needs='warmth': there are full speed, super speed, suspend"),
        ({"timeout": 0}, "timeout=0"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Needs(**arguments)


PROJECT = """
import pytest

@pytest.mark.usb(speed=["full", "high", "super"], controller=["dummy_hcd", "usbip-vudc"], needs="suspend")
def test_sleeps(): ...

@pytest.mark.usb(speed="super")
def test_fast(): ...
"""


def pytest_of(folder: Path, *arguments: str, project: str = PROJECT) -> str:
    """What pytest says of the project, in a process of its own."""
    (folder / "test_it.py").write_text(project)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--gadget-bus=here", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_test_runs_on_every_controller_at_every_speed_that_it_names(tmp_path: Path) -> None:
    collected = pytest_of(tmp_path, "--collect-only", "-q")
    for kind in ("dummy_hcd", "usbip-vudc"):
        for speed in ("full", "high", "super"):
            assert f"test_it.py::test_sleeps[{speed}-{kind}]\n" in collected
    assert "test_it.py::test_fast[super]\n" in collected


def test_what_a_controller_cannot_do_is_skipped_with_the_reason(tmp_path: Path) -> None:
    """None of these gets as far as to ask for a bus."""
    told = pytest_of(tmp_path, "-rs", "--gadget-controller=usbip-vudc", "-k", "usbip or fast or (sleeps and super)")
    assert "5 skipped, 2 deselected" in told
    assert "usbip-vudc has no suspend: USB/IP does not carry it" in told
    assert "usbip-vudc has no super speed: high speed is its fastest" in told
    assert "dummy_hcd has no suspend at super speed" in told


SEVERAL = """
import pytest

@pytest.mark.usb(speed=["full", "high"])
def test_one(): ...

@pytest.mark.usb(speed="high", controllers=3, controller=["dummy_hcd", "usbip-vudc"])
def test_three(): ...

@pytest.mark.usb(speed="super", controllers=8)
def test_eight(): ...
"""

COUNTING = """
from gadget.testing.bus import controllers_needed
from gadget.testing.controller_kinds import KINDS

def pytest_collection_finish(session):
    for kind in KINDS.values():
        for speed in kind.speeds:
            print(kind.name, speed, controllers_needed(session.config, kind, speed))
"""


def test_controllers_are_counted_for_each_loading_of_the_modules(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(COUNTING)
    told = pytest_of(tmp_path, "--collect-only", "-q", project=SEVERAL).splitlines()
    counted = {"dummy_hcd full 1", "dummy_hcd high 3", "dummy_hcd super 8", "usbip-vudc high 3"}
    assert {line for line in told if line.startswith(("dummy_hcd", "usbip-vudc"))} == counted
