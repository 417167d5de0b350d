"""One operation of Linux AIO: what it does, and how it ended."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from gadget.aio._aio import ffi
from gadget.aio.pinning import pinned, pinned_vector
from gadget.errors import UsageError

if TYPE_CHECKING:
    from gadget.aio._aio import VoidPointer
    from gadget.aio.table import Table


class HasFileno(Protocol):
    """A file object."""

    def fileno(self) -> int: ...  # noqa: D102


File = int | HasFileno


def descriptor(file: File) -> int:
    """The file's descriptor.

    Raises:
        TypeError: It is neither a descriptor nor an object with ``fileno()``.
    """
    if isinstance(file, int):
        return file
    try:
        return file.fileno()
    except AttributeError:
        raise TypeError(f"{file!r} is no file: it is neither a descriptor nor has it fileno()") from None


class Opcode(IntEnum):
    """What an operation does (linux/aio_abi.h, IOCB_CMD_*)."""

    PREAD = 0
    PWRITE = 1
    FSYNC = 2
    FDSYNC = 3
    POLL = 5
    NOOP = 6
    PREADV = 7
    PWRITEV = 8


class Sync(IntFlag):
    """What is on the device when a write has ended (pwritev2(2), RWF_*)."""

    NONE = 0
    #: The data, and what is needed to find it: as after fdatasync(2).
    DATA = os.RWF_DSYNC
    #: All metadata, too: as after fsync(2).
    FULL = os.RWF_SYNC


#: To look them up in the class takes as long as to queue an operation.
READ: Final = Opcode.PREAD
_POLL: Final = Opcode.POLL
_NOTHING: Final = ffi.NULL


class Flight:
    """What a context has in flight: it holds the buffers, and is told how it ended.

    Attributes:
        ticket: What the context knows it by; 0 before the first start.
        eventfd: Rings when it has ended, instead of the context's; -1 for none of its own.
    """

    ticket = 0
    eventfd = -1
    _context: Table | None = None
    callback: Callable[[Any], object] | None = None

    @property
    def in_flight(self) -> bool:
        """Whether it was started and has not ended."""
        return self._context is not None

    def _begin(self, context: Table, ticket: int) -> None:
        self._context, self.ticket = context, ticket

    def _finish(self, result: int, result2: int) -> None:
        """Called by the context, which holds its lock, with the kernel's ``res`` and ``res2``."""
        self._context = None

    def _tell(self) -> None:
        """Called by the context when all that have ended with it know their results."""
        if self.callback is not None:
            self.callback(self)


class Operation(Flight):
    """One operation, to be started by :meth:`Context.start` as often as you like, but not twice at a time.

    Its buffers are pinned from the beginning: they cannot be resized or closed until :meth:`release`. What it does can
    be changed by setting attributes; what is in flight stays as it was.

    Attributes:
        file: The descriptor.
        offset: Bytes from the start of the file.
        flags: RWF_* of preadv2(2).
        priority: ioprio_set(2)'s value, of 16 bits; 0 leaves the thread's own.
        eventfd: Rings when it has ended, instead of the context's; -1 for none of its own. Who gives one reads it. What
            is no eventfd has the operation refused with EINVAL.
        result: The kernel's ``res``, untouched: a count, a mask, or a negative errno. None until it has ended.
        result2: The kernel's ``res2``.
        callback: Called with the operation by :meth:`Context.reap`, if set.
        user_data: Whatever you like.
        moved: Bytes moved by all its flights that have ended.
    """

    user_data: object = None
    result: int | None = None
    result2: int | None = None
    moved = 0
    _once = _released = False
    _room: int | None = None

    def __init__(
        self,
        opcode: Opcode,
        file: File,
        pins: object = None,
        address: VoidPointer | None = None,
        length: int = 0,
        offset: int = 0,
        flags: int = 0,
        priority: int = 0,
    ) -> None:
        self._opcode, self.file = opcode, file if type(file) is int else descriptor(file)
        self._pins, self._address, self._length = pins, _NOTHING if address is None else address, length
        self.offset, self.flags, self.priority = offset, flags, priority
        # Here, not when it ends: what thirty others have not had when it is made takes a dictionary of its own.
        self.moved, self._released = 0, False

    @classmethod
    def read(cls, file: File, buffer: object, offset: int = 0, *, flags: int = 0, priority: int = 0) -> Self:
        """A read at ``offset`` into a writable buffer.

        Args:
            file: A file object or descriptor.
            buffer: Anything that has a writable, contiguous buffer; its whole length in bytes is read into.
            offset: Bytes from the start of the file.
            flags: RWF_* of preadv2(2), such as ``os.RWF_NOWAIT``.
            priority: ioprio_set(2)'s value; 0 leaves the thread's own.

        Raises:
            BufferError: The buffer is read-only.
        """
        return cls(Opcode.PREAD, file, *pinned(buffer, True), offset, flags, priority)

    @classmethod
    def write(
        cls,
        file: File,
        buffer: object,
        offset: int = 0,
        *,
        sync: Sync = Sync.NONE,
        flags: int = 0,
        priority: int = 0,
    ) -> Self:
        """A write of the whole buffer at ``offset``, which ends when as much as ``sync`` says is on the device."""
        return cls(Opcode.PWRITE, file, *pinned(buffer), offset, flags | sync, priority)

    @classmethod
    def readv(
        cls, file: File, buffers: Iterable[object], offset: int = 0, *, flags: int = 0, priority: int = 0
    ) -> Self:
        """A read into several buffers, one after the other, as os.preadv does; the kernel takes at most 1024."""
        return cls(Opcode.PREADV, file, *pinned_vector(buffers, True), offset, flags, priority)

    @classmethod
    def writev(
        cls,
        file: File,
        buffers: Iterable[object],
        offset: int = 0,
        *,
        sync: Sync = Sync.NONE,
        flags: int = 0,
        priority: int = 0,
    ) -> Self:
        """A write of several buffers, one after the other, as os.pwritev does."""
        return cls(Opcode.PWRITEV, file, *pinned_vector(buffers), offset, flags | sync, priority)

    @classmethod
    def fsync(cls, file: File) -> Self:
        """What fsync(2) does."""
        return cls(Opcode.FSYNC, file)

    @classmethod
    def fdsync(cls, file: File) -> Self:
        """What fdatasync(2) does."""
        return cls(Opcode.FDSYNC, file)

    @classmethod
    def poll(cls, file: File, events: int) -> Self:
        """A wait for events of poll(2) (``select.POLLIN`` ...), once; its result is the mask that came."""
        return cls(Opcode.POLL, file, None, ffi.cast("void *", events))

    @property
    def opcode(self) -> Opcode:
        """What it does. It cannot become another one: the buffers would not be what that needs."""
        return self._opcode

    @property
    def mask(self) -> int:
        """The events of poll(2) that a poll waits for; can be set.

        Raises:
            UsageError: It is no poll.
        """
        if self._opcode is not Opcode.POLL:
            raise UsageError(f"an operation of {self._opcode.name} has no mask of events")
        return int(ffi.cast("uintptr_t", self._address))

    @mask.setter
    def mask(self, events: int) -> None:
        if self._opcode is not Opcode.POLL:
            raise UsageError(f"an operation of {self._opcode.name} has no mask of events")
        self._address = ffi.cast("void *", events)

    @property
    def length(self) -> int:
        """Bytes to move, or the number of buffers of a vectored operation; can be set, to at most what there is.

        Raises:
            UsageError: The buffer is shorter.
        """
        return self._length

    @length.setter
    def length(self, length: int) -> None:
        if self._room is None:
            self._room = self._length
        if not 0 <= length <= self._room:
            raise UsageError(f"a length of {length}: this operation has room for 0 to {self._room}")
        self._length = length

    @property
    def done(self) -> bool:
        """Whether it has ended, the last time that it was started."""
        return self.result is not None

    def check(self) -> int:
        """Returns the count, or the mask, that the kernel reported.

        Raises:
            OSError: The operation failed.
            UsageError: It has not ended.
        """
        if self.result is None:
            raise UsageError(
                "this operation is still in flight" if self.in_flight else "this operation was not started"
            )
        if self.result < 0:
            raise OSError(-self.result, os.strerror(-self.result))
        return self.result

    def release(self) -> int:
        """Lets go of the buffers; it cannot be started again. Idempotent.

        Returns:
            The bytes that it has moved, all its flights together.

        Raises:
            UsageError: It is in flight.
        """
        if self.in_flight:
            raise UsageError("this operation is in flight: the kernel has its buffers")
        self._pins, self._address, self._released = None, _NOTHING, True
        return self.moved

    def _check_startable(self) -> None:
        if self._context is not None:
            raise UsageError("this operation is in flight already: wait for its end, or make another one")
        if self._released:
            raise UsageError("this operation was released: its buffers are not pinned any more")

    def _begin(self, context: Table, ticket: int) -> None:
        self._context, self.ticket = context, ticket
        self.result = self.result2 = None

    def _finish(self, result: int, result2: int) -> None:
        self.result, self.result2, self._context = result, result2, None
        if result > 0 and self._opcode is not _POLL:
            self.moved += result
        if self._once:
            self._pins, self._address, self._released = None, _NOTHING, True
