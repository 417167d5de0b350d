from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from gadget.testing.durations import Durations


def call(nodeid: str, start: float, stop: float) -> pytest.TestReport:
    return pytest.TestReport(
        nodeid, ("f", 1, "t"), {}, "passed", None, "call", duration=stop - start, start=start, stop=stop
    )


def watching(*nodeids: str) -> Durations:
    durations = Durations()
    items = [SimpleNamespace(nodeid=nodeid, get_closest_marker=lambda name: True) for nodeid in nodeids]
    durations.pytest_collection_finish(cast(Any, SimpleNamespace(items=items)))
    return durations


def test_the_way_from_one_test_to_the_next() -> None:
    durations = watching("a", "b", "c")
    for report in (call("a", 10.0, 11.0), call("b", 11.5, 12.0), call("c", 14.0, 14.5)):
        durations.pytest_runtest_logreport(report)
    assert durations.gaps == [0.5, 2.0]
    assert "1.25 s  from one test to the next, median of 2 (least 0.50 s, most 2.00 s)" in durations.lines()[-1]


def test_what_lies_between_two_of_them_does_not_count() -> None:
    durations = watching("a", "c")
    for report in (call("a", 10.0, 11.0), call("native", 11.0, 60.0), call("c", 60.0, 61.0)):
        durations.pytest_runtest_logreport(report)
    assert durations.gaps == []


def test_a_lost_guest_is_on_the_way_from_nothing_to_nothing() -> None:
    """The report of its test is made here, and the next guest has a clock of its own."""
    durations = watching("a", "lost", "c")
    for report in (call("a", 10.0, 11.0), call("lost", 0, 0), call("c", 60.0, 61.0)):
        durations.pytest_runtest_logreport(report)
    assert durations.gaps == []


def test_the_parts_add_up_from_the_start_of_the_process() -> None:
    durations = watching("a")
    durations.reached("one")
    durations.reached("two")
    assert [what for what, _ in durations.parts] == ["one", "two"]
    assert all(seconds >= 0 for _, seconds in durations.parts)
    assert durations.parts[0][1] > 0.1, "Python and pytest have taken their time to start"
