"""An eventfd that the event loop hears only while somebody waits for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gadget.aio.event_loop import AsyncContext


class Bell:
    """An eventfd for the completions of a stream, which the event loop hears only while a task waits for them.

    Most writes are waited for by nobody: what they ring would wake the loop for nothing.

    Args:
        context: That of the stream (:meth:`~gadget.aio.WriteStream.set_eventfd`).
        needed: Says whether a task waits.
    """

    def __init__(self, context: AsyncContext, needed: Callable[[], bool]) -> None:
        self.eventfd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._context, self._needed = context, needed
        self._is_heard = False

    def listen(self) -> None:
        """A task is about to wait. What has rung before is heard as well."""
        if not self._is_heard:
            self._context._loop.add_reader(self.eventfd, self._ring)
            self._is_heard = True

    def _ring(self) -> None:
        if self._context.context.closed:
            self._forget()
            return
        self._context.context._reap(self.eventfd)
        # A task that goes on may be waiting again already: then it is likely to do so time after time.
        if not self._needed():
            self._forget()

    def _forget(self) -> None:
        self._context._loop.remove_reader(self.eventfd)
        self._is_heard = False

    def close(self) -> None:
        """Gives the eventfd back; its stream is closed. Idempotent."""
        if self.eventfd >= 0:
            self._forget()
            os.close(self.eventfd)
            self.eventfd = -1
