"""AIO under asyncio: what is there already is returned at once; for the rest, an eventfd wakes the loop.

Nothing else in ``gadget.aio`` knows asyncio, but for what is awaited: ``wakeup``, ``awaited`` and ``bell``.
"""

from __future__ import annotations

import asyncio
import warnings
from collections import deque
from collections.abc import Awaitable, Iterable
from contextlib import suppress
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Final

from gadget.aio._aio import ffi, lib
from gadget.aio.awaited import Awaited, Passing, checked
from gadget.aio.context import LOOK_AGAIN, Context
from gadget.aio.operation import File, Opcode, Operation, Sync, descriptor
from gadget.aio.waiting import Deadline
from gadget.errors import ClosedError, NotDrainedError

if TYPE_CHECKING:
    from gadget.aio._aio import IntPointer, VoidPointer
    from gadget.aio.splice import RunningSplice

#: What an operation is to be started with; see AsyncContext._call.
Call = tuple[int, "File", "VoidPointer", int, int, int, int, object]
#: What the extension says where there is no slot.
_NO_TICKET: Final = 2**64 - 1
#: How many operations in a row may end without a round of the loop: cached data would keep it from everything else.
_TURN: Final = 8


class AsyncContext:
    """A :class:`~gadget.aio.context.Context` whose operations are awaited.

    Slots are the back-pressure: an operation waits for one, in the order of asking. Cancelling a task asks the
    kernel for its operation back; the slot and the buffer stay with the kernel until it has answered.

    An operation whose data is there already, as that of a cached file is, ends without a round of the event loop; some
    rounds are made all the same, so that the others have their turn.

    Args:
        slots: Operations in flight at once, the pieces of streams included.
    """

    def __init__(self, slots: int = 256) -> None:
        self._loop = asyncio.get_running_loop()
        self.context = Context(slots)
        self._eventfd = self.context.fileno()
        self._ticket: IntPointer = ffi.new("uint64_t *")
        #: Tasks that wait for a slot; one that was woken stays in it until it has gone on, so that nobody overtakes it.
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._in_a_row = 0
        self._may_run = False
        self._ended = asyncio.Event()
        self._abandoned: list[RunningSplice] = []
        self._loop.add_reader(self._eventfd, self._reap)

    # ---- operations --------------------------------------------------------------------------------------------------

    async def read(self, file: File, buffer: object, offset: int = 0, *, flags: int = 0, priority: int = 0) -> int:
        """Reads at ``offset`` into a writable buffer; returns the bytes read, 0 at the end of the file."""
        pin = ffi.from_buffer(buffer, require_writable=True)
        result = self._start(Opcode.PREAD, file, pin, len(pin), offset, flags, priority, pin)
        return result if isinstance(result, int) else await result

    async def write(
        self,
        file: File,
        buffer: object,
        offset: int = 0,
        *,
        sync: Sync = Sync.NONE,
        flags: int = 0,
        priority: int = 0,
    ) -> int:
        """Writes the buffer at ``offset``; returns the bytes written, when they are where ``sync`` says."""
        pin = ffi.from_buffer(buffer)
        result = self._start(Opcode.PWRITE, file, pin, len(pin), offset, flags | sync, priority, pin)
        return result if isinstance(result, int) else await result

    async def readv(
        self, file: File, buffers: Iterable[object], offset: int = 0, *, flags: int = 0, priority: int = 0
    ) -> int:
        """Reads into several buffers, one after the other; returns the bytes read, all together."""
        return await self.run(Operation.readv(file, buffers, offset, flags=flags, priority=priority))

    async def writev(
        self,
        file: File,
        buffers: Iterable[object],
        offset: int = 0,
        *,
        sync: Sync = Sync.NONE,
        flags: int = 0,
        priority: int = 0,
    ) -> int:
        """Writes several buffers, one after the other; returns the bytes written, all together."""
        return await self.run(Operation.writev(file, buffers, offset, sync=sync, flags=flags, priority=priority))

    async def fsync(self, file: File) -> None:
        """Waits until the file's data and metadata are on the device."""
        await self.run(Operation.fsync(file))

    async def fdsync(self, file: File) -> None:
        """Waits until the file's data is on the device."""
        await self.run(Operation.fdsync(file))

    async def poll(self, file: File, events: int) -> int:
        """Waits for events of poll(2); returns the mask that came."""
        return await self.run(Operation.poll(file, events))

    async def run(self, operation: Operation, offset: int | None = None) -> int:
        """Starts an operation that can be started again and again, and waits for its end.

        Its buffers are pinned once, so this costs less than to read or write anew each time.

        Args:
            operation: One that is not in flight.
            offset: Its new offset, in bytes; None leaves it as it is.

        Returns:
            The bytes moved, or the mask of a poll.

        Raises:
            OSError: It failed.
            UsageError: It is in flight already, or was released.
        """
        if offset is not None:
            operation.offset = offset
        operation._check_startable()
        result = self._start(
            operation.opcode,
            operation.file,
            operation._address,
            operation._length,
            operation.offset,
            operation.flags,
            operation.priority,
            operation,
        )
        return result if isinstance(result, int) else await result

    # ---- starting ----------------------------------------------------------------------------------------------------

    def _start(self, *call: *Call) -> int | Awaitable[int]:
        """Starts an operation: returns its result, if that is there already, or what to await."""
        result = None if self._waiting else self._call(*call)
        return self._start_later(*call) if result is None else result

    def _call(
        self,
        opcode: int,
        file: File,
        address: VoidPointer,
        length: int,
        offset: int,
        flags: int,
        priority: int,
        held: object,
    ) -> int | Awaitable[int] | None:
        """Starts it; None: there is no slot. ``held`` lives until it has ended, and is told if it is an operation."""
        context = self.context
        if context._pointer is None or context._closing:
            raise ClosedError("this AIO context is closed")
        fd = file if type(file) is int else descriptor(file)
        result = lib.kaio_call(context._pointer, opcode, fd, address, length, offset, flags, priority, self._ticket)
        if result < 0 and (ticket := self._ticket[0]):
            return None if ticket == _NO_TICKET else self._in_flight(ticket, held)
        if isinstance(held, Operation):
            held._finish(result, 0)
            held._tell()
        self._in_a_row += 1
        if self._in_a_row < _TURN:
            return checked(result)
        self._in_a_row = 0
        return Passing(result)

    def _in_flight(self, ticket: int, held: object) -> Awaited:
        self._in_a_row = 0
        awaited = Awaited(self, held, held if isinstance(held, Operation) else None)
        self.context._adopt(awaited, ticket)
        return awaited

    async def _start_later(self, *call: *Call) -> int:
        result, waited = None, False
        while result is None:
            # Streams have the slots of this context; without an operation in flight, they have all.
            if not self.context._pending and not self._waiting:
                raise self.context._full()
            await self._slot(in_front=waited)
            waited = True
            try:
                result = self._call(*call)
            finally:
                self._wake_waiting()  # this one may have left its slot again already
        return result if isinstance(result, int) else await result

    async def _slot(self, *, in_front: bool) -> None:
        future: asyncio.Future[None] = self._loop.create_future()
        (self._waiting.appendleft if in_front else self._waiting.append)(future)
        try:
            await future
        except asyncio.CancelledError:
            self._waiting.remove(future)
            self._wake_waiting()  # it may have been this one's turn
            raise
        self._waiting.remove(future)

    def _wake_waiting(self) -> None:
        free = 0 if self.context.closed else self.context.free_slots
        for future in islice(self._waiting, free):
            if not future.done():
                future.set_result(None)

    def _resume(self, awaited: Awaited) -> None:
        """Lets the task go on: here, if the loop has called and not a task."""
        if self._waiting:
            self._wake_waiting()
        may_run, self._may_run = self._may_run, False
        try:
            awaited._wake(at_once=may_run)
        finally:
            self._may_run = may_run

    def _reap(self) -> None:
        self._reap_rung(self._eventfd)

    def _reap_rung(self, eventfd: int) -> None:
        """Called by the loop, and by nobody else: what waits goes on within."""
        self._may_run = True
        try:
            self.context._reap(eventfd)
        finally:
            self._may_run = False
            self._ended.set()
        if self._abandoned:
            self._bury()

    # ---- splices -----------------------------------------------------------------------------------------------------

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

    # ---- closing -----------------------------------------------------------------------------------------------------

    async def aclose(self, timeout: float = 2.0) -> None:
        """Cancels what is in flight and waits for it, at most ``timeout`` seconds. Idempotent.

        If the task that closes is cancelled, the rest of the time is waited without the event loop.

        Raises:
            NotDrainedError: See :meth:`Context.close`.
        """
        if self.context.closed:
            return
        deadline = Deadline(timeout)
        self.context._take_back()
        try:
            await self._drained(deadline)
        except asyncio.CancelledError:
            try:
                self._close(deadline)
            except NotDrainedError as error:
                warnings.warn(str(error), ResourceWarning, source=self.context, stacklevel=2)
            raise
        self._close(deadline)

    async def _drained(self, deadline: Deadline) -> None:
        # A task runs here, so the others go on in the next round of the loop.
        self.context._reap(self._eventfd)
        while not self.context.closed and self.context.in_flight and deadline.left:
            self._ended.clear()
            # Not every completion rings; see Context.close.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), min(LOOK_AGAIN, deadline.left))
            self.context._reap(self._eventfd)

    def _close(self, deadline: Deadline) -> None:
        if self.context.closed:
            return
        for eventfd in (self._eventfd, *self.context._bells, *self.context._idle_eventfds):
            self._loop.remove_reader(eventfd)
        try:
            self.context.close(deadline.left or 0.0)
        finally:
            for future in self._waiting:
                if not future.done():
                    future.set_result(None)
            self._bury()

    async def __aenter__(self) -> AsyncContext:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
