"""AIO under asyncio: what is there already is returned at once; for the rest, an eventfd wakes the loop.

Nothing else in ``gadget.aio`` knows asyncio but the parts of this: ``starting``, ``awaited``, ``steps``, ``bell``.
"""

from __future__ import annotations

import asyncio
import errno
import os
import warnings
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from gadget.aio._aio import ffi
from gadget.aio.context import LOOK_AGAIN
from gadget.aio.operation import READ, File, Opcode, Operation, Sync, descriptor
from gadget.aio.pinning import BYTES, pinned, pinned_view
from gadget.aio.starting import TURN, Starting
from gadget.aio.waiting import Deadline
from gadget.errors import NotDrainedError, UsageError

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from gadget.aio.splice import RunningSplice


class AsyncContext(Starting):
    """A :class:`~gadget.aio.context.Context` whose operations are awaited.

    Slots are the back-pressure: an operation waits for one, in the order of asking. Cancelling a task asks the
    kernel for its operation back; the slot and the buffer stay with the kernel until it has answered.

    An operation whose data is there already, as that of a cached file is, ends without a round of the event loop; some
    rounds are made all the same, so that the others have their turn.

    Attributes:
        context: What it starts them in, for ``report``, ``free_slots`` and ``in_flight``.

    Args:
        slots: Operations in flight at once, the pieces of streams included.
    """

    def __init__(self, slots: int = 256) -> None:
        super().__init__(slots)
        self._abandoned: list[RunningSplice] = []
        self._closes_late = False
        #: While it is being closed: something has ended.
        self._draining: asyncio.Event | None = None
        self._loop.add_reader(self._eventfd, self._reap_rung, self._eventfd)

    # ---- operations --------------------------------------------------------------------------------------------------

    async def read(self, file: File, buffer: object, offset: int = 0, *, flags: int = 0, priority: int = 0) -> int:
        """Reads at ``offset`` into a writable buffer; returns the bytes read, 0 at the end of the file."""
        pin: object
        if type(buffer) is memoryview:
            pin, address, length = pinned_view(buffer, True)
        else:
            pin = address = ffi.from_buffer(BYTES, buffer, True)
            length = len(address)
        fd = file if type(file) is int else descriptor(file)
        if fd in self._slow:
            awaited = self._together(pin, None, (READ, fd, address, length, offset, flags, priority))
            if awaited is not None:
                del pin, address
                return await awaited
        try:
            result = self._call(READ, fd, address, length, offset, flags, priority)
            if result >= 0 and self._in_a_row < TURN:
                self._in_a_row += 1
                return result
            return await self._ended(result, (READ, fd, address, length, offset, flags, priority), pin)
        except BaseException:
            self._hold(pin)
            raise
        finally:
            del pin, address  # whoever keeps an exception keeps this frame

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
        pin, address, length = pinned(buffer)
        call = Opcode.PWRITE, descriptor(file), address, length, offset, flags | sync, priority
        if call[1] in self._slow and (awaited := self._together(pin, None, call)) is not None:
            del pin, address, call
            return await awaited
        try:
            return await self._ended(self._call(*call), call, pin)
        except BaseException:
            self._hold(pin)
            raise
        finally:
            del pin, address, call

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

    async def read_nowait(self, file: File, buffer: Buffer, offset: int = 0) -> int:
        """As :meth:`read`, but what is not cached is read by a thread, so that io_submit blocks the loop for no file.

        For buffered files and block devices: what has no offsets, as a pipe, is to be polled first. It is tried with
        RWF_NOWAIT, and what says EAGAIN, or knows no such flag, goes to the loop's executor, as does the rest of what
        is cached in part. If the task is cancelled, the thread has the buffer until its call ends.
        """
        return await self._or_in_thread(self.read, os.preadv, file, buffer, offset)

    async def write_nowait(self, file: File, buffer: Buffer, offset: int = 0) -> int:
        """As :meth:`write`, likewise. Few file systems can write to a buffered file without waiting."""
        return await self._or_in_thread(self.write, os.pwritev, file, buffer, offset)

    async def _or_in_thread(
        self,
        attempt: Callable[..., Awaitable[int]],
        call: Callable[[int, list[Any], int], int],
        file: File,
        buffer: Buffer,
        offset: int,
    ) -> int:
        try:
            done = await attempt(file, buffer, offset, flags=os.RWF_NOWAIT)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EOPNOTSUPP):
                raise
            done = 0
        else:
            if done in (0, memoryview(buffer).nbytes):
                return done
        rest = memoryview(buffer).cast("B")[done:] if done else buffer
        try:
            return done + await self._loop.run_in_executor(None, call, descriptor(file), [rest], offset + done)
        except OSError:
            if not done:
                raise
            return done  # who asks for the rest is told
        finally:
            del rest

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
            UsageError: It is in flight already, was released, or rings an eventfd that the loop does not hear.
        """
        if offset is not None:
            operation.offset = offset
        operation._check_startable()
        if operation.eventfd >= 0:
            raise UsageError("this operation rings an eventfd of its own, not the event loop: start it in a Context")
        address, length, at = operation._address, operation._length, operation.offset
        call = operation._opcode, operation.file, address, length, at, operation.flags, operation.priority
        if operation.file in self._slow and (awaited := self._together(operation, operation, call)) is not None:
            return await awaited
        try:
            return await self._ended(self._call(*call), call, operation)
        except BaseException:
            self._hold(operation)
            raise

    # ---- splices -----------------------------------------------------------------------------------------------------

    def _abandon(self, splice: RunningSplice) -> None:
        """Its user does not wait for its thread: what that leaves in flight is heard when it has ended."""
        self._abandoned.append(splice)
        self._awaits_ends = True

    def _end_what_can(self) -> None:
        if self._draining is not None:
            self._draining.set()
        self._bury()
        if self._closes_late and not self.context.closed and not self.context.in_flight:
            self.context.close(0.0)

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

    async def aclose(self, timeout: float | None = 2.0) -> None:
        """Cancels what is in flight and waits for it, at most ``timeout`` seconds; None for no limit. Idempotent.

        If the task that closes is cancelled, the rest of the time is waited without the event loop.

        Raises:
            NotDrainedError: Something was still with the kernel. A ResourceWarning says so as well: in a task that is
                cancelled, nothing else can. While the loop runs, what ends later is told to those that wait for it;
                with the last of it, the context is closed.
        """
        if self.context.closed:
            return
        deadline = Deadline(timeout)
        self.context._take_back()
        try:
            await self._drained(deadline)
        except asyncio.CancelledError:
            with suppress(NotDrainedError):
                self._close(deadline)
            raise
        self._close(deadline)

    async def _drained(self, deadline: Deadline) -> None:
        # A task runs here, so the others go on in the next round of the loop.
        self.context._reap(self._eventfd)
        self._draining, self._awaits_ends = self._draining or asyncio.Event(), True
        while not self.context.closed and self.context.in_flight and (left := deadline.left) != 0:
            self._draining.clear()
            # Not every completion rings; see Context.close.
            with suppress(TimeoutError):
                pause = LOOK_AGAIN if left is None else min(LOOK_AGAIN, left)
                await asyncio.wait_for(self._draining.wait(), pause)
            self.context._reap(self._eventfd)

    def _close(self, deadline: Deadline) -> None:
        self.context._before_end = self._unwatch
        try:
            self.context._close(deadline)
        except NotDrainedError as error:
            self._closes_late = self._awaits_ends = True
            with suppress(ResourceWarning):  # where warnings are errors, there is one already
                warnings.warn(f"{error}; see gadget.aio.undrained", ResourceWarning, source=self.context, stacklevel=3)
            raise
        finally:
            for future in self._waiting:
                if not future.done():
                    future.set_result(None)
            self._bury()

    def _unwatch(self) -> None:
        """Called by the context, whose eventfds are about to be closed."""
        if not self._loop.is_closed():
            for eventfd in (self._eventfd, *self.context._bells, *self.context._idle_eventfds):
                self._loop.remove_reader(eventfd)

    async def __aenter__(self) -> AsyncContext:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
