"""How long imports take, each in an interpreter of its own."""

from __future__ import annotations

import os
import subprocess
import sys

#: What is imported, by name; the second is what a device's file needs.
IMPORTS = {
    "asyncio": "import asyncio",
    "gadget": "from gadget import BulkIn, BulkOut, Function, Gadget, vendor_in",
    "gadget alone": "import gadget",
    "gadget.aio": "import gadget.aio",
}


def import_time(statement: str) -> float:
    """The seconds that a statement takes in a fresh interpreter."""
    code = f"from time import perf_counter as now\nbegun = now()\n{statement}\nprint(now() - begun)"
    # What is installed has its bytecode.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return float(done.stdout)


def measure_imports(rounds: int) -> dict[str, list[float]]:
    """The seconds of each, by turns; the first round is not counted."""
    found: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for number in range(rounds + 1):
        for name, statement in IMPORTS.items():
            seconds = import_time(statement)
            if number:
                found[name].append(seconds)
    return found
