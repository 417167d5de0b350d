"""``scripts/bench classes``: serial ports beside gser in the kernel: throughput, and CPU time of a byte."""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.errors import BenchmarkError
from benchmarks.judging import ratio
from benchmarks.machine import describe_machine
from benchmarks.options import names
from benchmarks.report import text_table
from benchmarks.rst import HEADER, line_block, list_table
from benchmarks.virtual import in_guest

RESULTS = "classes.json"
DOCS = Path("docs/figures")
TITLES = {
    "cp210x": "Cp210x (FunctionFS, Python)",
    "acm": "AcmPort (the kernel's ACM, Python)",
    "gser": "gser (the kernel's, and cat)",
}
MODES = {"in": "to the host", "out": "from the host"}
HEAD = ("", "", "MB/s", "of gser's (95 %)", "CPU of a byte, ns", "of gser's (95 %)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--devices", type=names(TITLES), default=[*TITLES], help=", ".join(TITLES))
    parser.add_argument("--modes", type=names(MODES), default=[*MODES], help=", ".join(MODES))
    parser.add_argument("--rounds", type=int, default=10, help="pairs of slices (%(default)s)")
    parser.add_argument("--slice", type=float, default=0.5, metavar="SECONDS", help="each is this long (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("bench-results"), metavar="DIR", help="(%(default)s)")
    parser.add_argument("--docs", action="store_true", help=f"write what the documentation includes, in {DOCS}, too")
    parser.add_argument("--again", action="store_true", help="measure nothing, report what DIR has from the last run")


def run(args: argparse.Namespace) -> int:
    """Measures in the virtual machine, and reports here."""
    args.output.mkdir(parents=True, exist_ok=True)
    file = args.output / RESULTS
    status = 0 if args.again else measure(args, file)
    if not file.exists():
        raise BenchmarkError(f"nothing was measured: there is no {file}")
    results = json.loads(file.read_text())
    body = rows(results["cells"])
    lines = [f"{name}: {value}" for name, value in {**results["machine"], "command": results["command"]}.items()]
    print(text_table(HEAD, body), "", *lines, sep="\n")
    page = "\n".join([HEADER.format(command="classes"), list_table("Serial ports", HEAD, body), line_block(lines)])
    for folder in (args.output, *([DOCS] if args.docs else [])):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "classes.rst").write_text(page)
    return status


def measure(args: argparse.Namespace, file: Path) -> int:
    """Measures everything that was asked for; what was seen is in the file then."""
    file.unlink(missing_ok=True)
    order = {
        "devices": args.devices,
        "modes": args.modes,
        "rounds": args.rounds,
        "slice": args.slice,
        "output": str(file),
        "machine": describe_machine(),
        "command": shlex.join(["scripts/bench", *sys.argv[1:]]),
    }
    return in_guest("benchmarks.classes_guest", json.dumps(order), file, controllers=2)


def rows(cells: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The table: medians, and ratios to the kernel's port in the same round; its own row says how sure those are."""
    found = []
    for cell in cells:
        seen = cell["rounds"]
        row = [TITLES[cell["device"]], MODES[cell["mode"]]]
        for value, unit, digits in (("rate", 1e-6, 2), ("cpu", 1e9, 0)):
            row.append(f"{statistics.median(each['own'][value] for each in seen) * unit:.{digits}f}")
            row.append(str(ratio([each["own"][value] / each["floor"][value] for each in seen])))
        found.append(row)
    return found
