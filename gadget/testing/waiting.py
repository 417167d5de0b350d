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
    begun = time.monotonic()
    deadline = begun + timeout
    while not (value := condition()):
        now = time.monotonic()
        if now > deadline:
            raise StillWaitingError(f"waited {timeout:g} s for {what}")
        # What is waited for may need the interpreter, too: half of the time is left to it.
        threading.Event().wait(max(0.005, now - begun))
        begun = time.monotonic()
    return value
