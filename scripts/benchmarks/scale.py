"""``scripts/bench scale``: how the cost of a transfer grows with endpoints, gadgets, depth and size."""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.build import build
from benchmarks.errors import BenchmarkError
from benchmarks.judging import Ratio, Verdict, judge, ratio
from benchmarks.machine import describe_machine
from benchmarks.measures import CPU
from benchmarks.options import names, numbers
from benchmarks.points import AXES, KIB, MOST_GADGETS, TITLES, parse
from benchmarks.report import control_ratios, describe, failures, ratios, text_table
from benchmarks.results import Cell, Results, load
from benchmarks.rst import HEADER, images, line_block, list_table, not_measured
from benchmarks.targets import FLAT, FLAT_AXES
from benchmarks.virtual import in_guest

RESULTS = "scale.json"
DOCS = Path("docs/figures")
MODES = ("in", "out", "stream")
HEAD = ("", "CPU of a transfer, us", "ratio to the first point (95 %)", "target", "")


@dataclass(frozen=True)
class Cost:
    """What a transfer costs at one point.

    Attributes:
        axis: The axis.
        value: Where on it.
        cost: The CPU time of a transfer, in seconds.
        ratio: To the point where all axes begin.
        verdict: Whether that is flat, where it is to be.
    """

    axis: str
    value: int
    cost: float
    ratio: Ratio
    verdict: Verdict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--axes", type=names(AXES), default=[*AXES], help=", ".join(AXES))
    parser.add_argument("--mode", choices=MODES, default="stream", help="(%(default)s)")
    parser.add_argument("--size", type=numbers, default=[KIB], help="of a transfer on the other axes (1k)")
    parser.add_argument("--rounds", type=int, default=40, help="of slices at each point, at most (%(default)s)")
    parser.add_argument("--slice", type=float, default=0.3, metavar="SECONDS", help="each is this long (%(default)s)")
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
    results = load(file)
    found = costs(results)
    for axis in dict.fromkeys(each.axis for each in found):
        print(f"\n{TITLES[axis]}\n{text_table(HEAD, rows(found, axis))}")
    print("", *describe(results), *(f"FAILED: {line}" for line in failures(results)), sep="\n")
    for folder in (args.output, *([DOCS] if args.docs else [])):
        write(results, found, folder)
    return status


def measure(args: argparse.Namespace, file: Path) -> int:
    """Measures everything that was asked for; what was seen is in the file then."""
    file.unlink(missing_ok=True)
    order = {
        "axes": args.axes,
        "mode": args.mode,
        "size": args.size[0],
        "rounds": args.rounds,
        "slice": args.slice,
        "output": str(file),
        "host": str(build(args.output / "programs").host),
        "machine": describe_machine(),
        "command": shlex.join(["scripts/bench", *sys.argv[1:]]),
    }
    return in_guest("benchmarks.scale_guest", json.dumps(order), file, controllers=2 + MOST_GADGETS)


def costs(results: Results) -> list[Cost]:
    """What was seen, judged by how two of the first point differed in the same rounds."""
    return [cost for cell in results.cells for cost in _costs(cell)]


def _costs(cell: Cell) -> Iterator[Cost]:
    if values := ratios(cell, CPU):
        axis, value = parse(cell.device)
        own = statistics.median(CPU.read(each.competitor) or 0 for each in cell.rounds)
        against, controls = ratio(values), control_ratios(cell, CPU)
        control = ratio(controls) if controls else None
        verdict = judge(against, control, FLAT if axis in FLAT_AXES else None, more_is_better=False)
        yield Cost(axis, value, own, against, verdict)


def rows(found: Sequence[Cost], axis: str) -> list[list[str]]:
    """The table of one axis."""
    wish = f"<= {FLAT:g}" if axis in FLAT_AXES else ""
    return [
        [str(each.value), f"{each.cost * 1e6:.1f}", str(each.ratio), wish, each.verdict.value]
        for each in found
        if each.axis == axis
    ]


def write(results: Results, found: Sequence[Cost], folder: Path) -> None:
    """Writes the tables that the documentation includes, and plots."""
    from benchmarks.plots import plot_axis  # It takes matplotlib a while to be imported.

    folder.mkdir(parents=True, exist_ok=True)
    parts = [HEADER.format(command="scale")]
    for axis in dict.fromkeys(each.axis for each in found):
        parts.append(list_table(f"Cost along {TITLES[axis]}", HEAD, rows(found, axis)))
        own = [each for each in found if each.axis == axis]
        points = [(each.value, each.ratio) for each in own]
        plot = folder / f"scale-{axis}.svg"
        plot_axis(TITLES[axis], points, FLAT if axis in FLAT_AXES else None, plot)
        parts.append(images([plot]))
    parts += [line_block(describe(results)), *not_measured(results)]
    (folder / "scale.rst").write_text("\n".join(parts))
