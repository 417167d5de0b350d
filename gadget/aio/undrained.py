"""What outlives its user, since the kernel has its buffers; and what a forked child has to forget."""

from __future__ import annotations

import os
import threading
import warnings
import weakref
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, Final, Self


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
        # Never wait in a finaliser for what is in flight: io_destroy sleeps over that where no signal wakes it. Nor for
        # many, since it sleeps in any case until all processors have passed by (fs/aio.c, RCU), some 30 ms: what was in
        # use is left to sweep(). That comes before the warning, which may be an error here: the buffers of what is in
        # flight have to live on.
        self._ask_back()
        if not self.in_flight and self._give_up():
            self._forget()
        else:
            _undrained.add(self)
            _dropped[self] = False
        warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)


#: The kernel may still write to the buffers of these, so they live on.
_undrained: set[Owner] = set()
#: Those of them that nobody has closed, and whether :func:`undrained` has told of them, so that somebody may.
_dropped: dict[Owner, bool] = {}
#: How many of them are closed when another one is opened.
AT_ONCE: Final = 2
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
    """Closes some that were dropped, if the kernel has given everything back, and nobody has them from above.

    More than one each time, so that they become fewer, and not many, since each takes a while.
    """
    if not _dropped:
        return
    with _sweeping:
        buried = 0
        for owner in list(_dropped):  # which allocates nothing that the collector, and so a finaliser, would come for
            if buried < AT_ONCE and not _dropped.get(owner, True):
                buried += _bury(owner)


def _bury(owner: Owner) -> bool:
    if owner._pointer is None or not owner._give_up():
        return False
    owner._forget()
    let_go(owner)
    return True


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
