"""Runs a module of this package in the virtual machine."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

#: Where the guest keeps what it runs: in memory, since the shared folder is read without any cache.
INSTALLED = "/tmp/installed"


def in_guest(module: str, *arguments: str, controllers: int = 1) -> int:
    """Runs a module in the virtual machine, with this package and ``gadget`` from a copy in its memory.

    That is how an installed one would be read: once from the disk, then from the cache.

    Args:
        module: Its full name.
        arguments: Of its command line.
        controllers: How many controllers dummy_hcd is to have.

    Returns:
        Its exit status.
    """
    copy = f"mkdir {INSTALLED} && cp -r gadget scripts/benchmarks examples {INSTALLED}/"
    command = shlex.join(["python", "-m", module, *arguments])
    vm = [sys.executable, "-m", "gadget", "vm", "--controllers", str(controllers), "--"]
    # Safe path: python -m would look into the current folder, which is the shared one, before anything else.
    environment = {**os.environ, "PYTHONPATH": INSTALLED, "PYTHONSAFEPATH": "1"}
    # What is installed has its bytecode.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return subprocess.run([*vm, "sh", "-c", f"{copy} && exec {command}"], check=False, env=environment).returncode
