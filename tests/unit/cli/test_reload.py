from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gadget.cli.reload import _command, state


def test_the_files_that_count(tmp_path: Path) -> None:
    file = tmp_path / "device.py"
    file.write_text("")
    (tmp_path / "beside.py").write_text("")
    (tmp_path / "package").mkdir()
    (tmp_path / "package/inside.py").write_text("")
    (tmp_path / "notes.txt").write_text("")
    before = state(file)
    assert {path.name for path in before} == {"device.py", "beside.py", "inside.py"}
    os.utime(tmp_path / "beside.py", (1, 1))
    assert state(file) != before
    file.unlink()
    assert state(file)[file] == 0


def test_the_command_of_the_process() -> None:
    options = argparse.Namespace(file="a.py:b", udc="x", wait=True, verbose=2)
    assert _command(options)[1:] == ["-m", "gadget", "run", "a.py:b", "--udc", "x", "--wait", "-v", "-v"]


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Serves a file that ends at once, with words that it has to say."""
    file = tmp_path / "device.py"
    file.write_text("print('first', flush=True)\n")
    command = [sys.executable, "-m", "gadget", "run", "--reload", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        yield process
        process.kill()


def read_until(process: subprocess.Popen[str], words: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if words in line:
            return
    raise AssertionError(f"it ended before it said {words!r}")


def test_it_starts_anew_and_ends_when_told_to(supervisor: subprocess.Popen[str], tmp_path: Path) -> None:
    read_until(supervisor, "first")
    read_until(supervisor, "starts anew when a file changes")
    file = tmp_path / "device.py"
    file.write_text("print('second', flush=True)\n")
    os.utime(file, (time.time() + 5, time.time() + 5))
    read_until(supervisor, "has changed")
    read_until(supervisor, "second")
    supervisor.send_signal(signal.SIGINT)
    assert supervisor.wait(10) == 0
