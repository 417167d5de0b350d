"""What outlives its user, since the kernel has its buffers; and what a forked child has to forget."""

from __future__ import annotations

import os
import threading
import warnings
import weakref
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, Self


class Owner(ABC):
    """A context or a batch: it has operations in flight, and with them buffers, until it is closed."""

    #: The extension's part of it; None once that is closed.
    _pointer: Any

    @property
    @abstractmethod
    def in_flight(self) -> int:
        """How many operations the kernel has."""

    @abstractmethod
    def close(self, timeout: float | None = 2.0) -> None:
        """Takes back what is in flight, and lets go of the buffers."""

    @abstractmethod
    def _ask_back(self) -> None:
        """Asks the kernel for everything back, without waiting."""

    @abstractmethod
    def _give_up(self) -> bool:
        """Closes the extension's part, without waiting: False if the kernel has operations still."""

    @abstractmethod
    def _forget(self) -> None:
        """The extension's part is closed."""

    def _forget_in_child(self) -> None:
        self._forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_pointer", None) is None or is_kept(self):
            return
        # Never wait in a finaliser: io_destroy with operations in flight sleeps where no signal wakes it. And before
        # the warning, which may be an error here: the buffers of what is in flight have to live on.
        self._ask_back()
        if self._give_up():
            self._forget()
        else:
            _undrained.add(self)
            _dropped[self] = False
        warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)


#: The kernel may still write to the buffers of these, so they live on.
_undrained: set[Owner] = set()
#: Those of them that nobody has closed, and whether :func:`undrained` has told of them, so that somebody may.
_dropped: dict[Owner, bool] = {}
_sweeping = threading.RLock()
_live: weakref.WeakSet[Owner] = weakref.WeakSet()


def undrained() -> tuple[Owner, ...]:
    """The contexts and batches of this process that could not be drained: the kernel may still write to their buffers.

    Closing one again takes it off, once the kernel has given everything back. One that was dropped goes by itself then:
    this looks for it, and so does the next one that is opened. It is for one thread at a time.
    """
    with _sweeping:
        for owner in list(_dropped):
            _bury(owner)
        kept = tuple(_undrained)
        for owner in kept:
            if owner in _dropped:
                _dropped[owner] = True
        return kept


def sweep() -> None:
    """Closes those that were dropped, if the kernel has given everything back, and nobody has them from above."""
    if not _dropped or not _sweeping.acquire(blocking=False):
        return
    try:
        for owner in list(_dropped):
            if not _dropped.get(owner, True):
                _bury(owner)
    finally:
        _sweeping.release()


def _bury(owner: Owner) -> None:
    if owner._pointer is not None and owner._give_up():
        owner._forget()
        let_go(owner)


def opened(owner: Owner) -> None:
    """Has it forgotten in forked children: they have none of this, only stale handles of their parent's."""
    _live.add(owner)


def keep(owner: Owner) -> None:
    """It lives on, with its buffers."""
    _undrained.add(owner)


def let_go(owner: Owner) -> None:
    """The kernel has given everything back."""
    _undrained.discard(owner)
    _dropped.pop(owner, None)


def is_kept(owner: Owner) -> bool:
    """Whether it lives on without a user."""
    return owner in _undrained


def _forget_in_children() -> None:
    global _sweeping
    _sweeping = threading.RLock()
    # What was dropped in a cycle is not among the living any more: the collector has cleared its weak references.
    for owner in {*_live, *_undrained}:
        owner._forget_in_child()
    _undrained.clear()
    _dropped.clear()


os.register_at_fork(after_in_child=_forget_in_children)
