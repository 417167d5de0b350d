"""AIO under asyncio: what is there already is returned at once; for the rest, an eventfd wakes the loop.

Nothing else in ``gadget.aio`` knows asyncio, but for what is awaited: ``wakeup``, ``awaited`` and ``bell``.
"""

from __future__ import annotations

import asyncio
import errno
import warnings
from collections import deque
from collections.abc import Generator, Iterable
from contextlib import suppress
from itertools import islice
from types import TracebackType, coroutine
from typing import TYPE_CHECKING, Final

from gadget.aio._aio import ffi, lib
from gadget.aio.awaited import Awaited, checked
from gadget.aio.context import LOOK_AGAIN, Context
from gadget.aio.operation import File, Opcode, Operation, Sync, descriptor
from gadget.aio.waiting import Deadline
from gadget.errors import ClosedError, NotDrainedError

if TYPE_CHECKING:
    from gadget.aio._aio import ContextPointer, IntPointer, VoidPointer
    from gadget.aio.splice import RunningSplice

#: What an operation is to be started with; see AsyncContext._call.
Call = tuple[int, int, "VoidPointer", int, int, int, int]
#: Others have come before and wait for a slot. No errno is as large as this.
_NOT_STARTED: Final = -(2**31)
#: What the extension says where there is no slot.
_NO_TICKET: Final = 2**64 - 1
#: How many operations in a row may end without a round of the loop: cached data would keep it from everything else.
_TURN: Final = 16


@coroutine
def _one_round() -> Generator[None, None, None]:
    """Lets the other tasks have their turn."""
    yield


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
        self._may_run = self._reaping = self._may_overtake = False
        #: Files whose operations take their time: they are submitted together, which is one interrupt for the device.
        self._slow: set[int] = set()
        self._queued = 0
        self._something_ended = asyncio.Event()
        self._abandoned: list[RunningSplice] = []
        self._loop.add_reader(self._eventfd, self._reap)

    # ---- operations --------------------------------------------------------------------------------------------------

    async def read(self, file: File, buffer: object, offset: int = 0, *, flags: int = 0, priority: int = 0) -> int:
        """Reads at ``offset`` into a writable buffer; returns the bytes read, 0 at the end of the file."""
        pin = ffi.from_buffer(buffer, require_writable=True)
        fd = file if type(file) is int else descriptor(file)
        result = self._call(Opcode.PREAD, fd, pin, len(pin), offset, flags, priority)
        if result >= 0 and self._in_a_row < _TURN:
            self._in_a_row += 1
            return result
        return await self._ended(result, (Opcode.PREAD, fd, pin, len(pin), offset, flags, priority), pin)

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
        call = Opcode.PWRITE, descriptor(file), pin, len(pin), offset, flags | sync, priority
        return await self._ended(self._call(*call), call, pin)

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
        address, length, at = operation._address, operation._length, operation.offset
        call = operation.opcode, operation.file, address, length, at, operation.flags, operation.priority
        return await self._ended(self._call(*call), call, operation)

    # ---- starting ----------------------------------------------------------------------------------------------------

    def _call(
        self, opcode: int, fd: int, address: VoidPointer, length: int, offset: int, flags: int, priority: int
    ) -> int:
        """Starts an operation: returns its result if that is there already, else what tells :meth:`_ended` why not."""
        pointer = self.context._startable
        if pointer is None:
            raise ClosedError("this AIO context is closed")
        if self._waiting and not self._may_overtake:
            return _NOT_STARTED
        if fd in self._slow:
            return self._queue(pointer, opcode, fd, address, length, offset, flags, priority)
        return lib.kaio_call(pointer, opcode, fd, address, length, offset, flags, priority, self._ticket)

    def _queue(self, pointer: ContextPointer, *call: *Call) -> int:
        """Starts an operation together with others, at the end of this wake-up or of this round of the loop."""
        ticket = lib.kaio_queue(pointer, *call, -1)
        if ticket < 0:
            self._ticket[0] = _NO_TICKET
            return ticket
        self._ticket[0] = ticket
        self._queued += 1
        if self._queued == 1 and not self._reaping:
            self._loop.call_soon(self._submit)
        return -errno.EINPROGRESS

    def _submit(self) -> None:
        queued, self._queued = self._queued, 0
        if queued and self.context._pointer is not None and lib.kaio_submit(self.context._pointer) >= queued:
            self._slow.clear()

    async def _ended(self, result: int, call: Call, held: object) -> int:
        """Waits until what was called has ended. ``held`` lives until then, and is told if it is an operation."""
        if result == _NOT_STARTED or (result < 0 and self._ticket[0] == _NO_TICKET):
            result = await self._start_later(call, held)
        if result < 0 and (ticket := self._ticket[0]):
            self._in_a_row = 0
            self._slow.add(call[1])
            awaited = Awaited(self, held, held if isinstance(held, Operation) else None)
            self.context._adopt(awaited, ticket)
            return await awaited
        if isinstance(held, Operation):
            held._finish(result, 0)
            held._tell()
        self._in_a_row += 1
        if self._in_a_row >= _TURN:
            self._in_a_row = 0
            await _one_round()
        return checked(result)

    async def _start_later(self, call: Call, held: object) -> int:
        """Waits for a slot, and starts it: returns as :meth:`_call`."""
        if not isinstance(held, Operation):
            return await self._start_in_turn(call)
        held._begin(self.context, 0)  # so that it is refused to others
        try:
            return await self._start_in_turn(call)
        finally:
            held._context = None

    async def _start_in_turn(self, call: Call) -> int:
        waited = False
        while True:
            # Streams have the slots of this context; without an operation in flight, they have all.
            if not self.context._pending and not self._waiting:
                raise self.context._full()
            await self._slot(in_front=waited)
            waited = self._may_overtake = True
            try:
                result = self._call(*call)
                if result >= 0 or self._ticket[0] != _NO_TICKET:
                    return result
            finally:
                self._may_overtake = False
                self._wake_waiting()  # this one may have left its slot again already

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
        self._may_run = self._reaping = True
        try:
            self.context._reap(eventfd)
        finally:
            self._may_run = self._reaping = False
            self._submit()
            self._something_ended.set()
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
            self._something_ended.clear()
            # Not every completion rings; see Context.close.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._something_ended.wait(), min(LOOK_AGAIN, deadline.left))
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
