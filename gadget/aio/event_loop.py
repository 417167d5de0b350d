"""AIO under asyncio: the eventfd wakes the loop, one reap completes what is done.

Nothing else in ``gadget.aio`` knows asyncio.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import Callable, Generator
from types import TracebackType
from typing import TYPE_CHECKING

from gadget.aio.context import Context
from gadget.aio.operation import File, Operation
from gadget.errors import ClosedError, EndpointBusyError

if TYPE_CHECKING:
    from gadget.aio.splice import RunningSplice


class Wakeup:
    """To be awaited: lets one task wait until :meth:`notify` is called; a second task is an error, not a queue.

    The task goes on within :meth:`notify` where no other task is running, as it does for a completion: a Future would
    have the event loop go round once more, system call included, which is half of what a wake-up costs. This is why the
    class is a future by itself, of the kind that asyncio takes from other libraries (asyncio.isfuture): it waits, is
    cancelled and is woken, and can wait again.
    """

    #: asyncio's mark of a future (asyncio.isfuture), and whether a task has just come to wait for it.
    _asyncio_future_blocking = False

    def __init__(self, what: str) -> None:
        self._what = what
        self._loop: asyncio.AbstractEventLoop
        self._waiting = self._cancelled = False
        self._wake: Callable[[Wakeup], object] | None = None
        self._context: contextvars.Context | None = None

    def notify(self) -> None:
        """Wakes the task that waits, if one does."""
        wake, context = self._wake, self._context
        if wake is None or self._cancelled:
            return
        self._wake = None
        if context is None or asyncio.current_task(self._loop) is not None:
            self._loop.call_soon(wake, self, context=context)
        else:
            context.run(wake, self)

    def __await__(self) -> Generator[Wakeup, None, None]:
        if self._waiting:
            raise EndpointBusyError(f"{self._what}: another task is already waiting for it")
        self._loop = asyncio.get_running_loop()
        self._waiting = self._asyncio_future_blocking = True
        try:
            yield self
        finally:
            self._waiting = self._cancelled = False
            self._wake = None

    @property
    def waiting(self) -> bool:
        """Whether a task waits for it."""
        return self._waiting

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop of the task that waits."""
        return self._loop

    def add_done_callback(
        self, callback: Callable[[Wakeup], object], *, context: contextvars.Context | None = None
    ) -> None:
        """Called by the task that waits: this is how it goes on."""
        self._wake, self._context = callback, context

    def cancel(self, msg: object = None) -> bool:
        """Called when the task that waits is cancelled; it is told in the next round of the loop, as by any future."""
        if self._wake is None or self._cancelled:
            return False
        self._cancelled = True
        self._loop.call_soon(self._wake, self, context=self._context)
        return True

    def result(self) -> None:
        """Called by the task when it goes on."""
        if self._cancelled:
            raise asyncio.CancelledError


class AsyncContext:
    """A :class:`~gadget.aio.context.Context` whose operations are awaited.

    Slots are the back-pressure: an operation waits for one, in the order of asking. Cancelling a task asks the
    kernel for its operation back; the slot and the buffer stay with the kernel until it has answered.

    Args:
        slots: Operations in flight at once, the pieces of streams included.
    """

    def __init__(self, slots: int = 256) -> None:
        self._loop = asyncio.get_running_loop()
        self.context = Context(slots)
        self._slot = asyncio.Semaphore(slots)
        self._freed = asyncio.Event()
        self._submitting = False
        self._abandoned: list[RunningSplice] = []
        self._loop.add_reader(self.context.fileno(), self._reap)

    def _reap(self) -> None:
        self.context.reap()
        if self._abandoned:
            self._bury()

    def _abandon(self, splice: RunningSplice) -> None:
        """Its user does not wait for its thread: what that leaves in flight is heard when it has ended."""
        self._abandoned.append(splice)

    def _bury(self) -> None:
        for splice in [splice for splice in self._abandoned if splice.close()]:
            self._abandoned.remove(splice)
            self._give_eventfd(splice.eventfd)

    def _take_eventfd(self) -> int:
        """For the completions of a splice, which the loop does not hear of."""
        eventfd = self.context._take_eventfd()
        self._loop.remove_reader(eventfd)
        return eventfd

    def _give_eventfd(self, eventfd: int) -> None:
        """The splice has ended, and the loop hears of what it has left in flight."""
        self.context._give_eventfd(eventfd)
        if not self.context.closed:
            self._loop.add_reader(eventfd, self._reap_rung, eventfd)

    def _reap_rung(self, eventfd: int) -> None:
        self.context._reap(eventfd)

    async def read(self, file: File, buffer: object, offset: int = 0, *, flags: int = 0) -> int:
        """Reads at ``offset`` into a writable buffer; returns the bytes read, 0 at the end of the file."""
        return await self._run(lambda: self.context.read(file, buffer, offset, flags=flags))

    async def write(self, file: File, buffer: object, offset: int = 0, *, flags: int = 0) -> int:
        """Writes the buffer at ``offset``; returns the bytes written."""
        return await self._run(lambda: self.context.write(file, buffer, offset, flags=flags))

    async def fsync(self, file: File) -> None:
        """Waits until the file's data and metadata are on the device."""
        await self._run(lambda: self.context.fsync(file))

    async def fdsync(self, file: File) -> None:
        """Waits until the file's data is on the device."""
        await self._run(lambda: self.context.fdsync(file))

    async def poll(self, file: File, events: int) -> int:
        """Waits for events of poll(2); returns the mask that came."""
        return await self._run(lambda: self.context.poll(file, events))

    async def _run(self, queue: Callable[[], Operation]) -> int:
        await self._slot.acquire()
        try:
            operation = await self._queued(queue)
        except BaseException:
            self._slot.release()
            raise
        future: asyncio.Future[None] = self._loop.create_future()
        operation.callback = lambda _: self._complete(future)
        self._submit_soon()
        try:
            await future
        except asyncio.CancelledError:
            self._take_back(operation)
            raise
        return operation.check()

    async def _queued(self, queue: Callable[[], Operation]) -> Operation:
        while True:
            try:
                return queue()
            except BlockingIOError:
                # Streams have the other slots of this context; without an operation in flight, they have all.
                if not self.context._pending:
                    raise
            self._freed.clear()
            await self._freed.wait()

    def _complete(self, future: asyncio.Future[None]) -> None:
        self._slot.release()
        self._freed.set()
        if not future.done():
            future.set_result(None)

    def _submit_soon(self) -> None:
        # One io_submit for all that the tasks of this round of the loop have asked for.
        if not self._submitting:
            self._submitting = True
            self._loop.call_soon(self._submit)

    def _submit(self) -> None:
        self._submitting = False
        if not self.context.closed:
            self.context.submit()

    def _take_back(self, operation: Operation) -> None:
        if not self.context.closed and not operation.done:
            self.context.cancel(operation)

    async def aclose(self, timeout: float = 2.0) -> None:
        """Cancels what is in flight and waits for it, at most ``timeout`` seconds. Idempotent.

        Raises:
            NotDrainedError: See :meth:`Context.close`.
        """
        try:
            for eventfd in (self.context.fileno(), *self.context._bells, *self.context._idle_eventfds):
                self._loop.remove_reader(eventfd)
        except ClosedError:
            return
        self.context.close(timeout)
        self._bury()

    async def __aenter__(self) -> AsyncContext:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


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
