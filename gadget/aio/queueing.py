"""The operations of a context that are started once: a method for each kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from gadget.aio._aio import ffi
from gadget.aio.operation import BYTES, File, Opcode, Operation, Sync


class Queueing(ABC):
    """Queues an operation, of the kind that the method is called after, to be handed to the kernel by ``submit``.

    Its buffers are let go of when it has ended.
    """

    @abstractmethod
    def _once(self, operation: Operation) -> Operation:
        """Queues it."""

    def read(self, file: File, buffer: object, offset: int = 0, *, flags: int = 0, priority: int = 0) -> Operation:
        """Queues :meth:`Operation.read`, once: its buffer is let go of when it has ended. So do all of the following.

        Raises:
            BlockingIOError: No slot is free.
            BufferError: The buffer is read-only.
        """
        # As Operation.read does, with fewer calls on the way: this is what is called most.
        pin = ffi.from_buffer(BYTES, buffer, True)
        return self._once(Operation(Opcode.PREAD, file, pin, pin, len(pin), offset, flags, priority))

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
        pin = ffi.from_buffer(BYTES, buffer)
        return self._once(Operation(Opcode.PWRITE, file, pin, pin, len(pin), offset, flags | sync, priority))

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
