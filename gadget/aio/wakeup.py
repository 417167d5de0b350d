"""What one task waits for, without a round of the event loop when it comes."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Generator
from typing import Any

from gadget.errors import EndpointBusyError


class FutureLike:
    """The part of a future that a task needs (asyncio.isfuture): it waits, is cancelled and is woken.

    Who wakes it runs ``_step`` with this, in ``_variables``, if no other task is running: a Future would have the event
    loop go round once more, system call included, which is half of what a wake-up costs.
    """

    #: asyncio's mark of a future, and whether a task has just come to wait for it.
    _asyncio_future_blocking = False
    #: The loop of the task that waits, which finds it here where there is no get_loop() (asyncio's futures._get_loop).
    _loop: asyncio.AbstractEventLoop
    _cancelled = False
    _message: object = None
    _step: Callable[[Any], object] | None = None
    _variables: contextvars.Context | None = None

    def add_done_callback(
        self, callback: Callable[[Any], object], *, context: contextvars.Context | None = None
    ) -> None:
        """Called by the task that waits: this is how it goes on."""
        self._step, self._variables = callback, context

    def cancel(self, msg: object = None) -> bool:
        """Called when the task that waits is cancelled; it is told in the next round of the loop, as by any future."""
        if self._step is None or self._cancelled:
            return False
        self._cancelled, self._message = True, msg
        self._loop.call_soon(self._step, self, context=self._variables)
        return True

    def result(self) -> None:
        """Called by the task when it goes on."""
        if self._cancelled:
            raise asyncio.CancelledError() if self._message is None else asyncio.CancelledError(self._message)


class Wakeup(FutureLike):
    """To be awaited: lets one task wait until :meth:`notify` is called; a second task is an error, not a queue.

    It can be waited for again and again.

    Attributes:
        waiting: Whether a task waits for it.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self.waiting = False

    def notify(self) -> None:
        """Wakes the task that waits, if one does: at once, where no other task is running."""
        step, variables = self._step, self._variables
        if step is None or self._cancelled:
            return
        self._step = None
        if variables is None or asyncio.current_task(self._loop) is not None:
            self._loop.call_soon(step, self, context=variables)
        else:
            variables.run(step, self)

    def __await__(self) -> Generator[Wakeup, None, None]:
        if self.waiting:
            raise EndpointBusyError(f"{self._what}: another task is already waiting for it")
        self._loop = asyncio.get_running_loop()
        self.waiting = self._asyncio_future_blocking = True
        try:
            yield self
        finally:
            self.waiting = self._cancelled = False
            self._step = None
