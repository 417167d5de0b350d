"""``scripts/bench aio``: random reads of 4 KiB with this package, beside C, what Python has, and other packages."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path

from benchmarks.build import build_reads
from benchmarks.cases import DEPTHS, MODES, cases
from benchmarks.contenders import CONTENDERS, requirements
from benchmarks.errors import BenchmarkError
from benchmarks.files import remove, where, write
from benchmarks.machine import describe_host
from benchmarks.options import counts, names, numbers
from benchmarks.peers import install
from benchmarks.reads_report import costs, page, report
from benchmarks.results import Results, load
from benchmarks.turns import measure
from benchmarks.workers import Tools

RESULTS = "aio.json"
DOCS = Path("docs/figures")
SIZE = 16 * 1024 * 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--contenders", type=names(CONTENDERS), default=[*CONTENDERS], help=", ".join(CONTENDERS))
    parser.add_argument("--modes", type=names(MODES), default=[*MODES], help=", ".join(MODES))
    parser.add_argument("--depths", type=counts, default=[*DEPTHS], help="reads in flight at once: 1,32,256")
    parser.add_argument("--rounds", type=int, default=60, help="pairs of slices of each in each case (%(default)s)")
    parser.add_argument("--slice", type=float, default=0.05, metavar="SECONDS", help="each is this long (%(default)s)")
    parser.add_argument("--size", type=numbers, default=[SIZE], help="bytes of the file that is read (16384k)")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where that file is to be (that of --output)")
    parser.add_argument("--output", type=Path, default=Path("bench-results"), metavar="DIR", help="(%(default)s)")
    parser.add_argument("--docs", action="store_true", help=f"write what the documentation includes, in {DOCS}, too")
    parser.add_argument("--again", action="store_true", help="measure nothing, report what DIR has from the last run")


def run(args: argparse.Namespace) -> int:
    """Measures on this machine, and reports."""
    args.output.mkdir(parents=True, exist_ok=True)
    file = args.output / RESULTS
    if not args.again:
        run_cases(args, file)
    if not file.exists():
        raise BenchmarkError(f"nothing was measured: there is no {file}")
    results = load(file)
    print(report(results))
    for folder in (args.output, *([DOCS] if args.docs else [])):
        _write_figures(results, folder)
    return 0


def run_cases(args: argparse.Namespace, file: Path) -> None:
    """Measures every case, tells of each, and keeps what there is after each."""
    file.unlink(missing_ok=True)
    peers = install(args.output / "peers", requirements(args.contenders))
    folder = args.folder or args.output
    command = shlex.join(["scripts/bench", *sys.argv[1:]])
    results = Results({**describe_host(), "file": f"{args.size[0] >> 20} MiB, {where(folder)}"}, command)
    files = write(folder / "reads", args.size[0])
    try:
        tools = Tools(build_reads(args.output / "programs"), peers.python, files)
        for case in cases(args.modes, args.depths):
            began = time.monotonic()
            cells = measure(args.contenders, case, tools, args.rounds, args.slice, peers.missing)
            results.cells.extend(cells)
            results.save(file)
            failed = sum(bool(cell.error) for cell in cells)
            print(
                f"{case}: {len(cells) - failed} measured, {failed} failed ({time.monotonic() - began:.0f} s)",
                flush=True,
            )
    finally:
        remove(files)


def _write_figures(results: Results, folder: Path) -> None:
    from benchmarks.plots import plot_reads  # It takes matplotlib a while to be imported.

    folder.mkdir(parents=True, exist_ok=True)
    plots = plot_reads(costs(results), {name: each.title for name, each in CONTENDERS.items()}, folder)
    (folder / "aio.rst").write_text(page(results, plots))
    print(f"written: {folder}/aio.rst, and {len(plots)} plots")
