"""Linux AIO as the kernel has it: the header ``linux/aio_abi.h`` and its six system calls, one to one.

Nothing is kept alive, counted or retried here, and a buffer must live until its event was reaped:
:class:`gadget.aio.Context` is for who wants that done. Numbers and layouts come from the headers of the machine that
the extension was built on. The errors are ``OSError``; the message says what the errno means for that call.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING, Final, NamedTuple

from gadget.aio._aio import ffi, lib
from gadget.aio.pinning import pinned, pinned_vector
from gadget.aio.waiting import nanoseconds

if TYPE_CHECKING:
    from gadget.aio._aio import IocbPointer


class Command(IntEnum):
    """IOCB_CMD_*: what an iocb asks for."""

    PREAD = lib.IOCB_CMD_PREAD
    PWRITE = lib.IOCB_CMD_PWRITE
    FSYNC = lib.IOCB_CMD_FSYNC
    FDSYNC = lib.IOCB_CMD_FDSYNC
    POLL = lib.IOCB_CMD_POLL
    #: The header has it; no kernel does anything but refuse it.
    NOOP = lib.IOCB_CMD_NOOP
    PREADV = lib.IOCB_CMD_PREADV
    PWRITEV = lib.IOCB_CMD_PWRITEV


class Flag(IntFlag):
    """IOCB_FLAG_*, for ``aio_flags``."""

    #: ``aio_resfd`` is an eventfd that is to ring.
    RESFD = lib.IOCB_FLAG_RESFD
    #: ``aio_reqprio`` is a priority of ioprio_set(2).
    IOPRIO = lib.IOCB_FLAG_IOPRIO


class RWF(IntFlag):
    """RWF_*, for ``aio_rw_flags`` (linux/fs.h, preadv2(2)). Which of them a file takes depends on kernel and driver."""

    HIPRI = lib.RWF_HIPRI
    DSYNC = lib.RWF_DSYNC
    SYNC = lib.RWF_SYNC
    NOWAIT = lib.RWF_NOWAIT
    APPEND = lib.RWF_APPEND
    NOAPPEND = lib.RWF_NOAPPEND
    ATOMIC = lib.RWF_ATOMIC
    DONTCACHE = lib.RWF_DONTCACHE
    NOSIGNAL = lib.RWF_NOSIGNAL


class PriorityClass(IntEnum):
    """IOPRIO_CLASS_* (linux/ioprio.h)."""

    NONE = lib.IOPRIO_CLASS_NONE
    REALTIME = lib.IOPRIO_CLASS_RT
    BEST_EFFORT = lib.IOPRIO_CLASS_BE
    IDLE = lib.IOPRIO_CLASS_IDLE


def priority(kind: PriorityClass, level: int = 0) -> int:
    """The value for ``aio_reqprio``: a class, and a level from 0 (first) to 7."""
    return kind << lib.IOPRIO_CLASS_SHIFT | level


class Iocb:
    """``struct iocb``, 64 bytes: the fields have the header's names.

    Only its address must stay until its event was reaped, and what ``aio_buf`` points to: :meth:`pin` sees to both.
    """

    def __init__(
        self,
        command: Command = Command.PREAD,
        fd: int = 0,
        buffer: object = None,
        offset: int = 0,
        *,
        data: int = 0,
        rw_flags: int = 0,
    ) -> None:
        self.pointer: IocbPointer = ffi.new("struct iocb *")
        self._pins: object = None
        self.pointer.aio_lio_opcode, self.pointer.aio_fildes = command, fd & 0xFFFFFFFF
        self.pointer.aio_offset, self.pointer.aio_data, self.pointer.aio_rw_flags = offset, data, rw_flags
        if buffer is not None:
            self.pin(buffer)

    def pin(self, *buffers: object) -> None:
        """Sets ``aio_buf`` and ``aio_nbytes``: to a buffer, or for PREADV and PWRITEV to a vector of several."""
        reads = self.pointer.aio_lio_opcode in (Command.PREAD, Command.PREADV)
        if self.pointer.aio_lio_opcode in (Command.PREADV, Command.PWRITEV):
            self._pins, address, length = pinned_vector(buffers, reads)
        else:
            self._pins, address, length = pinned(buffers[0], reads)
        self.pointer.aio_buf, self.pointer.aio_nbytes = int(ffi.cast("uintptr_t", address)), length

    @property
    def address(self) -> int:
        """Where it is: ``obj`` of its event."""
        return int(ffi.cast("uintptr_t", self.pointer))


class IoEvent(NamedTuple):
    """``struct io_event``.

    Attributes:
        data: The iocb's ``aio_data``.
        obj: The iocb's address.
        res: A count, a mask, or a negative errno.
        res2: Zero, but for USB gadgets.
    """

    data: int
    obj: int
    res: int
    res2: int

    def check(self) -> int:
        """Returns ``res``.

        Raises:
            OSError: It is a negative errno.
        """
        if self.res < 0:
            raise OSError(-self.res, os.strerror(-self.res))
        return self.res


#: What an errno means for a call, where strerror(3) would mislead (their manual pages; fs/aio.c).
_MEANINGS: Final = {
    ("io_setup", errno.EAGAIN): "more events than fs.aio-max-nr leaves; raise it with sysctl, or ask for fewer",
    ("io_setup", errno.EINVAL): "the context is not zero, or the number of events is",
    ("io_setup", errno.ENOMEM): "no memory for the completion ring",
    ("io_destroy", errno.EINVAL): "there is no such context",
    ("io_submit", errno.EINVAL): "there is no such context, or the first iocb is not well-formed",
    ("io_submit", errno.EAGAIN): "the context has no room: reap first",
    ("io_submit", errno.EBADF): "the first iocb's file or resfd is not open, or not for this",
    ("io_submit", errno.EFAULT): "the first iocb, or its vector, is not in memory",
    ("io_submit", errno.EOPNOTSUPP): "the first iocb's rw_flags are none that its file knows",
    ("io_getevents", errno.EINVAL): "there is no such context, or min_nr is negative or more than nr",
    ("io_pgetevents", errno.EINVAL): (
        "there is no such context, or min_nr is negative or more than nr, or sigmask has a number that is no signal's"
    ),
    ("io_cancel", errno.EINVAL): "there is no such context, or the iocb is not in flight, or not of a kind to cancel",
    ("io_cancel", errno.EAGAIN): "the iocb could not be cancelled now",
}
_NOT_THERE: Final = {
    errno.ENOSYS: "the kernel, or the container, does not have it",
    errno.EPERM: "a seccomp filter, as containers have, refuses it",
}


def _checked(call: str, result: int) -> int:
    if result < 0:
        meaning = _MEANINGS.get((call, -result)) or _NOT_THERE.get(-result) or os.strerror(-result)
        raise OSError(-result, f"{call}: {meaning}")
    return result


def io_setup(nr_events: int, context: int = 0) -> int:
    """Makes a context for so many events, at least; returns it. ``context`` must be 0, as the kernel wants it."""
    pointer = ffi.new("uint64_t *", context)
    _checked("io_setup", lib.kaio_io_setup(nr_events, pointer))
    return int(pointer[0])


def io_destroy(context: int) -> None:
    """Ends a context. Waits, where not even SIGKILL ends it, for what is in flight."""
    _checked("io_destroy", lib.kaio_io_destroy(context))


def io_submit(context: int, iocbs: Sequence[Iocb]) -> int:
    """Starts operations; returns how many, which may be fewer. The errno is that of the first one."""
    return _checked("io_submit", lib.kaio_io_submit(context, len(iocbs), [iocb.pointer for iocb in iocbs]))


def io_cancel(context: int, iocb: Iocb) -> None:
    """Asks for an operation back: since Linux 4.19, EINPROGRESS says that its event is on its way."""
    _checked("io_cancel", lib.kaio_io_cancel(context, iocb.pointer, ffi.new("struct io_event *")))


def io_getevents(context: int, min_nr: int, nr: int, timeout: float | None = None) -> list[IoEvent]:
    """Waits for at least ``min_nr`` events, at most ``timeout`` seconds, and fetches up to ``nr``."""
    events = ffi.new("struct io_event[]", max(nr, 0))
    return _events(events, _checked("io_getevents", lib.kaio_io_getevents(context, min_nr, nr, events, _ns(timeout))))


def io_pgetevents(
    context: int, min_nr: int, nr: int, timeout: float | None = None, sigmask: Iterable[int] | None = None
) -> list[IoEvent]:
    """As :func:`io_getevents`, with these signals blocked meanwhile instead of those that are; None changes none."""
    events = ffi.new("struct io_event[]", max(nr, 0))
    signals = ffi.NULL if sigmask is None else ffi.new("int[]", numbers := [int(number) for number in sigmask])
    count = 0 if sigmask is None else len(numbers)
    result = lib.kaio_io_pgetevents(context, min_nr, nr, events, _ns(timeout), signals, count)
    return _events(events, _checked("io_pgetevents", result))


def _ns(timeout: float | None) -> int:
    if timeout is not None and not timeout >= 0:
        raise OSError(errno.EINVAL, f"a time-out of {timeout} seconds: use 0 to look, None to wait without end")
    return nanoseconds(timeout)


def _events(events: Sequence[IoEvent], count: int) -> list[IoEvent]:
    return [IoEvent(event.data, event.obj, event.res, event.res2) for event in events[0:count]]
