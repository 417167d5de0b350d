"""Measures ways to read beside C: all of them up at the same time, slices by turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from benchmarks.cases import Case
from benchmarks.contenders import CONTENDERS, FLOOR
from benchmarks.errors import BenchmarkError, told
from benchmarks.programs.reads import BLOCK
from benchmarks.results import Cell, Round
from benchmarks.workers import Tools, Worker


@dataclass
class Side:
    """A worker, and how many reads a slice of it is."""

    worker: Worker
    count: int


@dataclass
class Entry:
    """A contender in one case: its worker, what was seen, or why it can't take part."""

    name: str
    side: Side | None = None
    rounds: list[Round] = field(default_factory=list)
    error: str = ""

    def fail(self, reason: str) -> None:
        """It takes part no more."""
        self.side, self.error = None, reason


def able(names: Sequence[str], case: Case) -> list[str]:
    """Who can be measured in this case; C beside itself is always the first."""
    known = dict.fromkeys((FLOOR, *names))
    return [name for name in known if CONTENDERS[name].only_depth in (0, case.depth)]


def rotated(entries: Sequence[Entry], number: int) -> list[Entry]:
    """Another one comes first in each round."""
    first = number % len(entries)
    return [*entries[first:], *entries[:first]]


def measure(
    names: Sequence[str], case: Case, tools: Tools, rounds: int, seconds: float, missing: dict[str, str]
) -> list[Cell]:
    """One case: slices by turns, each contender's next to one of C, and who of the two comes first changes.

    Args:
        names: The contenders.
        case: What they are to do.
        tools: What they do it with.
        rounds: Pairs of slices for each contender.
        seconds: How long a slice is.
        missing: Why something is not installed, by requirement.

    Raises:
        BenchmarkError: C itself can't.
    """
    with ExitStack() as stack:

        def started(name: str) -> Side:
            worker = stack.enter_context(Worker(tools.command(CONTENDERS[name], case), case.depth))
            worker.check()
            return Side(worker, worker.fit(seconds))

        entries = [_enter(name, started, missing) for name in able(names, case)]
        floor = started(FLOOR)
        for number in range(rounds):
            for entry in rotated(entries, number):
                if entry.side is not None:
                    _take_turn(entry, entry.side, floor, floor_first=bool(number % 2))
    return [Cell(entry.name, case.name, BLOCK, entry.rounds, entry.error) for entry in entries]


def _enter(name: str, started: Callable[[str], Side], missing: dict[str, str]) -> Entry:
    entry = Entry(name)
    requirement = CONTENDERS[name].requirement
    if requirement in missing:
        entry.fail(f"not measured: {requirement} can't be installed: {missing[requirement]}")
        return entry
    try:
        entry.side = started(name)
    except BenchmarkError as error:
        entry.fail(told(error))
    return entry


def _take_turn(entry: Entry, side: Side, floor: Side, floor_first: bool) -> None:
    order = (floor, side) if floor_first else (side, floor)
    try:
        seen = {id(each): each.worker.run(each.count) for each in order}
    except BenchmarkError as error:
        entry.fail(told(error))
        return
    entry.rounds.append(Round(seen[id(side)], seen[id(floor)]))
