"""Waiting for a condition instead of for a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from gadget.errors import GadgetError

T = TypeVar("T")

#: Seconds that anything may take that should take no time: under emulation, on a machine shared with others.
PATIENCE = 60.0


class StillWaitingError(GadgetError, TimeoutError):
    """A condition did not become true in time."""


def wait_for(condition: Callable[[], T], what: str, timeout: float = PATIENCE) -> T:
    """Waits until a condition is true, and returns what it returned.

    Args:
        condition: Called again and again; true ends it.
        what: What is waited for, for the error.
        timeout: Seconds.

    Raises:
        StillWaitingError: It was not true in time.
    """
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise StillWaitingError(f"waited {timeout:g} s for {what}")
        threading.Event().wait(0.005)
    return value
