"""What an operation is known by stays what it is, however often its slot was used."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import gadget.aio

SOURCES = Path(gadget.aio.__file__).parent
PROGRAM = Path(__file__).with_name("tickets.c")

pytestmark = pytest.mark.skipif(
    not shutil.which("cc") or not (SOURCES / "_context.c").exists(),
    reason="needs a C compiler (cc), and the sources of the extension",
)


def test_a_slot_that_was_used_two_thousand_million_times(tmp_path: Path) -> None:
    """It would take hours: so it is told that it was."""
    program = tmp_path / "tickets"
    order = ["cc", "-std=gnu11", "-pthread", "-I", str(SOURCES), "-o", str(program), str(PROGRAM)]
    subprocess.run(order, check=True, timeout=60)
    done = subprocess.run([program], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (0, "")
