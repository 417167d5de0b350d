"""``scripts/bench startup``: how long a gadget takes to be there, and what it has in memory at rest."""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.build import build
from benchmarks.errors import BenchmarkError
from benchmarks.imports import measure_imports
from benchmarks.judging import Ratio, Verdict, ratio
from benchmarks.machine import describe_machine
from benchmarks.report import text_table
from benchmarks.rst import HEADER, line_block, list_table
from benchmarks.targets import FRAMEWORK_SECONDS, IMPORT_RATIO
from benchmarks.virtual import in_guest

RESULTS = "startup.json"
DOCS = Path("docs/figures")
#: The parts of a start that are this package's own work, when everything has been imported.
FRAMEWORK = ("configfs, mounting", "descriptors, endpoints", "binding")

Table = tuple[str, Sequence[str], list[list[str]]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--rounds", type=int, default=15, help="how often each is started (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("bench-results"), metavar="DIR", help="(%(default)s)")
    parser.add_argument("--docs", action="store_true", help=f"write what the documentation includes, in {DOCS}, too")
    parser.add_argument("--again", action="store_true", help="measure nothing, report what DIR has from the last run")


def run(args: argparse.Namespace) -> int:
    """Measures here and in the virtual machine, and reports."""
    args.output.mkdir(parents=True, exist_ok=True)
    file = args.output / RESULTS
    status = 0 if args.again else measure(args, file)
    if not file.exists():
        raise BenchmarkError(f"nothing was measured: there is no {file}")
    results = json.loads(file.read_text())
    found = tables(results)
    for title, head, body in found:
        print(f"\n{title}\n{text_table(head, body)}")
    lines = [f"{name}: {value}" for name, value in {**results["machine"], "command": results["command"]}.items()]
    print("", *lines, sep="\n")
    page = "\n".join([HEADER.format(command="startup"), *(list_table(*each) for each in found), line_block(lines)])
    for folder in (args.output, *([DOCS] if args.docs else [])):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "startup.rst").write_text(page)
    return status


def measure(args: argparse.Namespace, file: Path) -> int:
    """What needs no kernel feature is measured here as well as in the virtual machine."""
    file.unlink(missing_ok=True)
    programs = build(args.output / "programs")
    order = {"rounds": args.rounds, "output": str(file), "device": str(programs.device), "host": str(programs.host)}
    here = measure_imports(args.rounds)
    status = in_guest("benchmarks.startup_guest", json.dumps(order), file)
    if file.exists():
        results = json.loads(file.read_text())
        results["imports here"] = here
        results["machine"] = {**describe_machine(), **results["machine"]}
        results["command"] = shlex.join(["scripts/bench", *sys.argv[1:]])
        file.write_text(json.dumps(results, indent=1) + "\n")
    return status


def tables(results: Mapping[str, Any]) -> list[Table]:
    """Everything that was seen, judged."""
    return [
        _starts(results["starts"]),
        _imports("Imports in the virtual machine", results["imports"]),
        _imports("Imports on this machine itself", results["imports here"]),
        _memory(results["memory"]),
    ]


def _milliseconds(seen: Ratio) -> str:
    return f"{seen.median * 1e3:.0f} ({seen.low * 1e3:.0f}-{seen.high * 1e3:.0f})"


def _starts(starts: Sequence[Mapping[str, float]]) -> Table:
    body = [[part, _milliseconds(ratio([each[part] for each in starts])), "", ""] for part in starts[0]]
    own = ratio([sum(each[part] for part in FRAMEWORK) for each in starts])
    verdict = Verdict.REACHED if own.low <= FRAMEWORK_SECONDS else Verdict.MISSED
    body.append([" + ".join(FRAMEWORK), _milliseconds(own), f"<= {FRAMEWORK_SECONDS * 1e3:.0f}", verdict.value])
    body.append(["everything", _milliseconds(ratio([sum(each.values()) for each in starts])), "", ""])
    return (
        "From the command to the host having configured the device, in the virtual machine",
        ("part", "ms (95 %)", "target", ""),
        body,
    )


def _imports(title: str, seen: Mapping[str, Sequence[float]]) -> Table:
    body = []
    for name, times in seen.items():
        against = ratio([one / other for one, other in zip(times, seen["asyncio"], strict=True)])
        has_target = name in ("gadget", "gadget alone")
        verdict = Verdict.REACHED if against.low <= IMPORT_RATIO else Verdict.MISSED
        judged = [f"<= {IMPORT_RATIO:g}", verdict.value] if has_target else ["", ""]
        body.append([name, f"{statistics.median(times) * 1e3:.1f}", str(against), *judged])
    return title, ("", "ms", "ratio to asyncio (95 %)", "target", ""), body


COLUMNS = ("RSS", "private", "RSS when used", "private when used")


def _memory(seen: Mapping[str, Mapping[str, int]]) -> Table:
    body = [[name, *(str(sizes.get(column, "")) for column in COLUMNS)] for name, sizes in seen.items()]

    def growth(less: tuple[int, int], more: tuple[int, int], steps: int) -> list[str]:
        first, last = (seen[f"gadget, depth {depth}, pairs of endpoints {pairs}"] for depth, pairs in (less, more))
        return [f"{(last[column] - first[column]) / steps:.1f}" for column in COLUMNS]

    body.append(["each further pair of endpoints, depth 16", *growth((16, 1), (16, 4), 3)])
    body.append(["each further transfer in depth, of a pair of endpoints", *growth((1, 1), (64, 1), 63)])
    return "Memory of an echo device, transfers of 16 KiB, in KiB", ("", *COLUMNS), body
