"""The program itself fails, with transfers in flight both ways: a handler, or ``run``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from gadget import GadgetError
from gadget.testing import ServedGadget
from gadget.testing.usbfs import ControlRequest
from tests.conftest import Soak
from tests.usb.standing import Before
from tests.usb.sturdy import Sturdy, sturdy_gadget
from tests.usb.traffic import Traffic, echoes

pytestmark = pytest.mark.usb(controller=["dummy_hcd", "usbip-vudc"])


@pytest.fixture
def sturdy() -> Sturdy:
    return Sturdy()


@pytest.fixture
def served(serve: Callable[..., ServedGadget], sturdy: Sturdy) -> ServedGadget:
    return serve(sturdy_gadget(sturdy))


def test_a_handler_raises(served: ServedGadget, soak: Soak, caplog: pytest.LogCaptureFixture) -> None:
    """The request is stalled, and the data goes on as if nothing had happened."""
    source = soak.random()
    before = Before(served, source)
    count = soak.count(5, 1000)
    with Traffic(served, source) as traffic:
        for _ in range(count):
            traffic.wait_flowing(1)
            with pytest.raises(BrokenPipeError):
                traffic.ask(ControlRequest(0xC1, 8, length=4))
        traffic.wait_flowing()
        assert not traffic.ended
    before.check()
    assert caplog.text.count("ZeroDivisionError: on purpose") == count


@pytest.mark.parametrize("error", [ZeroDivisionError("on purpose"), asyncio.CancelledError(), SystemExit(3)], ids=repr)
def test_run_raises(served: ServedGadget, sturdy: Sturdy, soak: Soak, error: BaseException) -> None:
    """The gadget goes down with that error, at once and altogether, and the host sees the device go."""
    with Traffic(served, soak.random()) as traffic:
        traffic.wait_flowing()
        traffic.expect_a_break()
        sturdy.sabotage = error
        served.wait_over()
        traffic.wait_ended()
    assert served.controller.sysfs.holder is None
    assert not served.tree.exists()
    with pytest.raises((GadgetError, ZeroDivisionError, SystemExit)) as caught:
        served.stop()
    assert error in (caught.value, caught.value.__cause__)


def test_run_returns(served: ServedGadget, sturdy: Sturdy, soak: Soak) -> None:
    """That is its right: the device stays, control requests are answered, and the next generation runs it again."""
    source = soak.random()
    before = Before(served, source)
    with Traffic(served, source) as traffic:
        traffic.wait_flowing()
        traffic.expect_a_break()
        sturdy.returning = True
        traffic.wait_still()
        assert traffic.ask(ControlRequest(0xC1, 1, length=4)) == b"\xa5" * 4
        sturdy.returning = False
    served.device.reset()
    served.wait_generation(2)
    before.check()
    echoes(served, source)
