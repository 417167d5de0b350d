"""The gadget's program may run on another loop of asyncio's kind."""

from __future__ import annotations

import random
import signal
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import usb.core

from gadget.testing import Faults, ServedChild, wait_for
from gadget.testing.waiting import PATIENCE
from tests.usb.traffic import echoes

pytestmark = [
    pytest.mark.usb(controller=["dummy_hcd", "usbip-vudc"]),
    pytest.mark.skipif(find_spec("uvloop") is None, reason="there is no uvloop for this Python"),
]


@pytest.fixture
def served(serve: Callable[..., ServedChild]) -> ServedChild:
    return serve([sys.executable, Path(__file__).with_name("on_uvloop.py"), "{udc}"])


def test_data_requests_and_a_new_generation(served: ServedChild, faults: Faults) -> None:
    source = random.Random(1)
    wait_for(lambda: "configured on uvloop" in served.output, "uvloop to be told")
    for _ in range(3):
        assert echoes(served, source) == []
        with served.pyusb() as device:
            assert device.ctrl_transfer(0x41, 2, 0, 0, b"mode") == 4
            assert bytes(device.ctrl_transfer(0xC1, 3, 0, 0, 8)) == b"mode"
            with pytest.raises(usb.core.USBError):
                device.ctrl_transfer(0x41, 4, 1, 0, b"")
        faults.reset()


def test_it_is_told_to_end(served: ServedChild) -> None:
    assert served.end(signal.SIGTERM) < PATIENCE
