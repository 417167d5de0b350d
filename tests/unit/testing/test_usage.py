from __future__ import annotations

import os

import pytest

from gadget import UsageError
from gadget.testing.observe.usage import Usage, check_steady, growth_kib, usage_of


def samples(*memory: int, descriptors: int = 9) -> list[Usage]:
    return [Usage(kib, descriptors, 3, 1) for kib in memory]


def test_of_this_process() -> None:
    before = usage_of(os.getpid())
    reader, writer = os.pipe()
    opened = usage_of(os.getpid())
    os.close(reader)
    os.close(writer)
    assert opened.descriptors == before.descriptors + 2
    assert usage_of(os.getpid()).counted == before.counted
    assert before.memory_kib > 1000
    assert before.threads >= 1


def test_what_grows_at_the_beginning_is_no_growth() -> None:
    assert growth_kib(samples(100, 2000, 9000, 9000, 9000, 9000)) == 0


def test_one_sample_decides_nothing() -> None:
    assert growth_kib(samples(1, 2, 3, 10, 10, 10, 10, 99, 10)) == 0


def test_a_leak_is_told_with_its_size() -> None:
    leaking = samples(*range(1000, 1000 + 60 * 30, 30))
    assert growth_kib(leaking) == 20 * 30
    with pytest.raises(AssertionError, match=r"grown by 600 KiB, 30720 bytes each time: 1000, 1030,"):
        check_steady(leaking)
    check_steady(leaking, slack_kib=600)


@pytest.mark.parametrize("field", ["descriptors", "threads", "AIO contexts"])
def test_what_is_counted_may_not_grow_at_all(field: str) -> None:
    place = ("descriptors", "threads", "AIO contexts").index(field)
    counts = [9, 3, 1]
    counts[place] += 1
    with pytest.raises(AssertionError, match=rf"\d {field}, then {counts[place]}"):
        check_steady([*samples(1, 1, 1, 1, 1), Usage(1, *counts)])


def test_it_takes_six() -> None:
    with pytest.raises(UsageError, match="5 samples: it takes six"):
        growth_kib(samples(1, 2, 3, 4, 5))
