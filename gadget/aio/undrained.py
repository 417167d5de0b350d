"""What outlives its user, since the kernel has its buffers; and what a forked child has to forget."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class HasOperations(Protocol):
    """A context or a batch: it has operations in flight, and can be closed."""

    @property
    def in_flight(self) -> int: ...  # noqa: D102
    def close(self, timeout: float = 2.0) -> None: ...  # noqa: D102
    def _forget_in_child(self) -> None: ...


#: The kernel may still write to the buffers of these, so they live on.
_undrained: set[HasOperations] = set()
_live: weakref.WeakSet[HasOperations] = weakref.WeakSet()


def undrained() -> tuple[HasOperations, ...]:
    """The contexts and batches of this process that could not be drained: the kernel may still write to their buffers.

    Closing one again takes it off, once the kernel has given everything back.
    """
    return tuple(_undrained)


def opened(owner: HasOperations) -> None:
    """Has it forgotten in forked children: they have none of this, only stale handles of their parent's."""
    _live.add(owner)


def keep(owner: HasOperations) -> None:
    """It lives on, with its buffers."""
    _undrained.add(owner)


def let_go(owner: HasOperations) -> None:
    """The kernel has given everything back."""
    _undrained.discard(owner)


def is_kept(owner: HasOperations) -> bool:
    """Whether it lives on without a user."""
    return owner in _undrained


def _forget_in_children() -> None:
    for owner in list(_live):
        owner._forget_in_child()
    _undrained.clear()


os.register_at_fork(after_in_child=_forget_in_children)
