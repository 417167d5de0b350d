"""What a context has in flight, in step with the extension's table of slots: submitting, reaping, telling.

This is a thin shell over the extension. It knows no event loop: whatever loop there is watches :meth:`Table.fileno` for
reading and calls :meth:`Table.reap`.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from gadget.aio._aio import ffi, lib
from gadget.aio.operation import Flight, Operation
from gadget.aio.refusal import setup_error
from gadget.aio.waiting import Sleepers, nanoseconds
from gadget.errors import ClosedError, UsageError

if TYPE_CHECKING:
    from gadget.aio._aio import ContextPointer, ContextReport, IntPointer

_kaio_reap: Final = lib.kaio_reap

#: For how long streams may linger at first, in seconds: about as long as Python takes for a round on a slow machine,
#: and no time for a person or for a USB host.
LINGER: Final = 0.002


class Stream(Protocol):
    """What a context knows of a stream: it tells it of completions, and stops it when closing."""

    @property
    def on_change(self) -> Callable[[], object]: ...  # noqa: D102
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


class _Early(Flight):
    """How something has ended that was reaped before its starter could tell what it is (see Table._adopt)."""

    def __init__(self, result: int, result2: int) -> None:
        self.result, self.result2 = result, result2


class Table:
    """The part of a :class:`~gadget.aio.Context` that knows what is in flight."""

    def __init__(self, slots: int = 256) -> None:
        if not 1 <= slots <= 65536:
            raise UsageError(f"a context of {slots} slots: there must be 1 to 65536")
        error: IntPointer = ffi.new("int *")
        # Where the extension tells what it has reaped, with room for all that can be.
        self._completions: IntPointer = ffi.new("kaio_completion[]", slots)
        self._completed = memoryview(ffi.buffer(self._completions)).cast("q")
        self._changed: IntPointer = ffi.new(f"uint32_t[{slots}]")
        pointer = lib.kaio_open(slots, self._completions, self._changed, error)
        if not pointer:
            raise setup_error(error[0])
        self._pointer: ContextPointer | None = pointer
        #: The same, until it is about to be closed.
        self._startable: ContextPointer | None = pointer
        # Guards the arrays that reap fills, and what is queued until _pending has it: other threads submit and reap.
        self._lock = threading.Lock()
        self._sleepers = Sleepers()
        self._pending: dict[int, Flight] = {}
        self._streams: dict[int, Stream] = {}
        self._eventfd = lib.kaio_fileno(pointer)
        # What completions of streams ring instead, where they have one of their own.
        self._bells: set[int] = set()
        # Of splices that have ended: what was in flight then still rings them.
        self._idle_eventfds: list[int] = []
        self.slots = slots
        self.linger = LINGER

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

    @property
    def linger(self) -> float:
        """For how long streams may wait within a step where data flows, in seconds, between two looks at the context.

        A reader's step that finds nothing, where the ones before had full transfers and one of them several, sleeps
        until half of what is kept in flight is there, which costs a fraction of a round of the event loop. So does a
        write that has filled all there is, if the one before had not waited for long. Whatever rings for another
        stream, an operation or a gate ends it; what else the loop has to do waits for so long at most. 0: never.
        """
        return self._linger

    @linger.setter
    def linger(self, seconds: float) -> None:
        if not seconds >= 0:
            raise UsageError(f"linger = {seconds}: it is in seconds, and 0 is never")
        lib.kaio_set_linger(self._open(), nanoseconds(seconds))
        self._linger = seconds

    def fileno(self) -> int:
        """The eventfd: readable when :meth:`reap` has something to fetch.

        Not for streams and operations that ring another one (:meth:`WriteStream.set_eventfd`,
        :attr:`Operation.eventfd`).
        """
        self._open()
        return self._eventfd

    def _full(self) -> BlockingIOError:
        return BlockingIOError(errno.EAGAIN, f"all {self.slots} slots of this AIO context are in use")

    def submit(self) -> None:
        """Hands everything queued to the kernel. What it refuses completes with its own errno."""
        lib.kaio_submit(self._open())

    def reap(self) -> list[Operation]:
        """Fetches what is done, without waiting; runs callbacks and tells the streams that changed.

        What callbacks raise is raised when all of them have run.
        """
        return only_operations(self._reap(self._eventfd)[0])

    def _reap(self, eventfd: int) -> tuple[list[Flight], list[Stream]]:
        # Once for every wake-up of the loop, most of which are about one stream and nothing else.
        pointer = self._pointer
        if pointer is None:
            raise ClosedError("this AIO context is closed")
        finished: list[Flight] = []
        with self._lock:
            reaped = _kaio_reap(pointer, eventfd)
            if reaped < 0:
                stream = self._streams.get(-1 - reaped)
                streams = [] if stream is None else [stream]
            elif reaped:
                streams = self._fetched(reaped, finished)
        if not reaped:
            return finished, []
        if self._sleepers.asleep:
            self._sleepers.wake()
        if finished:
            _call_back(streams, [flight for flight in finished if flight.callback is not None])
        elif len(streams) == 1:
            streams[0].on_change()
        else:
            _call_back(streams, [])
        return finished, streams

    def _fetched(self, reaped: int, finished: list[Flight]) -> list[Stream]:
        """Takes what was reaped out of the arrays that the extension writes; returns the streams that have changed."""
        count, changed = reaped & 0xFFFF_FFFF, reaped >> 32
        if count:
            self._finish(self._completed[: 3 * count].tolist(), finished)
        numbers = (self._changed[place] for place in range(changed))
        return [stream for number in numbers if (stream := self._streams.get(number)) is not None]

    def _finish(self, completed: list[int], finished: list[Flight]) -> None:
        pending, numbers = self._pending, iter(completed)
        for ticket, result, result2 in zip(numbers, numbers, numbers, strict=True):
            flight = pending.pop(ticket, None)
            if flight is None:
                flight = pending.setdefault(ticket, _Early(result, result2))
                if isinstance(flight, _Early):
                    continue
                del pending[ticket]
            flight._finish(result, result2)
            finished.append(flight)

    def _adopt(self, flight: Flight, ticket: int) -> None:
        """The kernel has had it for a moment, so that another thread may have reaped it.

        Whichever of the two is first, here or in _finish, leaves the other what it has, by setdefault, which no thread
        comes into the middle of: that takes less than the lock.
        """
        flight._begin(self, ticket)
        early = self._pending.setdefault(ticket, flight)
        if isinstance(early, _Early):
            del self._pending[ticket]
            flight._finish(early.result, early.result2)
            self._sleepers.wake()
            flight._tell()

    def _hold(self, flight: Flight, ticket: int = 0) -> None:
        """An exception has come out of what starts it; a signal's handler can raise when it is with the kernel already.

        Args:
            flight: It is held until it has ended then, with its buffers.
            ticket: What the extension has called it; 0: it was to be queued.
        """
        if self._pointer is None:
            return
        started = lib.kaio_unfetched(self._pointer, ticket)
        if isinstance(self._pending.get(ticket), _Early) or (started and started not in self._pending):
            self._adopt(flight, started or ticket)


def only_operations(flights: list[Flight]) -> list[Operation]:
    """Without those that tasks wait for."""
    return [flight for flight in flights if isinstance(flight, Operation)]


def _call_back(streams: list[Stream], flights: list[Flight]) -> None:
    """Tells everyone, then raises what was raised: one callback harms no other operation."""
    errors: list[BaseException] = []
    for stream in streams:
        try:
            stream.on_change()
        except BaseException as error:
            errors.append(error)
    for flight in flights:
        try:
            flight._tell()
        except BaseException as error:
            errors.append(error)
    raise_all(errors)


def raise_all(errors: list[BaseException]) -> None:
    """Raises what callbacks have raised, several together; nothing, if there is nothing."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise BaseExceptionGroup("callbacks of completed operations", errors)
