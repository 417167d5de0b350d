from __future__ import annotations

import os
from pathlib import Path

import pytest

from gadget.cli.clean import clean
from gadget.configfs.record import Record, boot_id, start_time


def record(folder: Path, name: str, **fields: object) -> Path:
    path = folder / f"{name}.json"
    path.write_bytes(Record(name, folder / "tree" / name, **fields).to_json())  # type: ignore[arg-type]
    return path


def test_what_the_dead_have_left_goes_and_what_lives_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pid = os.getpid()
    living = record(tmp_path, "living", pid=pid, started=start_time(pid) or 0, boot_id=boot_id())
    dead = record(tmp_path, "dead", pid=pid, started=1, boot_id=boot_id(), created_by="gadget run x.py")
    old = record(tmp_path, "old", pid=1, boot_id="another boot")
    assert clean(tmp_path, dry_run=True) == 0
    assert capsys.readouterr().out == "would remove dead, made by: gadget run x.py\nwould remove old\n"
    assert dead.exists()
    assert clean(tmp_path, dry_run=False) == 0
    assert capsys.readouterr().out == "removed dead, made by: gadget run x.py\nremoved old\n"
    assert (living.exists(), dead.exists(), old.exists()) == (True, False, False)
    assert clean(tmp_path, dry_run=False) == 0
    assert capsys.readouterr().out == "nothing is left of killed processes\n"


def test_what_is_somebody_elses_by_now_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path, "mine", pid=os.getpid(), started=1, boot_id=boot_id())
    (tmp_path / "tree/mine/functions/acm.0").mkdir(parents=True)
    assert clean(tmp_path, dry_run=False) == 1
    assert "left alone" in capsys.readouterr().err
    assert (tmp_path / "tree/mine/functions/acm.0").is_dir()
