from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from gadget.classes.cp210x_parts import BaudRates, PartNumber


@pytest.mark.parametrize(
    ("part", "wanted", "rate"),
    [
        (PartNumber.CP2102, 115200, 115200),
        (PartNumber.CP2102, 110, 300),
        (PartNumber.CP2102, 31250, 28800),
        (PartNumber.CP2102, 3_000_000, 1_000_000),
        (PartNumber.CP2104, 115200, 115384),
        (PartNumber.CP2104, 300, 300),
        (PartNumber.CP2104, 31250, 31250),
        (PartNumber.CP2104, 0, 300),
        (PartNumber.CP2104, 1 << 31, 2_000_000),
        (PartNumber.CP2102N, 1 << 31, 3_000_000),
    ],
)
def test_rates_are_those_of_the_part(part: PartNumber, wanted: int, rate: int) -> None:
    assert BaudRates(part).nearest(wanted) == rate


@given(st.sampled_from(PartNumber), st.integers(0, 1 << 32))
def test_a_rate_that_the_part_has_is_kept(part: PartNumber, wanted: int) -> None:
    rate = BaudRates(part).nearest(wanted)
    assert abs(BaudRates(part).nearest(rate) - rate) <= 1  # It is a fraction, cut off.
    assert 300 <= rate <= BaudRates(part).most


@given(st.integers(2400, 1_000_000))
def test_a_free_divisor_is_within_two_percent_and_a_half(wanted: int) -> None:
    assert abs(BaudRates(PartNumber.CP2104).nearest(wanted) - wanted) <= wanted * 0.025
