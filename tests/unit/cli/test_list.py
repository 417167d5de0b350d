from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from gadget import Configuration, Gadget, cli
from gadget.cli import list_gadgets
from gadget.cli.output import console
from gadget.cli.overview import overview, read_records
from gadget.configfs.plan import plan
from gadget.configfs.record import Record, boot_id, start_time
from gadget.kernel_functions import Acm, Ncm
from tests.unit.cli.fake_machine import make_controller, make_tree


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Three controllers, one of them held by a legacy module, and three gadgets, two of them bound to none."""
    root, sysfs = tmp_path / "usb_gadget", tmp_path / "udc"
    make_controller(sysfs, "a.0", state="configured", current_speed="high-speed", driver="dwc2")
    make_controller(sysfs, "b.0", maximum_speed="super-speed")
    make_controller(sysfs, "c.0", state="configured", function="g_ether")
    port = Acm()
    make_tree(root, plan(Gadget(port, Ncm(), name="echo", product="Echo").model), "a.0")
    make_tree(root, plan(Gadget(Acm(), name="left").model))
    two = [Configuration([port]), Configuration([port])]
    make_tree(root, plan(Gadget(configurations=two, name="two").model))
    (root / "two/functions/ncm.spare").mkdir()
    records = tmp_path / "records"
    records.mkdir()
    pid = os.getpid()
    alive = Record("echo", root / "echo", pid=pid, started=start_time(pid) or 0, boot_id=boot_id(), created_by="me")
    dead = Record("left", root / "left", pid=pid, started=1, boot_id=boot_id(), created_by="somebody")
    for record in (alive, dead):
        (records / f"{record.name}.json").write_bytes(record.to_json())
    (records / "torn.json").write_text("{")
    return tmp_path


def found(place: Path) -> dict[str, list[dict[str, object]]]:
    return overview(place / "usb_gadget", place / "udc", place / "records")


def test_what_there_is(place: Path) -> None:
    both = found(place)
    assert [each["name"] for each in both["controllers"]] == ["a.0", "b.0", "c.0"]
    assert both["controllers"][0]["gadget"] == "echo"
    gadgets = {each["name"]: each for each in both["gadgets"]}
    assert gadgets["echo"]["controller"] == "a.0"
    assert gadgets["echo"]["owner"] == {"pid": os.getpid(), "command": "me", "alive": True}
    assert gadgets["left"]["owner"] == {"pid": os.getpid(), "command": "somebody", "alive": False}
    assert gadgets["two"]["owner"] is None
    assert json.loads(json.dumps(both)) == both


def shown(place: Path, capsys: pytest.CaptureFixture[str]) -> str:
    for tree in list_gadgets.trees(found(place)):
        console().print(tree)
    return capsys.readouterr().out


def test_the_tree(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(place, capsys)
    assert "a.0  configured at high-speed  [dwc2]\n" in text
    assert "└── echo  1d6b:0104  Echo  served by process" in text
    assert "── acm.0\n" in text
    assert "b.0  free, up to super-speed\n" in text
    assert "held by g_ether (no gadget in configfs: a legacy module?)" in text
    assert "left  1d6b:0104  left by a process that has ended: gadget clean" in text
    assert "configuration 2" in text
    assert "ncm.spare  in no configuration" in text
    assert "\x1b" not in text, "no colours but on a terminal"


def test_no_controller_and_no_gadget(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: dict[str, list[dict[str, object]]] = {"controllers": [], "gadgets": []}
    monkeypatch.setattr(list_gadgets, "overview", lambda: nothing)
    assert cli.main(["list"]) == 0
    assert capsys.readouterr().out == "no USB device controller here: gadget doctor says more\n"
    assert cli.main(["list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == nothing


def test_records_that_are_none_are_passed_over(place: Path) -> None:
    assert [record.name for record in read_records(place / "records")] == ["echo", "left"]
    assert list(read_records(place / "nowhere")) == []
