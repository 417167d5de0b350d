"""What host.py asks the driver: pure, so that no bus is needed."""

from __future__ import annotations

import errno
import random

import pytest
import usbtest
from hypothesis import given, settings, strategies as st
from usbtest import ANY_LENGTH, BULK_AND_CONTROL, CONTROL_DATA, MOST_ENTRIES, Case, Parameters, Result
from usbtest_plan import MOST_CONTROL_DATA, ROUND, draw, soak, usual

PACKET_SIZES = st.sampled_from([64, 512, 1024])


def test_the_cases_are_those_of_the_kernel() -> None:
    assert [int(case) for case in Case] == list(range(30))
    assert [int(case) for case in BULK_AND_CONTROL] == [*range(15), *range(17, 22), 24, 27, 28, 29]


def test_the_ioctls_are_those_of_the_kernel() -> None:
    # Computed by a C compiler on x86-64 from _IOWR('U', 100, seven words) and USBDEVFS_IOCTL.
    assert (usbtest._USBTEST_REQUEST, usbtest._USBDEVFS_IOCTL) == (0xC01C5564, 0xC0105512)


@pytest.mark.parametrize(
    "given", [{"iterations": 0}, {"sglen": MOST_ENTRIES + 1}, {"length": -1}, {"vary": 1 << 31}], ids=str
)
def test_parameters_that_the_driver_refuses(given: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        Parameters(**given)


def test_only_what_a_case_looks_at_is_said() -> None:
    parameters = Parameters(iterations=1, length=2, vary=3, sglen=4)
    assert parameters.said_for(Case.NOTHING) == "--iterations 1"
    assert parameters.said_for(Case.READ_VARIED_LISTS) == "--iterations 1 --length 2 --vary 3 --sglen 4"


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (errno.EPIPE, "EPIPE: the device stalled"),
        (errno.ENOMEM, "ENOMEM: Cannot allocate memory"),
        (1000 + errno.EPROTO, "a transfer taken back ended with EPROTO"),
        (2000 + errno.EPIPE, "a transfer taken back ended with EPIPE"),
    ],
)
def test_errors_are_explained(error: int, meaning: str) -> None:
    assert Result(Case.READ, Parameters(), error).reason == meaning


@settings(deadline=None)  # no time is asserted
@given(case=st.sampled_from(BULK_AND_CONTROL), packet_size=PACKET_SIZES, seed=st.integers())
def test_what_is_drawn_keeps_the_rules(case: Case, packet_size: int, seed: int) -> None:
    drawn = draw(case, packet_size, 7, random.Random(seed))
    assert drawn.iterations == 7
    assert 0 < drawn.vary < drawn.length
    if case not in ANY_LENGTH:
        assert drawn.length % packet_size == drawn.vary % packet_size == 0
    if case in CONTROL_DATA:
        assert drawn.length <= MOST_CONTROL_DATA
    if case is Case.UNLINK_QUEUED_WRITES:
        assert drawn.sglen >= 4  # usbtest.c refuses fewer


@pytest.mark.parametrize("packet_size", [64, 512, 1024])
@pytest.mark.parametrize("case", BULK_AND_CONTROL)
def test_the_usual_varies_by_full_packets_where_it_must(case: Case, packet_size: int) -> None:
    parameters = usual(case, packet_size, 3)
    assert 0 < parameters.vary < parameters.length
    if case not in CONTROL_DATA:
        assert parameters.length % packet_size == parameters.vary % packet_size == 0


def test_a_soak_runs_each_case_so_many_times_with_changing_parameters() -> None:
    plan = list(soak(BULK_AND_CONTROL, 512, 2 * ROUND + 3, seed=1))
    for case in BULK_AND_CONTROL:
        own = [parameters for each, parameters in plan if each is case]
        assert [parameters.iterations for parameters in own] == [ROUND, ROUND, 3]
        assert len({parameters.length for parameters in own}) > 1
    first, second = plan[: len(BULK_AND_CONTROL)], plan[len(BULK_AND_CONTROL) : 2 * len(BULK_AND_CONTROL)]
    assert [case for case, _ in first] != [case for case, _ in second]


def test_a_soak_is_the_same_for_the_same_seed() -> None:
    plans = [list(soak(BULK_AND_CONTROL, 64, 100, seed)) for seed in (1, 1, 2)]
    assert plans[0] == plans[1] != plans[2]
