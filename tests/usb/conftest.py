"""The echo device, served, and its function: what most files of this tier use."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gadget.testing import ServedGadget
from tests.usb.devices import Echo, echo_gadget


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def served(serve: Callable[..., ServedGadget], echo: Echo) -> ServedGadget:
    return serve(echo_gadget(echo))
