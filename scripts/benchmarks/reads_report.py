"""Tables of ``scripts/bench aio``: what reads cost, judged beside C and beside the other packages. Pure."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from benchmarks.cases import TITLES, Case, parse
from benchmarks.contenders import ASYNCIO, CONTENDERS, FLOOR, RAW
from benchmarks.judging import Ratio, Verdict, judge, ratio
from benchmarks.measures import READS, Measure
from benchmarks.report import describe, ratios, text_table
from benchmarks.results import Cell, Results
from benchmarks.rst import HEADER, images, line_block, list_table
from benchmarks.targets import beside_target, read_target


@dataclass(frozen=True)
class Cost:
    """One figure of one contender, beside C.

    Attributes:
        contender: Its name.
        case: What it did.
        measure: What was read.
        own: The median of its own figures, in the unit of the measure.
        ratio: To C.
        target: What that is to reach.
        verdict: Whether it does.
    """

    contender: str
    case: Case
    measure: Measure
    own: float
    ratio: Ratio
    target: float | None
    verdict: Verdict


@dataclass(frozen=True)
class Beside:
    """One figure of this package beside that of another one, from the same rounds.

    Attributes:
        ours: The contender that is this package.
        other: The other one.
        case: What they did.
        measure: What was read.
        ratio: To the other one.
        target: What that is to reach.
        verdict: Whether it does.
    """

    ours: str
    other: str
    case: Case
    measure: Measure
    ratio: Ratio
    target: float
    verdict: Verdict


def _controls(results: Results) -> dict[tuple[str, str], Ratio]:
    """C beside itself, by case and measure."""
    return {
        (cell.mode, each.key): ratio(values)
        for cell in results.cells
        if cell.device == FLOOR
        for each in READS
        if (values := ratios(cell, each))
    }


def costs(results: Results) -> list[Cost]:
    """Everything that was measured, beside C."""
    controls = _controls(results)
    return [cost for cell in results.cells for cost in _costs(cell, controls)]


def _costs(cell: Cell, controls: Mapping[tuple[str, str], Ratio]) -> Iterator[Cost]:
    case = parse(cell.mode)
    for each in READS:
        if not (values := ratios(cell, each)):
            continue
        seen, wanted = ratio(values), read_target(cell.device, each.key, case.mode, case.depth)
        verdict = judge(seen, controls.get((cell.mode, each.key)), wanted, each.more_is_better)
        own = statistics.median(value for one in cell.rounds if (value := each.read(one.competitor)) is not None)
        yield Cost(cell.device, case, each, own * each.scale, seen, wanted, verdict)


def beside(results: Results) -> list[Beside]:
    """Each form of this package beside each other package that has the same form, from the same rounds."""
    controls = _controls(results)
    at = {(cell.device, cell.mode): cell for cell in results.cells if cell.rounds}
    return [
        found
        for (ours, mode), own in at.items()
        for (other, same), others in at.items()
        if mode == same and CONTENDERS[ours].ours and _is_peer(ours, other)
        for found in _beside(own, others, controls)
    ]


def _is_peer(ours: str, other: str) -> bool:
    form = CONTENDERS[other].form
    return not CONTENDERS[other].ours and form in (RAW, ASYNCIO) and form == CONTENDERS[ours].form


def _beside(own: Cell, others: Cell, controls: Mapping[tuple[str, str], Ratio]) -> Iterator[Beside]:
    case = parse(own.mode)
    for each in READS:
        pairs = zip(ratios(own, each), ratios(others, each), strict=False)
        if not (values := [one / other for one, other in pairs]):
            continue
        wanted = beside_target(own.device, others.device, each.key, case.mode, case.depth)
        seen = ratio(values)
        verdict = judge(seen, controls.get((own.mode, each.key)), wanted, each.more_is_better)
        yield Beside(own.device, others.device, case, each, seen, wanted, verdict)


def _wish(target: float | None, measure: Measure) -> str:
    return "" if target is None else f"{'>=' if measure.more_is_better else '<='} {target:g}"


HEAD = ("", "", "CPU, us", "k/s", "CPU, ratio to C (95 %)", "k/s, ratio to C (95 %)", "target", "")
BESIDE_HEAD = ("", "", "beside", "CPU (95 %)", "target", "", "k/s (95 %)", "target", "")


def rows(found: Sequence[Cost]) -> list[list[str]]:
    """The table for a terminal: a line for each contender in each case."""
    lines = {(each.case, each.contender): [str(each.case), CONTENDERS[each.contender].title] for each in found}
    by_key = {(each.case, each.contender, each.measure.key): each for each in found}
    for (case, name), line in lines.items():
        cpu, rate = (by_key.get((case, name, each.key)) for each in READS)
        line += [f"{each.own:.3g}" if each else "" for each in (cpu, rate)]
        line += [str(each.ratio) if each else "" for each in (cpu, rate)]
        line += [_wish(cpu.target, cpu.measure), cpu.verdict.value] if cpu else ["", ""]
    return list(lines.values())


def beside_rows(found: Sequence[Beside]) -> list[list[str]]:
    """The same, of this package beside others."""
    lines: dict[tuple[Case, str, str], list[str]] = {}
    for each in found:
        names = [CONTENDERS[name].title for name in (each.ours, each.other)]
        line = lines.setdefault((each.case, each.ours, each.other), [str(each.case), *names])
        line += [str(each.ratio), _wish(each.target, each.measure), each.verdict.value]
    return list(lines.values())


def failures(results: Results) -> list[str]:
    """Who could not be measured, and why, a line for all of one mode that failed in the same way."""
    kinds: dict[tuple[str, str, str], list[int]] = {}
    for cell in results.cells:
        if cell.error:
            case = parse(cell.mode)
            kinds.setdefault((cell.device, case.mode, cell.error), []).append(case.depth)
    return [
        f"{CONTENDERS[name].title}, {TITLES[mode]}, depth {', '.join(map(str, depths))}: {error}"
        for (name, mode, error), depths in kinds.items()
    ]


def counted(judged: Sequence[Verdict]) -> str:
    """How many targets were reached and how many not."""
    numbers = Counter(judged)
    return ", ".join(f"{numbers[each]} {each.value}" for each in Verdict if each is not Verdict.NO_TARGET)


def report(results: Results) -> str:
    """Everything for a terminal."""
    found, others = costs(results), beside(results)
    parts = [text_table(HEAD, rows(found))]
    if others:
        parts += ["", "This package beside others, in the same rounds", text_table(BESIDE_HEAD, beside_rows(others))]
    parts += ["", *describe(results)]
    parts.append(f"targets beside C: {counted([each.verdict for each in found])}")
    parts.append(f"targets beside others: {counted([each.verdict for each in others])}")
    return "\n".join([*parts, *(f"FAILED: {line}" for line in failures(results))])


def page(results: Results, plots: Sequence[PurePath]) -> str:
    """What the documentation includes: a table for each mode and measure, this package beside others, the plots."""
    found, others = costs(results), beside(results)
    parts = [HEADER.format(command="aio")]
    for mode in dict.fromkeys(each.case.mode for each in found):
        for measure in READS:
            own = [each for each in found if each.case.mode == mode and each.measure == measure]
            title = f"{TITLES[mode]}: {measure.title}, in {measure.unit}, and ratio to C"
            parts.append(_by_depth(title, own))
    for ours in dict.fromkeys(each.ours for each in others):
        parts.append(_by_peer(ours, [each for each in others if each.ours == ours]))
    if failed := failures(results):
        parts.append("Not measured:\n\n" + "\n".join(f"* {line}" for line in failed) + "\n")
    return "\n".join([*parts, line_block(describe(results)), images(plots)])


def _by_depth(title: str, own: Sequence[Cost]) -> str:
    depths = sorted({each.case.depth for each in own})
    at = {(each.contender, each.case.depth): _cell(each) for each in own}
    names = dict.fromkeys(each.contender for each in own)
    body = [[CONTENDERS[name].title, *(at.get((name, depth), "") for depth in depths)] for name in names]
    return list_table(title, ["", *(f"depth {depth}" for depth in depths)], body)


def _cell(each: Cost) -> str:
    judged = f"; {_wish(each.target, each.measure)}: **{each.verdict.value}**" if each.target is not None else ""
    return f"{each.own:.3g}; {each.ratio}{judged}"


def _by_peer(ours: str, own: Sequence[Beside]) -> str:
    """One row for each case, one column for each other package."""
    others = list(dict.fromkeys(each.other for each in own))
    at = {(each.case, each.measure.key, each.other): each for each in own}
    body = []
    for case, key in dict.fromkeys((each.case, each.measure.key) for each in own):
        found = [at.get((case, key, other)) for other in others]
        title = next(each.measure.title for each in found if each)
        body.append([f"{case}: {title}", *(_beside_cell(each) if each else "" for each in found)])
    head = ["", *(CONTENDERS[other].title for other in others)]
    return list_table(f"{CONTENDERS[ours].title}: ratios to other packages", head, body)


def _beside_cell(each: Beside) -> str:
    return f"{each.ratio}; {_wish(each.target, each.measure)}: **{each.verdict.value}**"
