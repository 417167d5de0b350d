import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "copy_file.py"


@pytest.mark.parametrize("size", [0, 1, 511, 512, 4096, 262144, 262145, 5_000_000])
def test_the_copy_is_the_same(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "source").write_bytes(data)
    (tmp_path / "target").write_bytes(b"what was there before" * 1000)
    command = [sys.executable, str(PROGRAM), str(tmp_path / "source"), str(tmp_path / "target")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{size} bytes\n", "")
    assert (tmp_path / "target").read_bytes() == data


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    command = [sys.executable, str(PROGRAM), str(tmp_path / "source"), str(tmp_path / "target")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "FileNotFoundError" in done.stderr


def test_a_target_that_cannot_be_as_long(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(bytes(5_000_000))
    command = [sys.executable, str(PROGRAM), str(tmp_path / "source"), str(tmp_path / "target")]
    limited = ["sh", "-c", 'ulimit -f 2048; exec "$@"', "sh", *command]
    done = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert "BufferError" not in done.stderr
