"""How a context is given operations: those that it starts once, with a method for each kind, and any others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from gadget.aio._aio import ffi, lib
from gadget.aio.operation import READ, File, Opcode, Operation, Sync
from gadget.aio.pinning import BYTES, pinned, pinned_view
from gadget.aio.table import Table
from gadget.errors import ClosedError, UsageError

if TYPE_CHECKING:
    from gadget.aio._aio import IntPointer

_kaio_queue: Final = lib.kaio_queue
#: What the extension says where there is no slot.
NO_TICKET: Final = 2**64 - 1


class Queueing(Table):
    """The part of a :class:`~gadget.aio.Context` that starts operations.

    The methods that are called after a kind of operation queue one, to be handed to the kernel by ``submit``. Its
    buffers are let go of when it has ended. An operation with an eventfd of its own is made first, and then started.
    """

    def read(self, file: File, buffer: object, offset: int = 0, *, flags: int = 0, priority: int = 0) -> Operation:
        """Queues :meth:`Operation.read`, once: its buffer is let go of when it has ended. So do all of the following.

        Raises:
            BlockingIOError: No slot is free.
            BufferError: The buffer is read-only.
        """
        # As Operation.read does, with fewer calls on the way: this is what is called most.
        held: object
        if type(buffer) is memoryview:
            held, address, length = pinned_view(buffer, True)
        else:
            held = address = ffi.from_buffer(BYTES, buffer, True)
            length = len(address)
        return self._once(Operation(READ, file, held, address, length, offset, flags, priority))

    def write(
        self,
        file: File,
        buffer: object,
        offset: int = 0,
        *,
        sync: Sync = Sync.NONE,
        flags: int = 0,
        priority: int = 0,
    ) -> Operation:
        """Queues :meth:`Operation.write`."""
        return self._once(Operation(Opcode.PWRITE, file, *pinned(buffer), offset, flags | sync, priority))

    def readv(
        self, file: File, buffers: Iterable[object], offset: int = 0, *, flags: int = 0, priority: int = 0
    ) -> Operation:
        """Queues :meth:`Operation.readv`."""
        return self._once(Operation.readv(file, buffers, offset, flags=flags, priority=priority))

    def writev(
        self,
        file: File,
        buffers: Iterable[object],
        offset: int = 0,
        *,
        sync: Sync = Sync.NONE,
        flags: int = 0,
        priority: int = 0,
    ) -> Operation:
        """Queues :meth:`Operation.writev`."""
        return self._once(Operation.writev(file, buffers, offset, sync=sync, flags=flags, priority=priority))

    def fsync(self, file: File) -> Operation:
        """Queues :meth:`Operation.fsync`."""
        return self._once(Operation.fsync(file))

    def fdsync(self, file: File) -> Operation:
        """Queues :meth:`Operation.fdsync`."""
        return self._once(Operation.fdsync(file))

    def poll(self, file: File, events: int) -> Operation:
        """Queues :meth:`Operation.poll`."""
        return self._once(Operation.poll(file, events))

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
            try:
                if lib.kaio_free_slots(self._open()) < len(operations):
                    raise self._full()
                for operation in operations:
                    self._queue(operation)
            except BaseException:  # a stream was quicker, or an attribute is not what the kernel can be given
                self._unqueue(operations)
                raise

    def _unqueue(self, operations: tuple[Operation, ...]) -> None:
        """Takes them back, but for those that another thread has submitted meanwhile: these are in flight."""
        for operation in operations:
            if lib.kaio_unqueue(self._open(), operation.ticket) == 0:
                del self._pending[operation.ticket]
            if self._pending.get(operation.ticket) is not operation:
                operation._context = None

    def _claim(self, operations: tuple[Operation, ...]) -> None:
        """Marks all as in flight, or none; one that is there twice is found by that, too."""
        claimed = 0
        try:
            for operation in operations:
                if operation._context is not None or operation._released:
                    _unclaim(operations[:claimed])
                    claimed = 0
                    operation._check_startable()
                    raise UsageError("the same operation twice: it can be in flight only once at a time")
                operation._context = self
                claimed += 1
        except BaseException:
            _unclaim(operations[:claimed])
            raise

    def _queue(self, operation: Operation) -> None:
        pointer = self._startable
        if pointer is None:
            raise ClosedError("this AIO context is closed")
        try:
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
        except BaseException:
            self._hold(operation)
            raise

    def _called(self, operation: Operation) -> bool:
        """Hands it to the kernel: returns whether it has ended already."""
        outcome: IntPointer = ffi.new("uint64_t *")
        try:
            result = self._call(operation, outcome)
            if outcome[0] == NO_TICKET:
                raise self._full()
            if outcome[0]:
                self._adopt(operation, outcome[0])
                return False
            operation._finish(result, 0)
        except BaseException:  # an attribute is not what the kernel can be given, for example
            if outcome[0]:
                self._hold(operation, outcome[0])
            if self._pending.get(outcome[0]) is not operation:
                operation._context = None
            raise
        self._sleepers.wake()
        operation._tell()
        return True

    def _call(self, operation: Operation, outcome: IntPointer) -> int:
        return lib.kaio_call(
            self._open(),
            operation._opcode,
            operation.file,
            operation._address,
            operation._length,
            operation.offset,
            operation.flags,
            operation.priority,
            operation.eventfd,
            outcome,
        )


def _unclaim(operations: tuple[Operation, ...]) -> None:
    for operation in operations:
        operation._context = None
