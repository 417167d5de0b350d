"""A context of Linux AIO: operations in flight, each holding its buffer until the kernel gives it back.

This is a thin shell over the extension's table of slots. It knows no event loop: whatever loop there is watches
:meth:`Context.fileno` for reading and calls :meth:`Context.reap`.
"""

from __future__ import annotations

import errno
import os
import threading
import time
import warnings
from collections.abc import Callable, Collection, Iterable
from contextlib import closing
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol

from gadget.aio._aio import ffi, lib
from gadget.aio.operation import Flight, Operation
from gadget.aio.queueing import Queueing
from gadget.aio.refusal import setup_error
from gadget.aio.undrained import is_kept, keep, let_go, opened, undrained
from gadget.aio.waiting import Deadline, Edges, Sleepers, wait_readable
from gadget.errors import ClosedError, NotDrainedError, UsageError

if TYPE_CHECKING:
    from gadget.aio._aio import ContextPointer, ContextReport, IntPointer


class Stream(Protocol):
    """What a context knows of a stream: it tells it of completions, and stops it when closing."""

    def changed(self) -> None: ...  # noqa: D102
    def stop(self) -> None: ...  # noqa: D102
    def forget(self) -> None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Report:
    """What a context has done since it was opened.

    Attributes:
        moved: Bytes, by operations; streams count their own.
        operations: That have ended.
        submits: Calls of io_submit, those for streams included.
        submitting: Seconds spent in them. On a buffered file this is where reads happen, and where they block.
    """

    moved: int
    operations: int
    submits: int
    submitting: float


_kaio_queue: Final = lib.kaio_queue
#: What the extension says where there is no slot.
NO_TICKET: Final = 2**64 - 1

#: How often is looked for what was cancelled, in seconds, should nothing ring for it.
LOOK_AGAIN = 0.1


class Context(Queueing):
    """Operations in flight on any file descriptors, and one eventfd that rings when some are done.

    Threads may share it; only :meth:`close` needs it for itself.

    Args:
        slots: How many operations can be in flight at once. Counted here, so it is exact.

    Raises:
        KernelError: EAGAIN: the machine's limit, /proc/sys/fs/aio-max-nr, is reached.
    """

    def __init__(self, slots: int = 256) -> None:
        if not 1 <= slots <= 65536:
            raise UsageError(f"a context of {slots} slots: there must be 1 to 65536")
        error: IntPointer = ffi.new("int *")
        pointer = lib.kaio_open(slots, error)
        if not pointer:
            raise setup_error(error[0])
        self._pointer: ContextPointer | None = pointer
        #: The same, until it is about to be closed.
        self._startable: ContextPointer | None = pointer
        # Guards _pending and the arrays that reap fills: another thread may reap what this one has just submitted.
        self._lock = threading.Lock()
        self._sleepers = Sleepers()
        self._pending: dict[int, Flight] = {}
        # What was reaped before its starter could tell what it is (see _adopt): result and result2.
        self._early: dict[int, tuple[int, int]] = {}
        self._streams: dict[int, Stream] = {}
        self._eventfd = lib.kaio_fileno(pointer)
        # What completions of streams ring instead, where they have one of their own.
        self._bells: set[int] = set()
        # Of splices that have ended: what was in flight then still rings them.
        self._idle_eventfds: list[int] = []
        self._completions: IntPointer = ffi.new("kaio_completion[]", slots)
        self._completed = memoryview(ffi.buffer(self._completions)).cast("q")
        self._changed: IntPointer = ffi.new(f"uint32_t[{slots}]")
        self._changed_count: IntPointer = ffi.new("uint32_t *")
        self.slots = slots
        opened(self)

    def _open(self) -> ContextPointer:
        if self._pointer is None:
            raise ClosedError("this AIO context is closed")
        return self._pointer

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called, or this is a forked child, which has no part in it."""
        return self._pointer is None

    @property
    def in_flight(self) -> int:
        """Operations queued or with the kernel, those of streams included."""
        return lib.kaio_in_flight(self._open())

    @property
    def free_slots(self) -> int:
        """How many more operations or pieces of streams there is room for."""
        return lib.kaio_free_slots(self._open())

    @property
    def report(self) -> Report:
        """What it has done so far, as far as completions were fetched."""
        report: ContextReport = ffi.new("kaio_context_report *")
        lib.kaio_get_report(self._open(), report)
        return Report(report.bytes, report.operations, report.submits, report.submitting / 1e9)

    def fileno(self) -> int:
        """The eventfd: readable when :meth:`reap` has something to fetch.

        Not for streams and operations that ring another one (:meth:`WriteStream.set_eventfd`,
        :attr:`Operation.eventfd`).
        """
        self._open()
        return self._eventfd

    def _once(self, operation: Operation) -> Operation:
        operation._once = True
        with self._lock:
            self._queue(operation)
        return operation

    def start(self, *operations: Operation) -> None:
        """Queues operations, all of them or none; :meth:`submit` hands them to the kernel.

        Raises:
            BlockingIOError: There are not as many free slots.
            UsageError: One is in flight already, was released, or is there twice.
        """
        with self._lock:
            if self._startable is None:
                raise ClosedError("this AIO context is closed")
            self._claim(operations)
            if lib.kaio_free_slots(self._open()) < len(operations):
                _unclaim(operations)
                raise self._full()
            for place, operation in enumerate(operations):
                try:
                    self._queue(operation)
                except BlockingIOError:  # a stream was quicker
                    _unclaim(operations[place:])
                    raise

    def _claim(self, operations: tuple[Operation, ...]) -> None:
        """Marks all as in flight, or none; one that is there twice is found by that, too."""
        for place, operation in enumerate(operations):
            if operation._context is not None or operation._released:
                earlier = operations[:place]
                _unclaim(earlier)
                operation._check_startable()
                raise UsageError("the same operation twice: it can be in flight only once at a time")
            operation._context = self

    def _queue(self, operation: Operation) -> None:
        pointer = self._startable
        if pointer is None:
            raise ClosedError("this AIO context is closed")
        ticket = _kaio_queue(
            pointer,
            operation._opcode,
            operation.file,
            operation._address,
            operation._length,
            operation.offset,
            operation.flags,
            operation.priority,
            operation.eventfd,
        )
        if ticket < 0:
            raise self._full()
        operation._begin(self, ticket)
        self._pending[ticket] = operation

    def _full(self) -> BlockingIOError:
        return BlockingIOError(errno.EAGAIN, f"all {self.slots} slots of this AIO context are in use")

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
        ticket = self._called(operation)
        if ticket:
            self._adopt(operation, ticket)
            self.wait_all((operation,))
        return operation.check()

    def _called(self, operation: Operation) -> int:
        """Hands it to the kernel: returns its ticket; 0 if it has ended already."""
        outcome: IntPointer = ffi.new("uint64_t *")
        result = lib.kaio_call(
            self._open(),
            operation._opcode,
            operation.file,
            operation._address,
            operation._length,
            operation.offset,
            operation.flags,
            operation.priority,
            outcome,
        )
        ticket = outcome[0]
        if result < 0 and ticket == NO_TICKET:
            operation._context = None
            raise self._full()
        if not ticket:
            operation._finish(result, 0)
            operation._tell()
        return ticket

    def submit(self) -> None:
        """Hands everything queued to the kernel. What it refuses completes with its own errno."""
        lib.kaio_submit(self._open())

    def reap(self) -> list[Operation]:
        """Fetches what is done, without waiting; runs callbacks and tells the streams that changed.

        What callbacks raise is raised when all of them have run.
        """
        return _operations(self._reap(self._eventfd)[0])

    def _reap(self, eventfd: int) -> tuple[list[Flight], list[Stream]]:
        # Once for every wake-up of the loop, most of which are about streams only.
        finished: list[Flight] = []
        with self._lock:
            count = lib.kaio_reap(
                self._open(), eventfd, self._completions, self.slots, self._changed, self.slots, self._changed_count
            )
            if count:
                self._finish(self._completed[: 3 * count].tolist(), finished)
            streams: list[Stream] = []
            if changed := self._changed_count[0]:
                known = self._streams
                streams = [known[number] for i in range(changed) if (number := self._changed[i]) in known]
        if finished or streams:
            self._sleepers.wake()
            told = [flight for flight in finished if flight.callback is not None]
            if streams or told:
                _call_back(streams, told)
        return finished, streams

    def _finish(self, completed: list[int], finished: list[Flight]) -> None:
        take, numbers = self._pending.pop, iter(completed)
        for ticket, result, result2 in zip(numbers, numbers, numbers, strict=True):
            flight = take(ticket, None)
            if flight is None:
                self._early[ticket] = result, result2
            else:
                flight._finish(result, result2)
                finished.append(flight)

    def _adopt(self, flight: Flight, ticket: int) -> None:
        """The kernel has had it for a moment, so that another thread may have reaped it."""
        with self._lock:
            flight._begin(self, ticket)
            early = self._early.pop(ticket, None)
            if early is None:
                self._pending[ticket] = flight
            else:
                flight._finish(*early)
        if early is not None:
            flight._tell()

    def wait(self, timeout: float | None = None) -> list[Operation]:
        """Waits until something is done and fetches it; an empty list after ``timeout`` seconds.

        The list is also empty where only streams have changed. A signal does not cut it short unless its handler
        raises.
        """
        finished, streams = self._reap(self._eventfd)
        if finished or streams or timeout == 0:
            return _operations(finished)
        return self._wait(Deadline(timeout))

    def _wait(self, deadline: Deadline) -> list[Operation]:
        with closing(Edges(self._own_eventfds(self._pending.values()))) as edges:
            while True:
                finished, streams = self._reap(self._eventfd)
                left = deadline.left
                # The eventfd may ring for what the reap before has fetched already, or another thread.
                if finished or streams or left == 0:
                    return _operations(finished)
                self._wait_readable(left, edges)

    def wait_any(self, operations: Collection[Operation], timeout: float | None = None) -> list[Operation]:
        """Waits until one of these has ended, whichever thread fetches it; what else has ended is fetched as well.

        Returns:
            Those that have ended, in the order given: none of them after ``timeout`` seconds.
        """
        self._wait_until(lambda: any(operation.done for operation in operations), operations, timeout)
        return [operation for operation in operations if operation.done]

    def wait_all(self, operations: Collection[Operation], timeout: float | None = None) -> bool:
        """Waits until all of these have ended, at most ``timeout`` seconds; returns whether they have."""
        return self._wait_until(lambda: all(operation.done for operation in operations), operations, timeout)

    def _wait_until(self, met: Callable[[], bool], operations: Collection[Operation], timeout: float | None) -> bool:
        deadline = Deadline(timeout)
        if any(operation._context not in (self, None) for operation in operations):
            raise UsageError("one of these operations is in flight in another context")
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

    def close(self, timeout: float = 2.0) -> None:
        """Cancels what is in flight, waits for its completions and gives the context back. Idempotent.

        Its streams end with it. What callbacks raise meanwhile is raised at the end.

        Raises:
            NotDrainedError: Something was still with the kernel after ``timeout`` seconds. The context and
                the buffers then live on, since the kernel may still write to them; closing can be tried again.
        """
        if self._pointer is None:
            return
        self._take_back()
        errors = self._drain(time.monotonic() + timeout)
        if left := self.in_flight:
            keep(self)
            raise NotDrainedError(
                errno.ETIMEDOUT, f"{left} operations did not complete within {timeout} s of being cancelled"
            )
        lib.kaio_destroy(self._pointer)
        self._forget()
        while self._idle_eventfds:
            os.close(self._idle_eventfds.pop())
        let_go(self)
        _raise_all(errors)

    def _take_back(self) -> None:
        """Begins to close it: nothing is started any more, and everything is asked back."""
        self._startable = None
        for stream in list(self._streams.values()):
            stream.stop()
        lib.kaio_cancel_all(self._open())

    def _drain(self, deadline: float) -> list[BaseException]:
        errors: list[BaseException] = []
        while True:
            try:
                self.reap()
            except Exception as error:
                errors.append(error)
            left = deadline - time.monotonic()
            if left <= 0 or not self.in_flight:
                return errors
            # Not every completion rings (see queue_write in _streams.c), and a driver may give things back in any
            # order.
            self._wait_readable(min(left, LOOK_AGAIN))

    def _forget(self) -> None:
        self._pointer = self._startable = None
        self._sleepers.close()
        for stream in self._streams.values():
            stream.forget()

    def _forget_in_child(self) -> None:
        # The lock may have been another thread's when this process was forked.
        self._forget()
        self._lock = threading.Lock()
        self._sleepers = Sleepers()

    def __enter__(self) -> Context:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        pointer = getattr(self, "_pointer", None)
        if pointer is None or is_kept(self):
            return
        # Never wait in a finaliser: io_destroy with operations in flight sleeps where no signal wakes it. And before
        # the warning, which may be an error here: the buffers of what is in flight have to live on.
        if lib.kaio_destroy(pointer) != 0:
            keep(self)
        else:
            self._forget()
        warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)


def undrained_contexts() -> tuple[Context, ...]:
    """The contexts of this process that could not be drained; see :func:`undrained`, which has the batches, too."""
    return tuple(owner for owner in undrained() if isinstance(owner, Context))


def _unclaim(operations: tuple[Operation, ...]) -> None:
    for operation in operations:
        operation._context = None


def _operations(flights: list[Flight]) -> list[Operation]:
    return [flight for flight in flights if isinstance(flight, Operation)]


def _call_back(streams: list[Stream], flights: list[Flight]) -> None:
    """Tells everyone, then raises what was raised: one callback harms no other operation."""
    errors: list[BaseException] = []
    for stream in streams:
        try:
            stream.changed()
        except BaseException as error:
            errors.append(error)
    for flight in flights:
        try:
            flight._tell()
        except BaseException as error:
            errors.append(error)
    _raise_all(errors)


def _raise_all(errors: list[BaseException]) -> None:
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise BaseExceptionGroup("callbacks of completed operations", errors)
