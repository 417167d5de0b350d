"""The run itself, on the machine with the controllers: ``python -m benchmarks.guest JSON``.

The JSON has the options of ``scripts/bench usb`` and a description of the machine that the results are kept with.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.build import Programs
from benchmarks.host import Host
from benchmarks.machine import describe_kernel
from benchmarks.measures import MEASURES
from benchmarks.results import Cell, Results
from benchmarks.rounds import Bench, Method, TwoControllers, cells, measure


def summary(cell: Cell) -> str:
    """One cell in a line: medians of the ratios, without any interval yet."""
    if cell.error:
        return f"FAILED: {cell.error}"
    parts = []
    for each in MEASURES[cell.mode]:
        pairs = [(each.read(one.competitor), each.read(one.floor)) for one in cell.rounds]
        ratios = [a / b for a, b in pairs if a is not None and b]
        if ratios:
            parts.append(f"{each.title} {statistics.median(ratios):.2f}x")
    return ", ".join(parts)


def run(order: Mapping[str, Any], bench: Bench) -> int:
    """Measures every cell, tells of each, and keeps what there is after each; returns an exit status."""
    method = Method(order["rounds"], order["slice"])
    results = Results({**order["machine"], **describe_kernel()}, order["command"])
    todo = cells(order["devices"], order["modes"], order["sizes"])
    for number, (name, mode, size) in enumerate(todo, 1):
        started = time.monotonic()
        cell = measure(name, mode, size, method, bench)
        results.cells.append(cell)
        results.save(Path(order["output"]))
        took = time.monotonic() - started
        print(f"[{number}/{len(todo)}] {mode} {size} {name}: {summary(cell)} ({took:.0f} s)", flush=True)
    return int(any(cell.error for cell in results.cells))


def main() -> int:
    """Measures on the two controllers of this machine."""
    order = json.loads(sys.argv[1])
    programs = Programs(*(Path(order[name]) for name in ("device", "host")))
    with Host(programs.host) as host:
        return run(order, TwoControllers(host, programs))


if __name__ == "__main__":
    sys.exit(main())
