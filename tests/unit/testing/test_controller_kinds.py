from __future__ import annotations

import pytest

from gadget.testing.controller_kinds import ABILITIES, DUMMY, KINDS, USBIP, ControllerKind, Lack, kind_of


@pytest.mark.parametrize(
    ("kind", "wanted", "speed"),
    [(DUMMY, "full", "full"), (DUMMY, "super", "super"), (USBIP, "high", "high"), (USBIP, "super", "high")],
)
def test_the_speed_where_a_test_leaves_it_open(kind: ControllerKind, wanted: str, speed: str) -> None:
    assert kind.speed(wanted) == speed


def test_speeds() -> None:
    assert (DUMMY.speeds, USBIP.speeds) == (("full", "high", "super"), ("high",))


@pytest.mark.parametrize(
    ("kind", "speed", "needs", "refusal"),
    [
        (DUMMY, "high", ("suspend", "remote wakeup"), None),
        (DUMMY, "super", ("suspend",), "dummy_hcd has no suspend at super speed: .*dummy_hub_control"),
        (DUMMY, "full", ("isochronous data",), "dummy_hcd has no isochronous data: .*ep_info"),
        (USBIP, "high", (), None),
        (USBIP, "high", ("many endpoints", "completion when read"), None),
        (USBIP, "super", (), r"usbip-vudc has no super speed: high speed is its fastest \(usbip/vudc_dev\.c"),
        (USBIP, "high", ("many endpoints", "suspend"), r"usbip-vudc has no suspend: USB/IP does not carry it"),
    ],
)
def test_what_cannot_be_had_is_refused_with_the_reason(
    kind: ControllerKind, speed: str, needs: tuple[str, ...], refusal: str | None
) -> None:
    if refusal is None:
        assert kind.refusal(speed, needs) is None
    else:
        with pytest.raises(LookupError, match=f"^{refusal}"):
            raise LookupError(kind.refusal(speed, needs))


def test_a_lack_of_one_speed_is_none_of_the_others() -> None:
    assert [DUMMY.lack("suspend", speed) is None for speed in ("full", "high", "super", None)] == [
        True,
        True,
        False,
        True,
    ]
    assert [USBIP.lack("suspend", speed) is None for speed in ("high", None)] == [False, False]


def test_every_ability_can_be_had_somewhere_or_is_explained() -> None:
    """Each is one that some kind lacks, and an ability that none has would be no reason to write a test."""
    for ability in ABILITIES:
        lacking = [kind.name for kind in KINDS.values() if kind.lack(ability) is not None]
        assert lacking, ability
        assert len(lacking) < len(KINDS) or ability in ("isochronous data", "FIFO status"), ability


def test_a_lack_of_something_unheard_of() -> None:
    with pytest.raises(ValueError, match="ability='warmth': there are full speed, super speed, suspend"):
        Lack("warmth", "", "")


@pytest.mark.parametrize(
    ("udc", "kind"), [("dummy_udc.3", DUMMY), ("usbip-vudc.0", USBIP), ("fe980000.usb", None), ("dummy", None)]
)
def test_the_kind_of_a_controller(udc: str, kind: ControllerKind | None) -> None:
    assert kind_of(udc) is kind
