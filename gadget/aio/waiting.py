"""How threads sleep until operations have ended, whoever reaps them."""

from __future__ import annotations

import math
import os
import select
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from gadget.errors import UsageError

_LONGEST = 2**31 - 1


class Deadline:
    """When to give up.

    Attributes:
        timeout: As it was given.

    Args:
        timeout: Seconds from now; None for never.
    """

    def __init__(self, timeout: float | None) -> None:
        if timeout is not None and not timeout >= 0:
            raise UsageError(f"a time-out of {timeout} seconds: use 0 to look, None to wait without end")
        self.timeout = timeout
        self._end = None if timeout is None or timeout == math.inf else time.monotonic() + timeout

    @property
    def left(self) -> float | None:
        """Seconds, not negative; None for no end."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    @property
    def nanoseconds(self) -> int:
        """The same for the extension: -1 for no end."""
        return nanoseconds(self.left)


def nanoseconds(timeout: float | None) -> int:
    """Seconds, for the extension: -1 for no end. At most what a timespec has, which is 68 years where it has least."""
    return -1 if timeout is None else int(min(timeout, _LONGEST) * 1e9)


class Sleepers:
    """The threads that wait for operations of one context: what one of them reaps may be what another waits for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._awake: set[int] = set()
        #: The threads that sleep, by the eventfd of each: to look first whether there are any saves most calls.
        self.asleep: dict[int, int] = {}

    @contextmanager
    def one(self) -> Iterator[int]:
        """An eventfd that rings when another thread has reaped something, from now on."""
        eventfd = -1
        try:
            with self._lock:
                if not self._awake:
                    self._awake.add(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
                # In one of the two, or in both, wherever a signal's handler interrupts this.
                eventfd = next(iter(self._awake))
                self.asleep[eventfd] = threading.get_ident()
                self._awake.discard(eventfd)
            yield eventfd
        finally:
            if eventfd >= 0:
                with self._lock:
                    self._awake.add(eventfd)
                    self.asleep.pop(eventfd, None)

    def wake(self) -> None:
        """This thread has reaped something: the others look whether it was theirs."""
        if not self.asleep:
            return
        with self._lock:
            for eventfd, thread in self.asleep.items():
                if thread != threading.get_ident():
                    os.eventfd_write(eventfd, 1)

    def close(self) -> None:
        """Nobody waits any more."""
        while self._awake:
            os.close(self._awake.pop())


class Edges:
    """Eventfds that are somebody else's to read: heard when they ring, not while they are readable."""

    def __init__(self, eventfds: Iterable[int]) -> None:
        self._epoll = select.epoll() if (watched := set(eventfds)) else None
        for eventfd in watched:
            if self._epoll is not None:
                self._epoll.register(eventfd, select.EPOLLIN | select.EPOLLET)
        self.clear()

    @property
    def filenos(self) -> list[int]:
        """What to watch for reading."""
        return [self._epoll.fileno()] if self._epoll else []

    def clear(self) -> None:
        """What has rung until now is not heard any more."""
        if self._epoll:
            self._epoll.poll(0)

    def close(self) -> None:
        """Lets them alone."""
        if self._epoll:
            self._epoll.close()


def wait_readable(eventfds: Iterable[int], timeout: float | None) -> list[int]:
    """Sleeps until some are readable, at most ``timeout`` seconds; returns which. A signal does not cut it short.

    More than poll(2) can be told of (24 days) is cut short.
    """
    poll = select.poll()
    for eventfd in eventfds:
        poll.register(eventfd, select.POLLIN)
    # Rounded up: a time-out of less than a millisecond would make its caller spin.
    return [fd for fd, _ in poll.poll(None if timeout is None else -int(-min(timeout, _LONGEST // 1000) * 1000 // 1))]
