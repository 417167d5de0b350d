from __future__ import annotations

from pathlib import Path

import pytest

from gadget.vm import debian
from gadget.vm.errors import VmError


def test_what_a_program_said_is_in_the_error(tmp_path: Path) -> None:
    assert debian.run(["sh", "-c", "pwd; echo err >&2"], tmp_path, "") == (f"{tmp_path}\n", "err\n")
    for script, reason in (("echo why >&2; exit 3", "why"), ("echo out; exit 3", "out"), ("exit 3", "no reason given")):
        with pytest.raises(VmError, match=f"^it failed: {reason}$"):
            debian.run(["sh", "-c", script], tmp_path, "it failed")


def test_missing_programs_are_named() -> None:
    assert debian.missing_programs(("sh", "no-such-program")) == ["no-such-program"]
