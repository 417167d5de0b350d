"""Plots of what a run has seen, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure as Canvas

from benchmarks.judging import Ratio
from benchmarks.reads_report import Cost
from benchmarks.report import Figure, size_name

#: The same for each device in every plot, and apart without colours, too (matplotlib's marker names).
MARKERS = {"ours": "o", "ours-uvloop": "v", "spliced": "D", "peer": "s", "kernel": "^"}

# Text stays text, and the same figures make the same file, so that a committed plot only changes with what it shows.
mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "gadget"})
UNDATED = {"Date": None}


def plot_usb(found: Sequence[Figure], folder: Path) -> list[Path]:
    """One plot for each mode and measure: the ratios to the device in C by size, with intervals and targets."""
    kinds = dict.fromkeys((each.mode, each.measure.key) for each in found)
    paths = []
    for mode, key in kinds:
        chosen = [each for each in found if (each.mode, each.measure.key) == (mode, key)]
        path = folder / f"usb-{mode}-{key.replace(' ', '-')}.svg"
        _plot_ratios(chosen, path)
        paths.append(path)
    return paths


def _plot_ratios(chosen: Sequence[Figure], path: Path) -> None:
    canvas = Canvas(figsize=(6, 3.5), layout="constrained")
    axes = canvas.subplots()
    sizes = list(dict.fromkeys(each.size for each in chosen))
    axes.axhline(1, color="black", linewidth=0.8)
    for number, device in enumerate(dict.fromkeys(each.device for each in chosen)):
        _draw_device(axes, [each for each in chosen if each.device == device], sizes, number)
    _draw_targets(axes, chosen, sizes)
    axes.set_xticks(range(len(sizes)), [size_name(size) for size in sizes])
    axes.set_xlim(-0.5, len(sizes) - 0.5)
    if not chosen[0].measure.more_is_better:
        axes.set_yscale("log")
    better = "more" if chosen[0].measure.more_is_better else "less"
    axes.set_ylabel(f"ratio to the device in C ({better} is better)")
    axes.set_title(f"{chosen[0].mode}: {chosen[0].measure.title}")
    axes.legend()
    canvas.savefig(path, metadata=UNDATED)


def _draw_device(axes: Any, own: Sequence[Figure], sizes: Sequence[int], number: int) -> None:
    places = [sizes.index(each.size) + 0.12 * (number - 1) for each in own]
    medians = [each.ratio.median for each in own]
    below = [each.ratio.median - each.ratio.low for each in own]
    above = [each.ratio.high - each.ratio.median for each in own]
    marker = MARKERS.get(own[0].device, "x")
    axes.errorbar(places, medians, yerr=[below, above], fmt=marker, capsize=3, label=own[0].device)


def _draw_targets(axes: Any, chosen: Sequence[Figure], sizes: Sequence[int]) -> None:
    label = "target"
    for each in chosen:
        if each.target is not None and each.device == "ours":
            place = sizes.index(each.size)
            axes.hlines(each.target, place - 0.3, place + 0.3, linestyles="dashed", colors="grey", label=label)
            label = "_hidden"  # matplotlib leaves labels with an underscore out of the legend.


def plot_axis(title: str, points: Sequence[tuple[int, Ratio]], limit: float | None, path: Path) -> None:
    """The ratios along one axis, with intervals, and what they are to stay below."""
    canvas = Canvas(figsize=(6, 3.5), layout="constrained")
    axes = canvas.subplots()
    values = [value for value, _ in points]
    medians = [seen.median for _, seen in points]
    below = [seen.median - seen.low for _, seen in points]
    above = [seen.high - seen.median for _, seen in points]
    axes.errorbar(values, medians, yerr=[below, above], fmt="o-", capsize=3)
    axes.axhline(1, color="black", linewidth=0.8)
    if limit is not None:
        axes.axhline(limit, color="grey", linestyle="dashed", label="target")
        axes.legend()
    axes.set_xscale("log", base=2)
    axes.set_xticks(values, [size_name(value) if value >= 512 else str(value) for value in values])
    axes.set_yscale("log")
    axes.set_xlabel(title)
    axes.set_ylabel("CPU of a transfer, ratio to the first point")
    canvas.savefig(path, metadata=UNDATED)


def plot_reads(found: Sequence[Cost], titles: Mapping[str, str], folder: Path) -> list[Path]:
    """One plot for each mode and measure: a line for each contender, with its ratios to C at each depth."""
    paths = []
    for mode, key in dict.fromkeys((each.case.mode, each.measure.key) for each in found):
        chosen = [each for each in found if (each.case.mode, each.measure.key) == (mode, key)]
        path = folder / f"aio-{mode}-{key}.svg"
        _plot_costs(chosen, titles, path)
        paths.append(path)
    return paths


def _plot_costs(chosen: Sequence[Cost], titles: Mapping[str, str], path: Path) -> None:
    names = list(dict.fromkeys(each.contender for each in chosen))
    depths = sorted({each.case.depth for each in chosen})
    canvas = Canvas(figsize=(7, 0.6 + 0.35 * len(names)), layout="constrained")
    axes = canvas.subplots()
    axes.axvline(1, color="black", linewidth=0.8)
    for number, (depth, marker) in enumerate(zip(depths, "os^Dv" * len(depths), strict=False)):
        own = [each for each in chosen if each.case.depth == depth]
        shift = 0.2 * (number - (len(depths) - 1) / 2)
        _draw_depth(axes, own, [names.index(each.contender) + shift for each in own], f"depth {depth}", marker)
    axes.set_yticks(range(len(names)), [titles[name] for name in names])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.grid(axis="x", which="both", linewidth=0.3)
    better = "more" if chosen[0].measure.more_is_better else "less"
    axes.set_xlabel(f"{chosen[0].measure.title}, ratio to C ({better} is better)")
    axes.legend()
    canvas.savefig(path, metadata=UNDATED)


def _draw_depth(axes: Any, own: Sequence[Cost], places: Sequence[float], label: str, marker: str) -> None:
    medians = [each.ratio.median for each in own]
    errors = [
        [each.ratio.median - each.ratio.low for each in own],
        [each.ratio.high - each.ratio.median for each in own],
    ]
    drawn = axes.errorbar(medians, places, xerr=errors, fmt=marker, capsize=2, label=label)
    for each, place in zip(own, places, strict=True):
        if each.target is not None:
            axes.plot([each.target], [place], marker="|", markersize=14, color=drawn[0].get_color())
