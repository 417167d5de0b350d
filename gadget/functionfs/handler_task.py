"""Runs the handlers of control requests, one at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from gadget.aio import Wakeup
from gadget.errors import Stall
from gadget.functionfs.handlers import Handler
from gadget.protocol.constants import Direction
from gadget.protocol.functionfs_format import Setup

log = logging.getLogger("gadget")

#: How long a handler that was cancelled may take to end before it is complained about, in seconds.
PATIENCE = 5.0


class HandlerTask:
    """A task that outlives the handlers that it runs: to make one for each costs more than most of them do.

    A handler that never waits for anything has ended when :meth:`start` returns, if no other task is running then.

    Args:
        ended: Called with what a handler returned, None if it refused; it may start the next one. What it raises comes
            out of ``failed``.
        failed: Called with that.
    """

    def __init__(self, ended: Callable[[bytes | None], None], failed: Callable[[BaseException], None]) -> None:
        self._ended = ended
        self._failed = failed
        self._work = Wakeup("ep0")
        self._job: tuple[Handler, Setup, bytes] | None = None
        self._task: asyncio.Task[None] | None = None
        self._left: set[asyncio.Task[None]] = set()
        self.busy = False

    def start(self, handler: Handler, setup: Setup, data: bytes) -> None:
        """Runs a handler; the one before has ended or was abandoned."""
        self._job, self.busy = (handler, setup, data), True
        if self._task is None:
            self.prepare()
        self._work.notify()

    def prepare(self) -> None:
        """Starts the task, so that it is there for the first handler."""
        self._work = Wakeup("ep0")  # the one before may still be known to a task that was abandoned
        self._task = asyncio.create_task(self._serve())

    async def _serve(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        while True:
            while self._job is None:
                await self._work
            (handler, setup, data), self._job = self._job, None
            try:
                answer = await call(handler, setup, data)
            except asyncio.CancelledError:
                if task.cancelling():
                    raise
                answer = None  # the handler's own doing: it refuses
            if task is not self._task:
                return  # it was abandoned, and has ended all the same
            self.busy = False
            try:
                self._ended(answer)
            except Exception as error:
                self._failed(error)

    def abandon(self) -> None:
        """Cancels the handler that runs; one that takes its time to end holds nothing up."""
        if self._task is not None:
            self._task.cancel()
            self._left.add(self._task)
            self._task.add_done_callback(self._left.discard)
        self._task, self._job, self.busy = None, None, False

    async def stop(self, what: object) -> None:
        """Cancels the handler that runs, and waits until it has ended; nobody is told what it returns.

        Args:
            what: Whose handler it is, for the complaint if that takes long.
        """
        task, busy = self._task, self.busy
        if task is None or not busy:
            return
        self.abandon()
        while not (await asyncio.wait({task}, timeout=PATIENCE))[0]:
            log.warning("the handler of %s does not end when cancelled", what)
            task.cancel()

    async def close(self) -> None:
        """Ends the task, and waits for the handlers that were abandoned: they may use what is taken down next."""
        self.abandon()
        if self._left:
            _, left = await asyncio.wait(self._left, timeout=PATIENCE)
            for task in left:
                log.warning("a handler does not end when cancelled, and was left running: %r", task)


async def call(handler: Handler, setup: Setup, data: bytes) -> bytes | None:
    """The handler's answer, b"" from one that has nothing to return, or None when it refuses or fails."""
    try:
        if setup.direction == Direction.OUT:
            await handler(setup, memoryview(data))
            return b""
        answer = await handler(setup)
        if answer is None:
            raise TypeError("it returned None; what it returns is the answer, as bytes")
        return answer if type(answer) is bytes else bytes(memoryview(answer))
    except Stall:
        return None
    except Exception:
        late = setup.direction == Direction.OUT and setup.length > 0
        outcome = "too late to refuse its data" if late else "the request is stalled"
        log.exception("the handler of %s failed, %s", setup, outcome)
        return None
