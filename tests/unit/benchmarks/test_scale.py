"""Points along axes, and what a transfer costs there."""

from __future__ import annotations

import pytest

from benchmarks.host import Slice
from benchmarks.judging import Verdict
from benchmarks.points import AXES, Point, name, parse, point
from benchmarks.results import Cell, Results, Round
from benchmarks.scale import costs, rows


def cell(device: str, cost: float, control: float = 100) -> Cell:
    """As seen at a point where a transfer costs so many microseconds; 100 at the first one, and again."""
    here, first, again = (Slice(90, 0.3, 100, 0.1, 0.0, 1024, each * 1e-4) for each in (cost, 100, control))
    return Cell(device, "stream", 1024, [Round(here, first, again)] * 4)


def test_a_point_differs_from_the_first_in_one_thing() -> None:
    assert point("depth", 4, Point(size=2048)) == Point(pairs=1, gadgets=1, depth=4, size=2048)


def test_endpoints_are_declared_with_whole_packets() -> None:
    assert Point(size=512).transfer_size == 1024
    assert Point(size=4096).transfer_size == 4096


def test_each_axis_goes_through_the_first_point() -> None:
    assert all(getattr(Point(), axis) in values for axis, values in AXES.items())


def test_names_are_read_as_they_were_written() -> None:
    assert parse(name("gadgets", 8)) == ("gadgets", 8)


def test_costs_are_judged_along_the_axes_that_are_to_be_flat() -> None:
    found = costs(
        Results({}, "", [cell("pairs=1", 100), cell("pairs=2", 114), cell("pairs=4", 130), cell("size=65536", 900)])
    )
    assert [each.verdict for each in found] == [
        Verdict.REACHED,
        Verdict.REACHED,
        Verdict.MISSED,
        Verdict.NO_TARGET,
    ]
    assert rows(found, "pairs")[1] == ["2", "114.0", "1.14 (1.14-1.14)", "<= 1.15", "reached"]


def test_where_two_of_the_first_point_differ_nothing_is_judged() -> None:
    (found,) = costs(Results({}, "", [cell("pairs=2", 200, control=106)]))
    assert found.verdict is Verdict.CANNOT_JUDGE
    assert found.ratio.median == pytest.approx(200 / (100 * 106) ** 0.5)
