"""Runs a module of this package in the virtual machine."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from benchmarks.errors import BenchmarkError

#: Where the guest keeps what it runs: in memory, since the shared folder is read without any cache.
INSTALLED = "/tmp/installed"


def in_guest(module: str, argument: str, results: Path, controllers: int = 1) -> int:
    """Runs a module in the virtual machine, with this package and ``gadget`` from a copy in its memory.

    That is how an installed one would be read: once from the disk, then from the cache.

    Args:
        module: Its full name.
        argument: Of its command line.
        results: The file that it leaves its results in.
        controllers: How many controllers dummy_hcd is to have.

    Returns:
        Its exit status.

    Raises:
        BenchmarkError: It cannot leave any there.
    """
    if not results.resolve().is_relative_to(Path.cwd()):
        raise BenchmarkError(f"{results}: the virtual machine can only write to a folder in {Path.cwd()}")
    copy = f"mkdir {INSTALLED} && cp -r gadget scripts/benchmarks examples {INSTALLED}/"
    command = shlex.join(["python", "-m", module, argument])
    vm = [sys.executable, "-m", "gadget", "vm", "--controllers", str(controllers), "--"]
    # Safe path: python -m would look into the current folder, which is the shared one, before anything else.
    environment = {**os.environ, "PYTHONPATH": INSTALLED, "PYTHONSAFEPATH": "1"}
    # What is installed has its bytecode.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return subprocess.run([*vm, "sh", "-c", f"{copy} && exec {command}"], check=False, env=environment).returncode
