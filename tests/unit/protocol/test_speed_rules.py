from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from gadget.errors import DescriptorError
from gadget.protocol.constants import Speed, TransferType
from gadget.protocol.speed_rules import (
    allowed_packet_sizes,
    check_packet_size,
    default_packet_size,
    interval_code,
    interval_seconds,
    largest_burst,
)

BULK, INTERRUPT, ISOCHRONOUS = TransferType.BULK, TransferType.INTERRUPT, TransferType.ISOCHRONOUS
PERIODIC = st.sampled_from([INTERRUPT, ISOCHRONOUS])


@pytest.mark.parametrize(
    ("kind", "speed", "burst", "smallest", "largest", "count"),
    [
        (BULK, Speed.FULL, 0, 8, 64, 4),
        (BULK, Speed.HIGH, 0, 512, 512, 1),
        (BULK, Speed.SUPER, 0, 1024, 1024, 1),
        (BULK, Speed.SUPER_PLUS, 15, 1024, 1024, 1),
        (INTERRUPT, Speed.FULL, 0, 1, 64, 64),
        (INTERRUPT, Speed.HIGH, 0, 1, 1024, 1024),
        (INTERRUPT, Speed.SUPER, 0, 1, 1024, 1024),
        (INTERRUPT, Speed.SUPER, 2, 1024, 1024, 1),
        (ISOCHRONOUS, Speed.FULL, 0, 1, 1023, 1023),
        (ISOCHRONOUS, Speed.HIGH, 0, 1, 1024, 1024),
        (ISOCHRONOUS, Speed.SUPER, 1, 1024, 1024, 1),
    ],
)
def test_each_speed_has_its_packet_sizes(
    kind: TransferType, speed: Speed, burst: int, smallest: int, largest: int, count: int
) -> None:
    allowed = allowed_packet_sizes(kind, speed, burst)
    assert (min(allowed), max(allowed), len(allowed)) == (smallest, largest, count)


@pytest.mark.parametrize(("kind", "sizes"), [(BULK, [64, 512, 1024, 1024]), (INTERRUPT, [64, 64, 64, 64])])
def test_the_default_is_the_largest_for_bulk_and_the_same_everywhere_for_interrupt(
    kind: TransferType, sizes: list[int]
) -> None:
    assert [default_packet_size(kind, speed) for speed in Speed] == sizes


def test_an_interrupt_endpoint_with_bursts_has_the_only_size_that_may() -> None:
    assert default_packet_size(INTERRUPT, Speed.SUPER, 1) == 1024


def test_isochronous_has_no_default() -> None:
    with pytest.raises(DescriptorError, match=r"wMaxPacketSize.*must be given"):
        default_packet_size(ISOCHRONOUS, Speed.HIGH)


@pytest.mark.parametrize(
    ("kind", "speed", "size", "burst", "rule"),
    [
        (BULK, Speed.FULL, 512, 0, "must be 8 or 16 or 32 or 64 for bulk at full-speed"),
        (BULK, Speed.HIGH, 64, 0, "must be 512 for bulk at high-speed"),
        (INTERRUPT, Speed.FULL, 65, 0, "must be from 1 to 64 for interrupt at full-speed"),
        (INTERRUPT, Speed.HIGH, 0, 0, "must be from 1 to 1024 for interrupt at high-speed"),
        (INTERRUPT, Speed.SUPER, 64, 2, "must be 1024 for interrupt at super-speed with bursts of 3"),
        (ISOCHRONOUS, Speed.FULL, 1024, 0, "must be from 1 to 1023 for isochronous at full-speed"),
    ],
)
def test_a_size_that_the_speed_does_not_have_is_refused(
    kind: TransferType, speed: Speed, size: int, burst: int, rule: str
) -> None:
    with pytest.raises(DescriptorError) as caught:
        check_packet_size(kind, speed, size, burst)
    assert (caught.value.field, caught.value.value, caught.value.rule) == ("wMaxPacketSize", size, rule)
    assert "USB 2.0, 5." in caught.value.source


def test_bursts_are_limited_by_the_transfer_type() -> None:
    assert (largest_burst(BULK), largest_burst(INTERRUPT), largest_burst(ISOCHRONOUS)) == (15, 2, 15)


@pytest.mark.parametrize(
    ("kind", "speed", "seconds", "code"),
    [
        (INTERRUPT, Speed.FULL, 0.001, 1),
        (INTERRUPT, Speed.FULL, 0.010, 10),
        (INTERRUPT, Speed.FULL, 0.0109, 10),
        (INTERRUPT, Speed.FULL, 0.000125, 1),
        (INTERRUPT, Speed.FULL, 3.0, 255),
        (ISOCHRONOUS, Speed.FULL, 0.001, 1),
        (ISOCHRONOUS, Speed.FULL, 0.007, 3),
        (INTERRUPT, Speed.HIGH, 0.000125, 1),
        (INTERRUPT, Speed.HIGH, 0.00025, 2),
        (INTERRUPT, Speed.HIGH, 0.001, 4),
        (INTERRUPT, Speed.HIGH, 0.0019, 4),
        (INTERRUPT, Speed.HIGH, 0.002, 5),
        (INTERRUPT, Speed.SUPER, 0.010, 7),
        (ISOCHRONOUS, Speed.SUPER_PLUS, 4.096, 16),
        (INTERRUPT, Speed.HIGH, 60.0, 16),
    ],
)
def test_an_interval_becomes_the_code_of_the_speed(kind: TransferType, speed: Speed, seconds: float, code: int) -> None:
    assert interval_code(kind, speed, seconds) == code


@given(PERIODIC, st.sampled_from(Speed), st.floats(1e-6, 10))
def test_the_interval_is_the_longest_that_is_not_longer_than_asked(
    kind: TransferType, speed: Speed, seconds: float
) -> None:
    limit = 255 if (kind, speed) == (INTERRUPT, Speed.FULL) else 16
    code, rounding = interval_code(kind, speed, seconds), 0.5e-6
    assert 1 <= code <= limit
    assert code == 1 or interval_seconds(kind, speed, code) <= seconds + rounding
    assert code == limit or interval_seconds(kind, speed, code + 1) > seconds - rounding


@given(PERIODIC, st.sampled_from(Speed), st.integers(1, 16))
def test_an_interval_that_the_speed_has_is_kept(kind: TransferType, speed: Speed, code: int) -> None:
    assert interval_code(kind, speed, interval_seconds(kind, speed, code)) == code


@pytest.mark.parametrize("seconds", [0, -0.001, float("inf"), float("nan")])
def test_an_interval_that_is_no_time_is_refused(seconds: float) -> None:
    with pytest.raises(DescriptorError, match=r"bInterval.*positive number of seconds"):
        interval_code(INTERRUPT, Speed.HIGH, seconds)


@pytest.mark.parametrize("kind", [BULK, TransferType.CONTROL])
def test_an_interval_without_polling_is_refused(kind: TransferType) -> None:
    with pytest.raises(DescriptorError, match=r"bInterval.*must not be given"):
        interval_code(kind, Speed.HIGH, 0.001)
