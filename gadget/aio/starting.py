"""How operations are started under asyncio, and tasks go on: slots in the order of asking, batches, fairness."""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from collections.abc import Generator
from itertools import islice
from types import coroutine
from typing import TYPE_CHECKING, Final

from gadget.aio._aio import ffi, lib
from gadget.aio.awaited import Awaited, checked
from gadget.aio.context import Context
from gadget.aio.operation import Operation
from gadget.aio.queueing import NO_TICKET
from gadget.errors import ClosedError

if TYPE_CHECKING:
    from gadget.aio._aio import ContextPointer, IntPointer, VoidPointer

#: What an operation is to be started with; see Starting._call.
Call = tuple[int, int, "VoidPointer", int, int, int, int]
#: Others have come before and wait for a slot. No errno is as large as this.
_NOT_STARTED: Final = -(2**31)
#: How many operations in a row may end without a round of the loop: cached data would keep it from everything else.
TURN: Final = 16
#: How many times in a row all that is submitted together has to have ended at once, for it to be called cached: a fast
#: disk does so now and then, and submitted by itself each would be an interrupt again.
AT_ONCE: Final = 16


@coroutine
def _one_round() -> Generator[None, None, None]:
    """Lets the other tasks have their turn."""
    yield


class Starting:
    """What starts the operations of an :class:`~gadget.aio.AsyncContext`.

    An operation is submitted at once, and its result looked for at once: that of cached data is there. If it is not,
    the operations of this file are submitted together from then on, those of one wake-up by one io_submit: for a
    device, that is one interrupt instead of many.
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
        self._at_once = 0
        #: Whether something is to be done when what no task waits for has ended.
        self._awaits_ends = False

    def _call(
        self, opcode: int, fd: int, address: VoidPointer, length: int, offset: int, flags: int, priority: int
    ) -> int:
        """Starts an operation: returns its result if that is there already, else what tells :meth:`_ended` why not."""
        pointer = self.context._startable
        if pointer is None:
            del address  # as in _ended
            raise ClosedError("this AIO context is closed")
        if self._waiting and not self._may_overtake:
            return _NOT_STARTED
        if fd in self._slow:
            ticket = self._queue(pointer, opcode, fd, address, length, offset, flags, priority)
            self._ticket[0] = NO_TICKET if ticket < 0 else ticket
            return -errno.EINPROGRESS
        return lib.kaio_call(pointer, opcode, fd, address, length, offset, flags, priority, -1, self._ticket)

    def _queue(self, pointer: ContextPointer, *call: *Call) -> int:
        """Starts an operation together with others, at the end of this wake-up or of this round of the loop."""
        ticket = lib.kaio_queue(pointer, *call, -1)
        if ticket >= 0:
            self._queued += 1
            if self._queued == 1 and not self._reaping:
                self._loop.call_soon(self._submit)
        return ticket

    def _together(self, held: object, operation: Operation | None, call: Call) -> Awaited | None:
        """What an operation of a slow file becomes, if there is a slot and nobody waits for one."""
        context = self.context
        if self._waiting or context._startable is None:
            return None
        self._in_a_row = 0
        awaited = Awaited(self, held, operation)
        try:
            ticket = self._queue(context._startable, *call)
            if ticket < 0:
                return None
            context._adopt(awaited, ticket)
        except BaseException:
            self._hold(held)
            raise
        return awaited

    def _hold(self, held: object) -> None:
        """An exception has come out of what starts an operation: see Table._hold. What is awaited is held already."""
        awaited = Awaited(self, held, held if isinstance(held, Operation) else None)
        with self.context._lock:  # what another thread is queuing just now is its own
            self.context._hold(awaited)
        self.context._hold(awaited, self._ticket[0])

    def _submit(self) -> None:
        queued, self._queued = self._queued, 0
        if not queued or self.context._pointer is None:
            return
        self._at_once = self._at_once + 1 if lib.kaio_submit(self.context._pointer) else 0
        if self._at_once == AT_ONCE:
            self._at_once = 0
            self._slow.clear()

    async def _ended(self, result: int, call: Call, held: object) -> int:
        """Waits until what was called has ended. ``held`` lives until then, and is told if it is an operation."""
        try:
            if result == _NOT_STARTED or (result < 0 and self._ticket[0] == NO_TICKET):
                result = await self._start_later(call, held)
            if result < 0 and (ticket := self._ticket[0]):
                return await self._in_flight(ticket, call[1], held)
            if isinstance(held, Operation):
                held._finish(result, 0)
                self.context._sleepers.wake()
                held._tell()
        finally:
            del held, call  # whoever keeps an exception keeps this frame, and is not to keep the buffers with it
        self._in_a_row += 1
        if self._in_a_row >= TURN:
            self._in_a_row = 0
            await _one_round()
        return checked(result)

    def _in_flight(self, ticket: int, fd: int, held: object) -> Awaited:
        self._in_a_row = 0
        self._slow.add(fd)
        awaited = Awaited(self, held, held if isinstance(held, Operation) else None)
        self.context._adopt(awaited, ticket)
        return awaited

    async def _start_later(self, call: Call, held: object) -> int:
        """Waits for a slot, and starts it: returns as :meth:`_call`."""
        operation = held if isinstance(held, Operation) else None
        if operation:
            operation._begin(self.context, 0)  # so that it is refused to others
        try:
            return await self._start_in_turn(call)
        finally:
            if operation:
                operation._context = None
            del held, call

    async def _start_in_turn(self, call: Call) -> int:
        waited = False
        try:
            while True:
                # Streams have the slots of this context; without an operation in flight, they have all.
                if not self.context._pending and not self._waiting:
                    raise self.context._full()
                await self._slot(in_front=waited)
                waited = True
                if (result := self._overtake(call)) is not None:
                    return result
        finally:
            del call

    def _overtake(self, call: Call) -> int | None:
        """It is this one's turn, whoever waits; None if there is no slot after all."""
        self._may_overtake = True
        try:
            result = self._call(*call)
        finally:
            del call
            self._may_overtake = False
            self._wake_waiting()  # this one may have left its slot again already
        return None if result < 0 and self._ticket[0] == NO_TICKET else result

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

    def _reap_rung(self, eventfd: int) -> None:
        """Called by the loop, and by nobody else: what waits goes on within."""
        self._may_run = self._reaping = True
        try:
            self.context._reap(eventfd)
        finally:
            self._may_run = self._reaping = False
            if self._queued:
                self._submit()
            if self._awaits_ends:
                self._end_what_can()

    def _end_what_can(self) -> None:
        """Something has ended, and it may have been the last thing that something else has waited for."""
