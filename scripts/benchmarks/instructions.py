"""``scripts/bench instructions``: how many instructions and system calls the work of a gadget takes, without a gadget.

Counted by callgrind and strace on this machine itself, where the noise of a machine that others use is none.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.build import build_native
from benchmarks.devices import PACKAGES
from benchmarks.errors import BenchmarkError
from benchmarks.machine import describe_machine
from benchmarks.programs.native import SIZE
from benchmarks.report import text_table
from benchmarks.rst import HEADER, line_block, list_table

DOCS = Path("docs/figures")
#: O_DIRECT needs a file system of a disk; what /tmp is differs.
DISK = "/var/tmp"
#: How each tool is told to write into a file, and how what it has counted is found there.
CALLGRIND = ("valgrind", "--quiet", "--tool=callgrind", "--callgrind-out-file={file}")
INSTRUCTIONS = re.compile(r"^totals: (\d+)", re.MULTILINE)
#: With its threads, but not the host, which is another program.
STRACE = ("strace", "--follow-forks", "--summary-only", "--detach-on=execve", "--output={file}")
SYSTEM_CALLS = re.compile(r"(\d+)\s+(?:\d+\s+)?total$", re.MULTILINE)
HEAD = ("", "instructions in user space", "ratio to C", "system calls")
TITLE = "One time of each"


@dataclass(frozen=True)
class Case:
    """Work that is done so many times.

    Attributes:
        title: What the report calls it.
        work: What it is called by the programs.
        program: Which one does it: ``c`` or ``python``.
        floor: What C calls the same.
        depth: Transfers in flight.
    """

    title: str
    work: str
    program: str
    floor: str
    depth: int = 1


CASES = (
    Case("a control request: C", "control", "c", "control"),
    Case("a control request: asyncio alone", "asyncio-control", "python", "control"),
    Case("a control request: gadget", "control", "python", "control"),
    Case("a transfer in and out, depth 1: C, libaio", "echo", "c", "echo"),
    Case("a transfer in and out, depth 1: gadget", "echo", "python", "echo"),
    Case("a transfer in and out, depth 1: gadget, spliced", "splice", "python", "echo"),
    Case("a transfer in and out, depth 16: C, libaio", "echo", "c", "echo", 16),
    Case("a transfer in and out, depth 16: gadget", "echo", "python", "echo", 16),
    Case("a transfer in and out, depth 16: gadget, spliced", "splice", "python", "echo", 16),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "--count", type=int, default=4000, help="times that each is done, more than at least (%(default)s)"
    )
    parser.add_argument("--output", type=Path, default=Path("bench-results"), metavar="DIR", help="(%(default)s)")
    parser.add_argument("--docs", action="store_true", help=f"write what the documentation includes, in {DOCS}, too")


@dataclass(frozen=True)
class Cost:
    """What one time of a case takes."""

    instructions: float
    system_calls: float


def run(args: argparse.Namespace) -> int:
    """Counts, and reports."""
    native = build_native(args.output / "programs")
    print(f"counting, for {len(CASES)} kinds of work; this takes a minute or two", flush=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        counted = list(pool.map(lambda case: cost(case, native, args.count), CASES))
    body = rows(counted)
    print(f"{TITLE}\n{text_table(HEAD, body)}")
    lines = [f"{name}: {value}" for name, value in describe_machine().items()]
    lines.append(f"command: {shlex.join(['scripts/bench', *sys.argv[1:]])}")
    page = "\n".join([HEADER.format(command="instructions"), list_table(TITLE, HEAD, body), line_block(lines)])
    for folder in (args.output, *([DOCS] if args.docs else [])):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "instructions.rst").write_text(page)
    return 0


def rows(counted: Sequence[Cost]) -> list[list[str]]:
    """The table: what was counted for each of the cases, and that beside C."""
    seen = list(zip(CASES, counted, strict=True))
    in_c = {(case.work, case.depth): cost.instructions for case, cost in seen if case.program == "c"}
    return [
        [
            case.title,
            f"{cost.instructions:,.0f}",
            f"{cost.instructions / in_c[case.floor, case.depth]:.1f}",
            f"{cost.system_calls:.2f}",
        ]
        for case, cost in seen
    ]


def cost(case: Case, native: Path, count: int) -> Cost:
    """What is counted for more times than few, so that what happens once is not in it."""
    few = count // 10

    def each(tool: Sequence[str], total: re.Pattern[str]) -> float:
        more, less = (counted(case, native, times, tool, total) for times in (few + count, few))
        return (more - less) / count

    return Cost(each(CALLGRIND, INSTRUCTIONS), each(STRACE, SYSTEM_CALLS))


def counted(case: Case, native: Path, count: int, tool: Sequence[str], total: re.Pattern[str]) -> int:
    """What a tool counts in a process that does it so often.

    Raises:
        BenchmarkError: It fails, or the tool is missing.
    """
    path = os.pathsep.join(filter(None, (str(PACKAGES), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0"}
    with place() as folder:
        file = folder / "counted"
        order = [*(part.format(file=file) for part in tool), *command(case, native, count, folder)]
        try:
            done = subprocess.run(order, capture_output=True, text=True, env=environment, check=False)
        except FileNotFoundError:
            raise BenchmarkError(f"{tool[0]} is missing; Debian has it in the package of that name") from None
        found = total.search(file.read_text()) if file.exists() else None
    if done.returncode or found is None:
        raise BenchmarkError(f"{case.title}: {shlex.join(order)} has failed:\n{done.stdout}{done.stderr}")
    return int(found[1])


def command(case: Case, native: Path, count: int, folder: Path) -> list[str]:
    """What does it."""
    host = [sys.executable, "-m", "benchmarks.programs.fifo_host", str(folder / "ep0"), str(count)]
    program = [str(native)] if case.program == "c" else [sys.executable, "-m", "benchmarks.programs.native"]
    return [*program, case.work, str(count), str(folder), str(case.depth), *host]


@contextmanager
def place() -> Iterator[Path]:
    """A folder with what the programs read."""
    with tempfile.TemporaryDirectory(dir=DISK) as name:
        folder = Path(name)
        os.mkfifo(folder / "ep0")
        (folder / "data").write_bytes(bytes(SIZE))
        yield folder
