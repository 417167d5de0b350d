"""``gadget export`` and ``gadget import`` on files: what they do without a kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from gadget import cli
from gadget.configfs.plan import plan
from gadget.schemes.files import load_file
from gadget.schemes.own import dump_own
from tests.unit.schemes.gadgets import everything

RUST = '[device]\nvendor = 1\nproduct = 2\n[[config]]\n[[config.function]]\ntype = "serial"\nclass = "acm"\n'


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.toml"
    path.write_text(dump_own(everything()))
    return path


def test_there_and_back_by_a_scheme(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scheme = own.with_suffix(".scheme")
    assert cli.main(["export", str(own), str(scheme)]) == 0
    assert "a scheme has no place for max_speed, webusb" in capsys.readouterr().err
    found = load_file(scheme, "everything")
    kept = [step for step in plan(everything()) if "webusb" not in step.path.parts and step.path.name != "max_speed"]
    told = {step for step in plan(found) if step.path.name == "stall"}
    assert set(plan(found)) - told == set(kept)


def test_to_standard_output(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", str(own)]) == 0
    assert capsys.readouterr().out == own.read_text()
    assert cli.main(["export", str(own), "--format", "gt"]) == 0
    assert 'type = "ncm"' in capsys.readouterr().out


def test_from_a_python_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "device_to_export.py"
    file.write_text("from gadget import Gadget\nfrom gadget.kernel_functions import Acm\ng = Gadget(Acm(), name='g')\n")
    assert cli.main(["export", str(file)]) == 0
    assert 'instance = "acm.0"' in capsys.readouterr().out


def test_imports_say_what_they_would_do(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["import", str(own), "--name", "other", "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("mkdir other\n")
    rust = tmp_path / "my gadget.toml"
    rust.write_text(RUST)
    assert cli.main(["import", str(rust), "-n"]) == 0
    assert capsys.readouterr().out.startswith("mkdir my-gadget\n")
    assert cli.main(["import", str(rust), "-n", "--name", "named"]) == 0
    assert capsys.readouterr().out.startswith("mkdir named\n")
    assert cli.main(["import", str(rust), "-n", "--format", "toml"]) == 2
    assert "device, config is not known" in capsys.readouterr().err


def test_files_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["import", str(tmp_path / "none.toml")]) == 2
    assert "cannot read" in capsys.readouterr().err
    assert cli.main(["export", f"{tmp_path}/none.txt"]) == 2
    assert "neither in .py nor as a scheme" in capsys.readouterr().err
    assert cli.main(["export", "no-such-gadget"]) == 1
    assert "there is no gadget no-such-gadget" in capsys.readouterr().err


def test_a_file_that_cannot_be_written(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", str(own), f"{own}/below.toml"]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_what_is_to_be_made_as_it_is_is_converted_whatever_its_class_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "empty.toml"
    file.write_text('name = "g"\nfunctions = [{ instance = "hid.0", as_it_is = true }]\n')
    assert cli.main(["export", str(file)]) == 0
    assert "as_it_is = true" in capsys.readouterr().out
    assert cli.main(["check", str(file)]) == 1
    assert "report_desc = None: must be given" in capsys.readouterr().out
