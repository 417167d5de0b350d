from __future__ import annotations

import pytest

from gadget import UsageError
from gadget.testing.controllers import BenchController, DummyConnection
from gadget.testing.faults import Faults
from gadget.testing.served import Served


class Nothing(Served):
    """Nobody looks at it: these tests are about which faults are played."""

    def _begin(self) -> None:
        pass

    def _end(self) -> None:
        pass


@pytest.fixture
def faults() -> Faults:
    return Faults(Nothing(BenchController("dummy_udc.0", DummyConnection("dummy_udc.0")), "nothing"))


def played(faults: Faults, count: int, seed: int | None) -> list[str]:
    done: list[str] = []
    steps = [lambda name=name: done.append(name) for name in "abc"]
    faults.play(*steps, count=count, seed=seed)
    return done


def test_in_turn(faults: Faults) -> None:
    assert played(faults, 2, None) == ["a", "b", "c", "a", "b", "c"]


def test_the_same_seed_draws_the_same_ones(faults: Faults) -> None:
    drawn = played(faults, 20, 7)
    assert len(drawn) == 20
    assert drawn == played(faults, 20, 7)
    assert drawn != played(faults, 20, 8)
    assert set(drawn) == set("abc")


def test_looks_after_each(faults: Faults) -> None:
    looks: list[int] = []
    faults.play(lambda: None, count=3, after_each=lambda: looks.append(1))
    assert looks == [1, 1, 1]


@pytest.mark.parametrize("name", ["explode", "_cable", "history"])
def test_a_fault_that_there_is_not(faults: Faults, name: str) -> None:
    with pytest.raises(UsageError, match=f"there is no fault '{name}'; there are reset"):
        faults.play(name)


def test_without_a_cable_there_is_nothing_to_tamper_with(faults: Faults) -> None:
    with pytest.raises(UsageError, match=r"dummy_udc\.0 has no cable .*usb\(controller='usbip-vudc'\)"):
        faults.stall(0x81)


def test_what_the_cable_does_not_carry_is_refused() -> None:
    from gadget.testing.usbip.cable import Cable

    with Cable("usbip-vudc.0") as cable:
        on_cable = Faults(Nothing(BenchController(cable.udc, cable), "nothing"))
        with pytest.raises(UsageError, match=r"usbip-vudc\.0 has no suspend: USB/IP does not carry it"):
            on_cable.suspend()
    assert on_cable.history == []


def test_what_runs_in_this_process_cannot_be_killed(faults: Faults) -> None:
    with pytest.raises(UsageError, match="child=True"):
        faults.kill()
