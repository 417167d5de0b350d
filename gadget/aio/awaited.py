"""An operation whose end one task waits for."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TYPE_CHECKING

from gadget.aio.operation import Flight
from gadget.aio.wakeup import FutureLike

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


class Awaited(FutureLike, Flight):
    """An operation in flight, to be awaited by one task.

    If that task is cancelled, the kernel is asked for the operation back. The slot and the buffers stay with the kernel
    until it has answered: the context holds this, and this holds them.

    Args:
        owner: Where it is in flight.
        held: What has to live until it has ended.
        operation: What is told how it ended, if it is one that can be started again.
    """

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

    def cancel(self, msg: object = None) -> bool:
        """Called when the task that waits is cancelled."""
        if not super().cancel(msg):
            return False
        if self._context is not None and not self._context.closed:
            self._owner.context.cancel(self)
        return True

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
        # As FutureLike._wake: this is for each operation, and so a call less.
        awaited._step = None
        if variables is None or not owner._may_run:
            awaited._loop.call_soon(step, awaited, context=variables)
            return
        owner._may_run = False
        try:
            variables.run(step, awaited)
        finally:
            owner._may_run = True
