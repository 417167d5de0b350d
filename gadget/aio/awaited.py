"""An operation whose end one task waits for."""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from gadget.aio.operation import Flight

if TYPE_CHECKING:
    from gadget.aio.starting import Starting
    from gadget.aio.table import Table


def checked(result: int) -> int:
    """The kernel's ``res``, if it is a count.

    Raises:
        OSError: It is the negative errno that an operation has ended with.
    """
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


class Awaited(Flight):
    """An operation in flight, to be awaited by one task.

    To that task it is a future, as far as a task needs one (asyncio.isfuture). If the task is cancelled, the kernel is
    asked for the operation back. The slot and the buffers stay with the kernel until it has answered: the context holds
    this, and this holds them.

    Args:
        owner: Where it is in flight.
        held: What has to live until it has ended.
        operation: What is told how it ended, if it is one that can be started again.
    """

    #: asyncio's mark of a future, and whether a task has just come to wait for it.
    _asyncio_future_blocking = False
    #: The loop of the task that waits, which finds it here where there is no get_loop() (asyncio's futures._get_loop).
    _loop: asyncio.AbstractEventLoop
    _cancelled = False
    _message: object = None
    _step: Callable[[Any], object] | None = None
    _variables: contextvars.Context | None = None

    def __init__(self, owner: Starting, held: object, operation: Flight | None) -> None:
        self._owner, self._held, self._operation = owner, held, operation
        self._loop = owner._loop
        self._ended: int | None = None

    def __await__(self) -> Generator[Awaited, None, int]:
        if self._ended is None:
            self._asyncio_future_blocking = True
            yield self
        assert self._ended is not None
        return checked(self._ended)

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
        if self._context is not None and not self._context.closed:
            self._owner.context.cancel(self)
        return True

    def result(self) -> None:
        """Called by the task when it goes on."""
        if self._cancelled:
            raise asyncio.CancelledError() if self._message is None else asyncio.CancelledError(self._message)

    def _begin(self, context: Table, ticket: int) -> None:
        super()._begin(context, ticket)
        if self._operation is not None:
            self._operation._begin(context, ticket)

    def _finish(self, result: int, result2: int) -> None:
        self._ended, self._held, self._context = result, None, None
        if self._operation is not None:
            self._operation._finish(result, result2)

    @staticmethod
    def callback(awaited: Awaited) -> None:
        """Called by the context: the task goes on, here, if the loop has called and not a task."""
        owner, step, variables = awaited._owner, awaited._step, awaited._variables
        if awaited._operation is not None:
            awaited._operation._tell()
        if owner._waiting:
            owner._wake_waiting()
        if step is None or awaited._cancelled:
            return
        awaited._step = None
        if variables is None or not owner._may_run:
            awaited._loop.call_soon(step, awaited, context=variables)
            return
        owner._may_run = False
        try:
            variables.run(step, awaited)
        finally:
            owner._may_run = True
