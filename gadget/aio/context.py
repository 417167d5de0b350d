"""A context of Linux AIO: operations in flight, each holding its buffer until the kernel gives it back.

Here are waiting, cancelling and closing; ``queueing`` starts operations, ``table`` submits and reaps them.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Collection, Iterable
from contextlib import closing, suppress

from gadget.aio._aio import lib
from gadget.aio.operation import Flight, Operation
from gadget.aio.queueing import Queueing
from gadget.aio.table import Report as Report, only_operations, raise_all
from gadget.aio.undrained import Owner, keep, let_go, opened, sweep, undrained
from gadget.aio.waiting import Deadline, Edges, Sleepers, wait_readable
from gadget.errors import ClosedError, NotDrainedError, UsageError

#: How often is looked for what was cancelled, in seconds, should nothing ring for it.
LOOK_AGAIN = 0.1


class Context(Queueing, Owner):
    """Operations in flight on any file descriptors, and one eventfd that rings when some are done.

    Threads may share it; only :meth:`close` needs it for itself. One at a time submits: while a file blocks that, the
    others wait, in :meth:`submit` and :meth:`run`.

    Args:
        slots: How many operations can be in flight at once. Counted here, so it is exact.

    Raises:
        KernelError: EAGAIN: the machine's limit, /proc/sys/fs/aio-max-nr, is reached.
    """

    def __init__(self, slots: int = 256) -> None:
        sweep()
        super().__init__(slots)
        #: Called before its eventfds are closed, if set: an event loop may still watch them.
        self._before_end: Callable[[], None] | None = None
        opened(self)

    def run(self, operation: Operation, offset: int | None = None) -> int:
        """Starts an operation, waits for its end, and returns its count: one call, where the data is there already.

        What else is in flight goes on, and is fetched as well.

        Args:
            operation: One that is not in flight.
            offset: Its new offset, in bytes; None leaves it as it is.

        Raises:
            OSError: It failed.
            BlockingIOError: No slot is free.
            UsageError: It is in flight already, or was released.
        """
        with self._lock:
            if self._startable is None:
                raise ClosedError("this AIO context is closed")
            self._claim((operation,))
        if offset is not None:
            operation.offset = offset
        if not self._called(operation):
            self.wait_all((operation,))
        return operation.check()

    def wait(self, timeout: float | None = None) -> list[Operation]:
        """Waits until something is done and fetches it; an empty list after ``timeout`` seconds.

        What is queued ends only when submitted, which this does not do, since that may block for itself. The list
        is also empty where only streams have changed. A signal does not cut it short unless its handler raises.
        """
        finished, streams = self._reap(self._eventfd)
        if finished or streams or timeout == 0:
            return only_operations(finished)
        return self._wait(Deadline(timeout))

    def _wait(self, deadline: Deadline) -> list[Operation]:
        with closing(Edges(self._own_eventfds(list(self._pending.values())))) as edges:
            while True:
                finished, streams = self._reap(self._eventfd)
                left = deadline.left
                # The eventfd may ring for what the reap before has fetched already, or another thread.
                if finished or streams or left == 0:
                    return only_operations(finished)
                self._wait_readable(left, edges)

    def wait_any(self, operations: Collection[Operation], timeout: float | None = None) -> list[Operation]:
        """Waits until one of these has ended, whichever thread fetches it; what else has ended is fetched as well.

        Returns:
            Those that have ended, in the order given: none of them after ``timeout`` seconds.

        Raises:
            UsageError: One was never started, or there is none and no time-out: this would not end.
        """
        if not operations and timeout is None:
            raise UsageError("a wait for one of no operations never ends: give it some, or a time-out")
        self._wait_until(lambda: any(operation.done for operation in operations), operations, timeout)
        return [operation for operation in operations if operation.done]

    def wait_all(self, operations: Collection[Operation], timeout: float | None = None) -> bool:
        """Waits until all of these have ended, at most ``timeout`` seconds; returns whether they have.

        Raises:
            UsageError: One was never started: this would not end.
        """
        return self._wait_until(lambda: all(operation.done for operation in operations), operations, timeout)

    def _wait_until(self, met: Callable[[], bool], operations: Collection[Operation], timeout: float | None) -> bool:
        deadline = Deadline(timeout)
        if any(operation._context not in (self, None) for operation in operations):
            raise UsageError("one of these operations is in flight in another context")
        if not all(operation.in_flight or operation.done for operation in operations):
            raise UsageError("one of these operations was not started: its end would never come")
        self.reap()
        if met() or deadline.left == 0:
            return met()
        with self._sleepers.one() as bell, closing(Edges(self._own_eventfds(operations))) as edges:
            while not met():
                self.reap()
                left = deadline.left
                if met() or left == 0:
                    break
                self._wait_readable(left, edges, bell)
        return met()

    def _own_eventfds(self, flights: Iterable[Flight]) -> list[int]:
        with self._lock:
            return [flight.eventfd for flight in flights if flight.eventfd >= 0]

    def _wait_readable(self, timeout: float | None, edges: Edges | None = None, *more: int) -> None:
        watched = (self.fileno(), *self._bells, *self._idle_eventfds, *more)
        for eventfd in wait_readable((*watched, *(edges.filenos if edges else ())), timeout):
            if eventfd in watched and eventfd != self._eventfd:
                with suppress(BlockingIOError):  # a stream that lingers may have read it, or another thread
                    os.eventfd_read(eventfd)
        if edges:
            edges.clear()

    def _take_eventfd(self) -> int:
        """An eventfd for the completions of a splice, instead of the context's own; see _splice.c."""
        context = self._open()
        for eventfd in self._idle_eventfds:
            # What an earlier splice has left in flight is not for the thread of this one to hear.
            if not lib.kaio_eventfd_in_use(context, eventfd):
                self._idle_eventfds.remove(eventfd)
                return eventfd
        return os.eventfd(0, os.EFD_CLOEXEC)

    def _give_eventfd(self, eventfd: int) -> None:
        """The splice has ended. Its eventfd is watched from now on, and kept for the next splice."""
        if self.closed:
            os.close(eventfd)
        else:
            self._idle_eventfds.append(eventfd)

    def cancel(self, operation: Flight) -> bool:
        """Asks for an operation back. Its completion still comes, usually with ECANCELED or the bytes so far.

        What was not submitted yet never reaches the kernel.

        Returns:
            Whether that was agreed to. The kernel does not give reads and writes of regular files back.

        Raises:
            UsageError: It is in flight in another context.
        """
        pointer = self._open()
        if operation._context not in (self, None):
            raise UsageError("this operation is in flight in another context")
        return operation.in_flight and lib.kaio_cancel(pointer, operation.ticket) == 0

    def cancel_all(self) -> int:
        """Asks for everything back, streams included; returns for how many operations that was agreed to."""
        return lib.kaio_cancel_all(self._open())

    def close(self, timeout: float | None = 2.0) -> None:
        """Cancels what is in flight, waits for its completions and gives the context back. Idempotent.

        None waits for as long as it takes. Its streams end with it. What callbacks raise meanwhile is raised then.

        Raises:
            NotDrainedError: Something was still with the kernel after ``timeout`` seconds. The context and
                the buffers then live on, since the kernel may still write to them; closing can be tried again.
        """
        self._close(Deadline(timeout))

    def _close(self, deadline: Deadline) -> None:
        if self._pointer is None:
            return
        self._take_back()
        errors = self._drain(deadline)
        if left := self.in_flight:
            keep(self)
            raise NotDrainedError(
                errno.ETIMEDOUT, f"{left} operations did not complete within {deadline.timeout} s of being cancelled"
            )
        self._give_up()
        self._forget()
        let_go(self)
        raise_all(errors)

    def _take_back(self) -> None:
        """Begins to close it: nothing is started any more, and everything is asked back."""
        self._startable = None
        for stream in list(self._streams.values()):
            stream.stop()
        self._ask_back()

    def _ask_back(self) -> None:
        lib.kaio_cancel_all(self._open())

    def _drain(self, deadline: Deadline) -> list[BaseException]:
        errors: list[BaseException] = []
        while True:
            try:
                self.reap()
            except Exception as error:
                errors.append(error)
            left = deadline.left
            if left == 0 or not self.in_flight:
                return errors
            # Not every completion rings (see queue_write in _writers.c), and a driver may give things back in any
            # order.
            self._wait_readable(LOOK_AGAIN if left is None else min(left, LOOK_AGAIN))

    def _give_up(self) -> bool:
        if self._before_end is not None:
            if self.in_flight:  # who is told before the end hears of what is left, too
                return False
            self._before_end()
        return lib.kaio_destroy(self._open()) == 0

    def _forget(self) -> None:
        self._pointer = self._startable = None
        self._sleepers.close()
        while self._idle_eventfds:
            os.close(self._idle_eventfds.pop())
        for stream in self._streams.values():
            stream.forget()
        # Nobody will hear of these: this is a forked child, which has no part in them, or it was dropped.
        while self._pending:
            self._pending.popitem()[1]._finish(-errno.ECANCELED, 0)

    def _forget_in_child(self) -> None:
        # The lock may have been another thread's when this process was forked.
        self._forget()
        self._lock = threading.Lock()
        self._sleepers = Sleepers()


def undrained_contexts() -> tuple[Context, ...]:
    """The contexts of this process that could not be drained; see :func:`undrained`, which has the batches, too."""
    return tuple(owner for owner in undrained() if isinstance(owner, Context))
