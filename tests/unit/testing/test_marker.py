from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gadget.testing.marker import Needs


def test_what_it_says_by_default() -> None:
    needs = Needs()
    assert (needs.speeds, needs.controllers, needs.modules) == ((), 1, ())


def test_one_or_several() -> None:
    assert Needs(speed="high").speeds == ("high",)
    assert Needs(speed=["full", "super"]).speeds == ("full", "super")
    assert Needs(module="driver").modules == (Path("driver"),)
    assert Needs(module=["a", Path("b")]).modules == (Path("a"), Path("b"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"speed": "low"}, "speed='low': there are full, high, super"),
        ({"controllers": 0}, "controllers=0"),
        ({"controller": "dwc2"}, "there are dummy_hcd, usbip-vudc"),
        ({"timeout": 0}, "timeout=0"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Needs(**arguments)
