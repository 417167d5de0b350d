"""The standard streams as they were before pytest captured them: the guest's output and terminal are theirs."""

from __future__ import annotations

import os

_kept: dict[int, int] = {}


def keep() -> None:
    """Keeps standard input, output and error; to be called before pytest starts to capture."""
    for descriptor in (0, 1, 2):
        if descriptor not in _kept:
            try:
                _kept[descriptor] = os.dup(descriptor)
            except OSError:  # It is closed, as daemons have it.
                _kept[descriptor] = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)


def before_capture(descriptor: int) -> int:
    """What ``descriptor`` was when :func:`keep` was called."""
    return _kept.get(descriptor, descriptor)
