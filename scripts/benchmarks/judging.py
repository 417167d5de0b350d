"""From pairs of slices to a verdict: the median of the ratios, how sure it is, and what that says. Pure."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

#: An interval of the device in C against itself that is wider than this tells nothing.
WIDEST = 0.05
RESAMPLES = 4000
CONFIDENCE = 0.95


class Verdict(Enum):
    """What a figure says about its target."""

    REACHED = "reached"
    MISSED = "missed"
    CANNOT_JUDGE = "can't judge"
    NO_TARGET = ""


@dataclass(frozen=True)
class Ratio:
    """A median of ratios, with the interval that it lies in with a probability of 95 %."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}-{self.high:.2f})"

    @property
    def doubt(self) -> float:
        """How far apart two of the same were seen to be: how wide the interval is, made to reach 1."""
        return max(self.high, 1.0) - min(self.low, 1.0)


def ratio(values: Sequence[float], seed: int = 0) -> Ratio:
    """The median of some ratios, with its interval by bootstrap: the percentiles of medians of resampled values.

    Args:
        values: The ratios, one a pair of slices.
        seed: Of the resampling, so that the same values have the same interval.

    Raises:
        ValueError: There are none.
    """
    if not values:
        raise ValueError("there is no ratio of nothing")
    source = random.Random(seed)
    medians = sorted(statistics.median(source.choices(values, k=len(values))) for _ in range(RESAMPLES))
    outside = round((1 - CONFIDENCE) / 2 * RESAMPLES)
    return Ratio(statistics.median(values), medians[outside], medians[-1 - outside])


def judge(seen: Ratio, control: Ratio | None, target: float | None, more_is_better: bool) -> Verdict:
    """Whether a target is reached: its interval reaches it.

    Args:
        seen: The ratio.
        control: That of the device in C against itself, in the same cell; None if that was not measured.
        target: What is to be reached; None for nothing.
        more_is_better: Whether the target is a least or a most.
    """
    if target is None:
        return Verdict.NO_TARGET
    if control is None or control.doubt > WIDEST:
        return Verdict.CANNOT_JUDGE
    reached = seen.high >= target if more_is_better else seen.low <= target
    return Verdict.REACHED if reached else Verdict.MISSED
