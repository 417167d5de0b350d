"""Tables: what a run has seen, judged. Pure."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.judging import WIDEST, Ratio, Verdict, judge, ratio
from benchmarks.measures import MEASURES, Measure
from benchmarks.results import Cell, Results, Round
from benchmarks.targets import target


@dataclass(frozen=True)
class Figure:
    """One figure of one competitor.

    Attributes:
        device: The competitor's name.
        mode: What it did.
        size: Bytes of a transfer.
        measure: What was read.
        ratio: To the device in C.
        control: That of two devices in C, one to the other, in the same rounds; None if it was not measured.
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

    Beside two of those, it is their geometric mean. Of a cell that has failed there are none: what it has moved may not
    be what it says.
    """
    if cell.error:
        return []
    return [
        own / floor
        for one in cell.rounds
        if (own := measure.read(one.competitor)) is not None and (floor := _floor(one, measure))
    ]


def _floor(one: Round, measure: Measure) -> float | None:
    floor = measure.read(one.floor)
    control = floor if one.control is None else measure.read(one.control)
    return None if floor is None or control is None else math.sqrt(floor * control)


def control_ratios(cell: Cell, measure: Measure) -> list[float]:
    """The figure of one device in C over that of the other, one a round."""
    pairs = [(measure.read(one.control), measure.read(one.floor)) for one in cell.rounds if one.control is not None]
    return [control / floor for control, floor in pairs if control is not None and floor]


def is_quiet(cell: Cell, measures: Sequence[Measure]) -> bool:
    """Whether these can be judged, from what was seen until now."""
    controls = [control_ratios(cell, each) for each in measures]
    return all(values and ratio(values).doubt <= WIDEST for values in controls)


def figures(results: Results) -> list[Figure]:
    """Every competitor's, in the order in which they were measured."""
    return [figure for cell in results.cells for figure in _figures(cell)]


def _figures(cell: Cell) -> Iterator[Figure]:
    for each in MEASURES[cell.mode]:
        if not (values := ratios(cell, each)):
            continue
        seen, controls = ratio(values), control_ratios(cell, each)
        control = ratio(controls) if controls else None
        wanted = target(cell.device, cell.mode, each.key, cell.size)
        verdict = judge(seen, control, wanted, each.more_is_better)
        floor = statistics.median(value for one in cell.rounds if (value := each.read(one.floor)) is not None)
        yield Figure(cell.device, cell.mode, cell.size, each, seen, control, floor * each.scale, wanted, verdict)


def floor_figures(results: Results) -> list[Figure]:
    """The devices in C themselves, each beside the other one of its kind, in all cells that it was in."""
    beside: dict[tuple[str, str, int], list[Round]] = {}
    for cell in results.cells:
        if not cell.error:
            beside.setdefault((cell.floor, cell.mode, cell.size), []).extend(cell.rounds)
    return [
        Figure(
            name, mode, size, each, ratio(values), None, statistics.median(own) * each.scale, None, Verdict.NO_TARGET
        )
        for (name, mode, size), rounds in beside.items()
        for each in MEASURES[mode]
        if (values := control_ratios(Cell(name, mode, size, rounds), each))
        and (own := [value for one in rounds if (value := each.read(one.floor)) is not None])
    ]


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
