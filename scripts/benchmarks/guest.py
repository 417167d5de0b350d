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
from benchmarks.devices import DEVICES
from benchmarks.host import Host
from benchmarks.machine import describe_kernel
from benchmarks.measures import MEASURES
from benchmarks.report import ratios
from benchmarks.results import Cell, Results
from benchmarks.rounds import Bench, Method, ThreeControllers, cells, measure
from benchmarks.targets import target


def summary(cell: Cell) -> str:
    """One cell in a line: medians of the ratios, without any interval yet."""
    if cell.error:
        return f"FAILED: {cell.error}"
    parts = []
    for each in MEASURES[cell.mode]:
        if values := ratios(cell, each):
            parts.append(f"{each.title} {statistics.median(values):.2f}x")
    return ", ".join([*parts, f"{len(cell.rounds)} rounds"])


def run(order: Mapping[str, Any], bench: Bench) -> int:
    """Measures every cell, tells of each, and keeps what there is after each; returns an exit status."""
    method = Method(order["rounds"], order["slice"])
    results = Results({**order["machine"], **describe_kernel()}, order["command"])
    todo = cells(order["devices"], order["modes"], order["sizes"])
    for number, (name, mode, size) in enumerate(todo, 1):
        started = time.monotonic()
        judged = [each for each in MEASURES[mode] if target(name, mode, each.key, size) is not None]
        cell = measure(name, mode, size, method, bench, judged, DEVICES[name].floor)
        results.cells.append(cell)
        results.save(Path(order["output"]))
        took = time.monotonic() - started
        print(f"[{number}/{len(todo)}] {mode} {size} {name}: {summary(cell)} ({took:.0f} s)", flush=True)
    return int(any(cell.error for cell in results.cells))


def main() -> int:
    """Measures on the controllers of this machine."""
    order = json.loads(sys.argv[1])
    programs = Programs(*(Path(order[name]) for name in ("device", "host")))
    with Host(programs.host) as host:
        return run(order, ThreeControllers(host, programs))


if __name__ == "__main__":
    sys.exit(main())
