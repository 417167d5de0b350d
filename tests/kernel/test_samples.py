"""The programs that the documentation shows do what it says."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

SAMPLES = Path(__file__).parents[2] / "docs" / "samples"


def run(sample: str, *arguments: str) -> str:
    command = [sys.executable, str(SAMPLES / sample), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def test_read_file(tmp_path: Path) -> None:
    for size in (0, 100, 1_000_000):
        data = os.urandom(size)
        (tmp_path / "file").write_bytes(data)
        assert run("read_file.py", str(tmp_path / "file")) == hashlib.sha256(data).hexdigest() + "\n"


def test_random_reads(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(1_000_000))
    assert run("random_reads.py", str(tmp_path / "file")).endswith(" a second\n")
