"""Runs the handlers of control requests, one at a time."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any

from gadget.aio import Wakeup
from gadget.errors import Stall
from gadget.functionfs.handlers import Handler
from gadget.protocol.constants import Direction
from gadget.protocol.functionfs_format import Setup

log = logging.getLogger("gadget")

#: What is sent to the host has a bmRequestType of at least this.
DIRECTION_IN = int(Direction.IN)

#: How long a handler that was cancelled may take to end before it is complained about, in seconds.
PATIENCE = 5.0

NOT_BEGUN = object()


class HandlerTask:
    """A task that outlives the handlers that it runs: to make one for each costs more than most of them do.

    A handler that never waits for anything does not even wake it: it runs within :meth:`start`, in the task's name and
    context, as the event loop would run it (asyncio's ``_enter_task``, which is there for other implementations of
    tasks). One that waits is left to the task with what it waits for.

    Args:
        ended: Called with what a handler returned, None if it refused; it may start the next one. What it raises comes
            out of ``failed``.
        failed: Called with that.
    """

    def __init__(self, ended: Callable[[bytes | None], None], failed: Callable[[BaseException], None]) -> None:
        self._ended = ended
        self._failed = failed
        self._task: asyncio.Task[None] | None = None
        self._inbox = _Inbox()
        self._left: set[asyncio.Task[None]] = set()
        self.busy = False

    def start(self, handler: Handler, setup: Setup, data: bytes) -> None:
        """Runs a handler; the one before has ended or was abandoned."""
        if asyncio.current_task() is not None:  # one at a time
            self._leave(_Job(setup, call(handler, setup, data)))
            return
        ended, answer = self.attempt(handler, setup, data)
        if ended:
            self._end(answer)

    def attempt(self, handler: Handler, setup: Setup, data: bytes) -> tuple[bool, bytes | None]:
        """Runs a handler, where no task is running; says whether it has ended at once, and with what.

        If so, nobody else is told.
        """
        task, called = self._task, call(handler, setup, data)
        if task is None or task.done() or not self._inbox.watched:
            self._leave(_Job(setup, called))
            return False, None
        loop = self._loop
        asyncio._enter_task(loop, task)
        try:
            waits_for = self._context.run(called.send, None)
        except StopIteration as end:
            return True, concluded(setup, end.value)
        except (Exception, asyncio.CancelledError) as error:  # cancelled: that was its own doing
            report(setup, error)
            return True, None
        finally:
            asyncio._leave_task(loop, task)
        self._leave(_Job(setup, called, waits_for))
        return False, None

    def _leave(self, job: _Job) -> None:
        if self._task is None or self._task.done():  # done: a handler has cancelled the task itself, and ended
            self.prepare()
        self._inbox.job, self.busy = job, True
        self._inbox.wakeup.notify()

    def _end(self, answer: bytes | None) -> None:
        self.busy = False
        try:
            self._ended(answer)
        except Exception as error:
            self._failed(error)

    def prepare(self) -> asyncio.Task[None]:
        """Starts the task, so that it is there for the first handler."""
        self._loop, self._context = asyncio.get_running_loop(), contextvars.copy_context()
        self._inbox = _Inbox()  # the one before is known to a task that was abandoned
        self._task = self._loop.create_task(self._serve(self._inbox), context=self._context)
        return self._task

    async def _serve(self, inbox: _Inbox) -> None:
        task = asyncio.current_task()
        assert task is not None
        while True:
            job = await inbox.take()
            try:
                answer = await job
            except asyncio.CancelledError:
                if task.cancelling():
                    raise
                answer = None  # the handler's own doing: it refuses
            if task is not self._task:
                return  # it was abandoned, and has ended all the same
            self._end(answer)

    def abandon(self) -> None:
        """Cancels the handler that runs; one that takes its time to end holds nothing up."""
        if self._task is not None:
            self._task.cancel()
            self._left.add(self._task)
            self._task.add_done_callback(self._left.discard)
            self._inbox.drop()
        self._task, self.busy = None, False

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


def call(handler: Handler, setup: Setup, data: bytes) -> Coroutine[Any, Any, bytes | None]:
    """Calls it as the direction of the request wants it; it begins when it is awaited."""
    return handler(setup) if setup.request_type >= DIRECTION_IN else handler(setup, memoryview(data))


def concluded(setup: Setup, answer: bytes | None) -> bytes | None:
    """What a handler has to say: its answer, b"" from one that has nothing to return, or None if that is none."""
    if setup.request_type < DIRECTION_IN:
        return b""
    try:
        if answer is None:
            raise TypeError("it returned None; what it returns is the answer, as bytes")
        return answer if type(answer) is bytes else bytes(memoryview(answer))
    except Exception as error:
        report(setup, error)
        return None


def report(setup: Setup, error: BaseException) -> None:
    """Says that a handler has raised this, unless it meant to refuse; the host hears the same."""
    if not isinstance(error, Stall | asyncio.CancelledError):
        late = setup.direction == Direction.OUT and setup.length > 0
        outcome = "too late to refuse its data" if late else "the request is stalled"
        log.error("the handler of %s failed, %s", setup, outcome, exc_info=error)


class _Job:
    """A handler to be awaited: one that nobody has begun, or one that has begun and waits for something.

    What it returns then is its answer, or None.
    """

    def __init__(
        self, setup: Setup, coroutine: Coroutine[Any, Any, bytes | None], waits_for: object = NOT_BEGUN
    ) -> None:
        self._setup, self._coroutine, self._waits_for = setup, coroutine, waits_for
        self._interruption: BaseException | None = None

    @property
    def begun(self) -> bool:
        return self._waits_for is not NOT_BEGUN

    def interrupt(self, error: BaseException) -> None:
        """Raises this where it waits, instead of waiting."""
        self._interruption = error

    def drop(self) -> None:
        """It is never to begin."""
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, bytes | None]:
        go_on: Callable[[], object] = partial(self._coroutine.send, None)
        try:
            while True:
                if self.begun:
                    go_on = yield from self._wait()
                self._waits_for = go_on()
        except StopIteration as end:
            return concluded(self._setup, end.value)
        except Exception as error:
            report(self._setup, error)
            return None

    def _wait(self) -> Generator[Any, Any, Callable[[], object]]:
        """Waits in its place; returns what makes it go on."""
        try:
            if self._interruption is not None:
                error, self._interruption = self._interruption, None
                raise error
            sent = yield self._waits_for
        except BaseException as error:
            return partial(self._coroutine.throw, error)
        return partial(self._coroutine.send, sent)


class _Inbox:
    """Where a task finds its next handler."""

    def __init__(self) -> None:
        self.wakeup = Wakeup("ep0")
        self.job: _Job | None = None
        self.watched = False

    async def take(self) -> _Job:
        """Waits for the next one; a cancellation that finds one begun is meant for that, and is given to it."""
        while self.job is None:
            self.watched = True
            try:
                await self.wakeup
            except asyncio.CancelledError as error:
                if self.job is None or not self.job.begun:
                    raise
                self.job.interrupt(error)
        self.watched = False
        job, self.job = self.job, None
        return job

    def drop(self) -> None:
        """Its task was cancelled: what nobody has begun never begins."""
        if self.job is not None and not self.job.begun:
            self.job.drop()
            self.job = None
