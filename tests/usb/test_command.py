"""The command against the kernel: what it makes, finds, foretells and cleans up."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gadget import Gadget, cli
from gadget.cli.checking import check_subject
from gadget.cli.doctor import run as examine
from gadget.cli.subject import Subject
from gadget.configfs.apply import USB_GADGET_ROOT
from gadget.configfs.plan import plan
from gadget.kernel_functions import Acm, Hid, Ncm
from gadget.protocol.descriptors import EndpointDescriptor
from gadget.protocol.tolerant import parse_tolerant
from gadget.services.boards import board_of_driver
from gadget.services.existing import ExistingGadget
from gadget.testing import BenchController, ServedGadget, wait_for
from tests.usb.devices import Echo
from tests.usb.test_faults import DEVICE

pytestmark = pytest.mark.usb

COMPOSITE = Path(__file__).parents[2] / "docs/samples/composite.py"
BUS = Path("/sys/bus/usb/devices")
Output = pytest.CaptureFixture[str]
FUNCTIONS = ("acm", "ncm,dev_addr=02:00:00:00:00:01,host_addr=02:00:00:00:00:02", "mass_storage,lun.1/removable=1")


@pytest.fixture
def made(udc: BenchController, capsys: Output) -> Iterator[str]:
    """A gadget that the command has made."""
    assert cli.main(["create", "made", *FUNCTIONS, "--product", "Made", "--udc", udc.name]) == 0
    assert capsys.readouterr().out == f"made made, bound to {udc.name}\n"
    udc.wait_configured()  # The kernel sets bcdUSB when the host asks for it (composite.c, composite_setup).
    yield "made"
    if (USB_GADGET_ROOT / "made").exists():
        ExistingGadget("made").remove()


def is_there() -> bool:
    """Whether the host has configured it: its interfaces are there."""
    return any(path.read_text() == "Made\n" for path in BUS.glob("*-*/product")) and len(list(BUS.glob("*:1.4"))) == 1


def listed(capsys: Output) -> dict[str, Any]:
    capsys.readouterr()
    assert cli.main(["list", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_from_nothing_to_nothing(made: str, udc: BenchController, capsys: Output) -> None:
    wait_for(is_there, "the host has it")
    (gadget,) = [each for each in listed(capsys)["gadgets"] if each["name"] == made]
    devices = {each["instance"]: each["devices"] for each in gadget["functions"]}
    assert devices["acm.0"][0].startswith("/dev/ttyGS")
    assert devices["ncm.0"][0].startswith("usb")
    assert (gadget["controller"], gadget["product"], gadget["owner"]) == (udc.name, "Made", None)
    assert cli.main(["list"]) == 0
    tree = capsys.readouterr().out
    assert f"{udc.name}  configured at" in tree
    assert f"acm.0  {devices['acm.0'][0]}\n" in tree
    assert cli.main(["show", made]) == 0
    shown = capsys.readouterr().out
    assert "write dev_addr = 02:00:00:00:00:01" in shown
    assert "as this machine sees it, which is its host too" in shown
    assert "CDC Header:" in shown
    assert cli.main(["unbind", made]) == 0
    assert udc.sysfs.holder is None
    assert cli.main(["bind", made, "--udc", udc.name]) == 0
    assert udc.sysfs.gadget == made
    assert cli.main(["rm", made]) == 0
    assert not (USB_GADGET_ROOT / made).exists()


@pytest.mark.parametrize("suffix", ["toml", "scheme"])
def test_what_is_exported_is_imported_as_the_same_tree(made: str, suffix: str, tmp_path: Path) -> None:
    before = set(plan(ExistingGadget(made).model()))
    file = tmp_path / f"made.{suffix}"
    assert cli.main(["export", made, str(file)]) == 0
    assert cli.main(["rm", made]) == 0
    assert cli.main(["import", str(file), "--no-bind"]) == 0
    lost = set() if suffix == "toml" else {step for step in before if step.path.name in ("max_speed", "ifname")}
    after = set(plan(ExistingGadget(made).model()))
    assert before - after <= lost | {step for step in before if step.path.name in ("inquiry_string", "qw_sign")}


def test_each_step_is_said(udc: BenchController, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "gadget.configfs")
    assert cli.main(["create", "said", "acm", "--udc", udc.name, "-v"]) == 0
    assert cli.main(["rm", "said", "-v"]) == 0
    for words in ("mkdir said/functions/acm.0", f"write said/UDC = {udc.name}", "rmdir said"):
        assert words in caplog.messages


@pytest.mark.usb(controller="usbip-vudc")
def test_the_addresses_that_are_foretold_on_usbip(serve: Callable[..., ServedGadget]) -> None:
    assert_foretold(serve)


def test_the_addresses_that_are_foretold(serve: Callable[..., ServedGadget]) -> None:
    assert_foretold(serve)


def assert_foretold(serve: Callable[..., ServedGadget]) -> None:
    keys = Hid(report_descriptor=b"\x05\x01\x09\x06\xa1\x01\xc0", report_length=8, no_out_endpoint=True)
    gadget = Gadget(Acm(), Echo(), Ncm(), keys)
    subject = Subject(gadget.model, dict(zip(gadget.model.instances, gadget.functions, strict=True)), gadget)
    served = serve(gadget)
    report = check_subject(subject, board_of_driver(served.controller.sysfs.driver))
    foretold = [grant.address for grant in report.budgets[1].grants]
    found = [
        each
        for each in parse_tolerant((served.device.path / "descriptors").read_bytes())
        if isinstance(each, EndpointDescriptor)
    ]
    assert sorted(each.address for each in found) == sorted(address for address in foretold if address is not None)
    own = [grant.address for grant in report.budgets[1].grants if grant.demand.function.startswith("ffs.")]
    function = served.gadget.own_functions[0]
    assert [getattr(function, name).address for name in function.declared_endpoints()] == own


def test_bound_for_a_moment(udc: BenchController, capsys: Output) -> None:
    assert cli.main(["check", str(COMPOSITE), "--summary", "--try", "--udc", udc.name]) == 0
    shown = capsys.readouterr().out
    assert f"bound to {udc.name} for a moment: the host has configured it at" in shown
    assert "  ffs.composite-2-echo: rx=0x0c tx=0x8b\n" in shown
    assert "  acm.0: 0x85 0x81 0x02\n" in shown
    assert udc.sysfs.holder is None


@pytest.mark.usb(needs="interrupted unbind")
def test_what_was_killed_is_shown_and_cleaned_up(udc: BenchController, capsys: Output) -> None:
    command = [sys.executable, "-m", "gadget", "run", str(DEVICE), "--udc", udc.name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "configured by the host" in process.stdout.readline()
        assert listed(capsys)["gadgets"][0]["owner"]["alive"]
        process.kill()
    assert not listed(capsys)["gadgets"][0]["owner"]["alive"]
    assert cli.main(["list"]) == 0
    assert "left by a process that has ended: gadget clean" in capsys.readouterr().out
    assert cli.main(["clean"]) == 0
    assert "removed echo, made by: " in capsys.readouterr().out
    assert not (USB_GADGET_ROOT / "echo").exists()


def test_a_gadget_could_run_here(udc: BenchController, capsys: Output) -> None:
    assert examine(cli.parser("doctor").parse_args(["doctor"])) == 0, capsys.readouterr().out
    assert f"{udc.name} is free" in capsys.readouterr().out
