"""Tables: what a run has seen, judged. Pure."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.judging import Ratio, Verdict, judge, ratio
from benchmarks.measures import MEASURES, Measure
from benchmarks.results import Cell, Results
from benchmarks.targets import target

FLOOR = "c"


@dataclass(frozen=True)
class Figure:
    """One figure of one competitor.

    Attributes:
        device: The competitor's name.
        mode: What it did.
        size: Bytes of a transfer.
        measure: What was read.
        ratio: To the device in C.
        control: That of the device in C to itself, None if it was not measured.
        floor: The device in C's own figure, in the unit of the measure.
        target: What is to be reached.
        verdict: Whether it is.
    """

    device: str
    mode: str
    size: int
    measure: Measure
    ratio: Ratio
    control: Ratio | None
    floor: float
    target: float | None
    verdict: Verdict


def ratios(cell: Cell, measure: Measure) -> list[float]:
    """The competitor's figure over that of the device in C, one a round; none where either is not known.

    Nor of a cell that has failed: what it has moved may not be what it says.
    """
    if cell.error:
        return []
    pairs = [(measure.read(one.competitor), measure.read(one.floor)) for one in cell.rounds]
    return [competitor / floor for competitor, floor in pairs if competitor is not None and floor]


def figures(results: Results) -> list[Figure]:
    """Everything that was measured, in its order."""
    controls = {
        (cell.mode, cell.size, each.key): ratio(values)
        for cell in results.cells
        if cell.device == FLOOR
        for each in MEASURES[cell.mode]
        if (values := ratios(cell, each))
    }
    return [figure for cell in results.cells for figure in _figures(cell, controls)]


def _figures(cell: Cell, controls: dict[tuple[str, int, str], Ratio]) -> Iterator[Figure]:
    for each in MEASURES[cell.mode]:
        if not (values := ratios(cell, each)):
            continue
        seen, control = ratio(values), controls.get((cell.mode, cell.size, each.key))
        wanted = target(cell.device, cell.mode, each.key, cell.size)
        verdict = judge(seen, control, wanted, each.more_is_better)
        floor = statistics.median(value for one in cell.rounds if (value := each.read(one.floor)) is not None)
        yield Figure(cell.device, cell.mode, cell.size, each, seen, control, floor * each.scale, wanted, verdict)


def size_name(size: int) -> str:
    """A size as people say it."""
    return f"{size // 1024} KiB" if size >= 1024 and size % 1024 == 0 else f"{size} B"


def wish(figure: Figure) -> str:
    """The target with its direction."""
    if figure.target is None:
        return ""
    return f"{'>=' if figure.measure.more_is_better else '<='} {figure.target:g}"


HEAD = ("mode", "size", "measure", "device", "ratio to C (95 %)", "C to itself", "C itself", "target", "")


def rows(found: Sequence[Figure]) -> list[tuple[str, ...]]:
    """The table of all figures, as text."""
    return [
        (
            each.mode,
            size_name(each.size),
            each.measure.title,
            each.device,
            str(each.ratio),
            str(each.control) if each.control else "not measured",
            f"{each.floor:.4g} {each.measure.unit}",
            wish(each),
            each.verdict.value,
        )
        for each in found
        if each.device != FLOOR
    ]


def text_table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table for a terminal."""
    widths = [max(len(row[column]) for row in (head, *body)) for column in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, tuple("-" * width for width in widths), *body)
    ]
    return "\n".join(lines)


def describe(results: Results) -> list[str]:
    """What it ran on and how, a line each."""
    return [f"{name}: {value}" for name, value in {**results.machine, "command": results.command}.items()]


def failures(results: Results) -> list[str]:
    """What could not be measured, a line each."""
    return [f"{c.device} {c.mode} {size_name(c.size)}: {c.error}" for c in results.cells if c.error]


def report(results: Results) -> str:
    """Everything for a terminal."""
    found = figures(results)
    judged = Counter(each.verdict for each in found)
    verdicts = (Verdict.REACHED, Verdict.MISSED, Verdict.CANNOT_JUDGE)
    counted = ", ".join(f"{judged[verdict]} {verdict.value}" for verdict in verdicts)
    parts = [text_table(HEAD, rows(found)), *describe(results), f"targets: {counted}"]
    return "\n".join([*parts, *(f"FAILED: {line}" for line in failures(results))])
