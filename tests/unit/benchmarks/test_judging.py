"""From ratios to a verdict."""

from __future__ import annotations

import random

import pytest

from benchmarks.judging import Ratio, Verdict, judge, ratio

SURE = Ratio(1.0, 0.99, 1.01)


def test_the_median_of_equal_ratios_is_certain() -> None:
    assert ratio([1.25] * 10) == Ratio(1.25, 1.25, 1.25)


def test_one_ratio_is_its_own_interval() -> None:
    assert ratio([0.5]) == Ratio(0.5, 0.5, 0.5)


def test_there_is_no_ratio_of_nothing() -> None:
    with pytest.raises(ValueError, match="nothing"):
        ratio([])


def test_the_interval_is_around_the_median_and_within_the_values() -> None:
    values = [0.8, 0.9, 1.0, 1.1, 5.0]
    seen = ratio(values)
    assert seen.median == 1.0
    assert min(values) <= seen.low <= seen.median <= seen.high <= max(values)


def test_the_same_values_have_the_same_interval() -> None:
    values = [0.8, 0.9, 1.0, 1.1, 1.2]
    assert ratio(values) == ratio(values)


def test_more_rounds_make_a_narrower_interval() -> None:
    source = random.Random(1)
    values = [source.gauss(1, 0.1) for _ in range(400)]
    few, many = ratio(values[:10]), ratio(values)
    assert many.high - many.low < few.high - few.low


def test_the_interval_holds_the_true_median_about_as_often_as_it_says() -> None:
    """A seeded experiment: of 200 intervals of 95 %, 180 at least hold the median that the values were drawn around."""
    source = random.Random(2)
    seen = [ratio([source.lognormvariate(0, 0.2) for _ in range(30)], seed=number) for number in range(200)]
    assert sum(each.low <= 1 <= each.high for each in seen) >= 180


@pytest.mark.parametrize(
    ("interval", "doubt"),
    [((0.99, 1.02), 0.03), ((1.10, 1.11), 0.11), ((0.90, 0.91), 0.10)],
    ids=["around 1", "above 1", "below 1"],
)
def test_a_control_that_is_not_1_is_as_doubtful_as_a_wide_one(interval: tuple[float, float], doubt: float) -> None:
    assert Ratio(sum(interval) / 2, *interval).doubt == pytest.approx(doubt)


@pytest.mark.parametrize(
    ("seen", "target", "more_is_better", "verdict"),
    [
        (Ratio(0.90, 0.88, 0.92), 0.85, True, Verdict.REACHED),
        (Ratio(0.84, 0.82, 0.85), 0.85, True, Verdict.REACHED),
        (Ratio(0.80, 0.78, 0.84), 0.85, True, Verdict.MISSED),
        (Ratio(1.10, 1.00, 1.20), 1.15, False, Verdict.REACHED),
        (Ratio(1.20, 1.15, 1.30), 1.15, False, Verdict.REACHED),
        (Ratio(1.20, 1.16, 1.30), 1.15, False, Verdict.MISSED),
        (Ratio(0.10, 0.10, 0.10), None, True, Verdict.NO_TARGET),
    ],
)
def test_a_target_is_reached_when_the_interval_reaches_it(
    seen: Ratio, target: float | None, more_is_better: bool, verdict: Verdict
) -> None:
    assert judge(seen, SURE, target, more_is_better) is verdict


@pytest.mark.parametrize("control", [None, Ratio(1.0, 0.97, 1.03), Ratio(1.04, 1.03, 1.06)])
def test_without_a_narrow_control_there_is_no_verdict(control: Ratio | None) -> None:
    assert judge(Ratio(2.0, 1.9, 2.1), control, 0.85, True) is Verdict.CANNOT_JUDGE
