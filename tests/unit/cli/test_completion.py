"""The scripts, in the shells themselves where there is one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from gadget import cli
from gadget.cli.completion import script


def completed(tmp_path: Path, *words: str) -> list[str]:
    """What bash offers for the last of the words."""
    file = tmp_path / "completion"
    file.write_text(script("bash"))
    line = " ".join(f"'{word}'" for word in ("gadget", *words))
    program = (
        f'. {file}; COMP_WORDS=({line}); COMP_CWORD={len(words)}; _shtab_gadget; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    return done.stdout.split()


def test_bash(tmp_path: Path) -> None:
    assert completed(tmp_path, "exp") == ["export"]
    assert completed(tmp_path, "check", "--bo") == ["--board"]
    assert completed(tmp_path, "check", "--board", "beagle") == ["beaglebone"]
    (tmp_path / "device.py").write_text("")
    assert completed(tmp_path, "run", "dev") == ["device.py"]


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_script_is_one_that_the_shell_can_read(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert "{boards}" not in text
    if (program := shutil.which(shell)) is not None:
        subprocess.run([program, "-n", "-c", text], check=True)
