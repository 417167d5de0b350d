"""With ordinary files for terminals, and real processes that have them open."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gadget.configfs.terminals import check_closed
from gadget.errors import KernelError


@pytest.fixture
def function(tmp_path: Path) -> Path:
    folder = tmp_path / "acm.0"
    folder.mkdir()
    (folder / "port_num").write_text("3\n")
    (tmp_path / "ttyGS3").touch()
    return folder


def test_a_terminal_that_nobody_has_open(function: Path, tmp_path: Path) -> None:
    check_closed(function, tmp_path)


def test_our_own_process_is_told_at_once(function: Path, tmp_path: Path) -> None:
    """It would wait for itself."""
    with (tmp_path / "ttyGS3").open(), pytest.raises(KernelError, match=r"this process has .*ttyGS3 open") as caught:
        check_closed(function, tmp_path)
    assert caught.value.errno == errno.EBUSY
    check_closed(function, tmp_path)


def test_another_process_is_named(function: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gadget.configfs.terminals.PATIENCE", 0.0)
    script = "import sys; file = open(sys.argv[1]); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script, str(tmp_path / "ttyGS3")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(KernelError, match=rf"process {process.pid} \("):
            check_closed(function, tmp_path)
        process.kill()


def test_one_that_closes_it_in_time_is_waited_for(function: Path, tmp_path: Path) -> None:
    script = "import sys; file = open(sys.argv[1]); print(flush=True); sys.stdin.readline()"
    command = [sys.executable, "-c", script, str(tmp_path / "ttyGS3")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        os.write(process.stdin.fileno(), b"\n")
        check_closed(function, tmp_path)


def test_a_function_without_a_number(tmp_path: Path) -> None:
    check_closed(tmp_path / "gone", tmp_path)
