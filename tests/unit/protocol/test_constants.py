from __future__ import annotations

import pytest

from gadget.errors import UsageError
from gadget.protocol.constants import (
    ConfigurationAttribute,
    Direction,
    EventType,
    Feature,
    FunctionFSFlag,
    FunctionFSMagic,
    Recipient,
    RequestType,
    Speed,
    TransferType,
)


def test_speeds_compare_from_slow_to_fast() -> None:
    assert Speed.FULL < Speed.HIGH < Speed.SUPER < Speed.SUPER_PLUS


@pytest.mark.parametrize(
    ("speed", "name"),
    [
        (Speed.FULL, "full-speed"),
        (Speed.HIGH, "high-speed"),
        (Speed.SUPER, "super-speed"),
        (Speed.SUPER_PLUS, "super-speed-plus"),
    ],
)
def test_a_speed_has_the_kernels_name_and_is_found_by_it(speed: Speed, name: str) -> None:
    assert speed.maximum == name
    assert Speed.from_name(f"{name}\n") is speed


@pytest.mark.parametrize(
    ("name", "speed"), [("full", Speed.FULL), ("High", Speed.HIGH), ("super-plus", Speed.SUPER_PLUS)]
)
def test_a_speed_is_found_by_its_short_name(name: str, speed: Speed) -> None:
    assert Speed.from_name(name) is speed


@pytest.mark.parametrize("name", ["", "low-speed", "UNKNOWN", "super-speed-plus-plus"])
def test_an_unknown_speed_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(UsageError, match=r"choose one of full-speed, high-speed, super-speed, super-speed-plus"):
        Speed.from_name(name)


@pytest.mark.parametrize("number", range(32))
def test_every_recipient_that_a_host_can_send_has_a_meaning(number: int) -> None:
    expected = number if number < 4 else Recipient.RESERVED
    assert Recipient(number) == expected


@pytest.mark.parametrize("number", [-1, 32])
def test_a_recipient_of_more_than_five_bits_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="is not a valid Recipient"):
        Recipient(number)


def test_the_parts_of_bmrequesttype_cover_it_without_overlap() -> None:
    parts = [(direction, kind, recipient) for direction in Direction for kind in RequestType for recipient in range(32)]
    assert sorted(direction | kind | recipient for direction, kind, recipient in parts) == list(range(256))


def test_the_numbers_are_those_of_the_kernels_headers() -> None:
    """Compare ch9.h and functionfs.h, which this repeats by hand: one wrong number and nothing works."""
    assert [(kind.name, kind.value) for kind in EventType] == [
        ("BIND", 0),
        ("UNBIND", 1),
        ("ENABLE", 2),
        ("DISABLE", 3),
        ("SETUP", 4),
        ("SUSPEND", 5),
        ("RESUME", 6),
    ]
    assert [flag.value for flag in FunctionFSFlag] == [1, 2, 4, 8, 16, 32, 64, 128]
    assert (FunctionFSFlag.EVENTFD, FunctionFSFlag.ALL_CTRL_RECIP, FunctionFSFlag.CONFIG0_SETUP) == (32, 64, 128)
    assert (FunctionFSMagic.STRINGS, FunctionFSMagic.DESCRIPTORS_V2) == (2, 3)
    assert [kind.value for kind in TransferType] == [0, 1, 2, 3]
    assert ConfigurationAttribute.REQUIRED | ConfigurationAttribute.SELF_POWERED == 0xC0


def test_halt_and_function_suspend_are_told_apart_by_the_recipient_alone() -> None:
    assert {Feature[name].value for name in ("ENDPOINT_HALT", "FUNCTION_SUSPEND")} == {0}
