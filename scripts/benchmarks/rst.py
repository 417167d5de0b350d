"""The tables that the documentation includes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath

from benchmarks.report import Figure, describe, failures, figures, floor_figures, size_name, wish
from benchmarks.results import Results

#: What the command has written says so.
HEADER = ".. Written by ``scripts/bench {command} --docs``; do not edit.\n"


def list_table(title: str, head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table in reStructuredText."""
    lines = [f".. list-table:: {title}", "   :header-rows: 1", ""]
    for row in (head, *body):
        lines += [f"   {' ' if number else '*'} - {cell}".rstrip() for number, cell in enumerate(row)]
    return "\n".join(lines) + "\n"


def line_block(lines: Sequence[str]) -> str:
    """Lines that stay lines."""
    return "\n".join(f"| {line}" for line in lines) + "\n"


def images(paths: Sequence[PurePath]) -> str:
    """Plots that lie beside the page, as a document in the folder above includes them."""
    return "\n".join(f".. image:: {path.parent.name}/{path.name}\n   :alt: {path.stem}\n" for path in paths)


def usb_page(results: Results, titles: Mapping[str, str]) -> str:
    """The tables of ``scripts/bench usb``: one a device, the device in C itself, and where all of it comes from.

    Args:
        results: What was seen.
        titles: What each device is called, by its name.
    """
    parts = [HEADER.format(command="usb")]
    for device, own in _by_device(figures(results)):
        parts += _tables(f"{titles[device]}: ratios to the device in C", own, _ratio_cell)
    for device, own in _by_device(floor_figures(results)):
        parts += _tables(f"{titles[device]}: its own figures, and the ratio of two of it", own, _floor_cell)
    return "\n".join([*parts, line_block(describe(results)), *not_measured(results)])


def _by_device(found: Sequence[Figure]) -> list[tuple[str, list[Figure]]]:
    names = dict.fromkeys(each.device for each in found)
    return [(name, [each for each in found if each.device == name]) for name in names]


def not_measured(results: Results) -> list[str]:
    """What could not be measured, if anything."""
    failed = [f"* {line.splitlines()[0]}" for line in failures(results)]
    return ["Not measured:\n\n" + "\n".join(failed) + "\n"] if failed else []


def _ratio_cell(each: Figure) -> str:
    return f"{each.ratio}; {wish(each)}: **{each.verdict.value}**" if each.target is not None else str(each.ratio)


def _floor_cell(each: Figure) -> str:
    return f"{each.floor:.4g} {each.measure.unit}; {each.ratio}"


def _tables(title: str, own: Sequence[Figure], cell: Callable[[Figure], str]) -> list[str]:
    """One by size, and one of control requests, which have none."""
    sized = [each for each in own if each.mode != "control"]
    requests = [each for each in own if each.mode == "control"]
    tables = []
    if sized:
        sizes = sorted({each.size for each in sized})
        tables.append(list_table(title, ["", *map(size_name, sizes)], _by_size(sized, sizes, cell)))
    if requests:
        body = [[each.measure.title, cell(each)] for each in requests]
        tables.append(list_table(f"{title}, control requests", ["", "16 bytes, in and out by turns"], body))
    return tables


def _by_size(own: Sequence[Figure], sizes: Sequence[int], cell: Callable[[Figure], str]) -> list[list[str]]:
    at = {(each.mode, each.measure.title, each.size): cell(each) for each in own}
    kinds = dict.fromkeys((each.mode, each.measure.title) for each in own)
    return [[f"{mode}: {title}", *(at.get((mode, title, size), "") for size in sizes)] for mode, title in kinds]
