"""A context of Linux AIO: operations in flight, each holding its buffer until the kernel gives it back.

This is a thin shell over the extension's table of slots. It knows no event loop: whatever loop there is watches
:meth:`Context.fileno` for reading and calls :meth:`Context.reap`.
"""

from __future__ import annotations

import errno
import os
import select
import threading
import time
import warnings
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from gadget.aio._aio import ffi, lib
from gadget.aio.operation import File, Opcode, Operation, descriptor
from gadget.aio.refusal import setup_error
from gadget.aio.undrained import is_kept, keep, let_go, opened, undrained
from gadget.errors import ClosedError, NotDrainedError, UsageError

if TYPE_CHECKING:
    from gadget.aio._aio import Completion, CompletionArray, ContextPointer, IntPointer, VoidPointer


class Stream(Protocol):
    """What a context knows of a stream: it tells it of completions, and stops it when closing."""

    def changed(self) -> None: ...  # noqa: D102
    def stop(self) -> None: ...  # noqa: D102
    def forget(self) -> None: ...  # noqa: D102


#: How often is looked for what was cancelled, in seconds, should nothing ring for it.
LOOK_AGAIN = 0.1


class Context:
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
        self._closing = False
        # Guards _pending and the arrays that reap fills: another thread may reap what this one has just submitted.
        self._lock = threading.Lock()
        self._pending: dict[int, Operation] = {}
        self._streams: dict[int, Stream] = {}
        self._eventfd = lib.kaio_fileno(pointer)
        # What completions of streams ring instead, where they have one of their own.
        self._bells: set[int] = set()
        # Of splices that have ended: what was in flight then still rings them.
        self._idle_eventfds: list[int] = []
        self._completions: CompletionArray = ffi.new(f"kaio_completion[{slots}]")
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

    def fileno(self) -> int:
        """The eventfd: readable when :meth:`reap` has something to fetch.

        Not for streams that ring another one (:meth:`WriteStream.set_eventfd`).
        """
        self._open()
        return self._eventfd

    def read(self, file: File, buffer: object, offset: int = 0, *, flags: int = 0, priority: int = 0) -> Operation:
        """Queues a read at ``offset`` into a writable buffer, which stays pinned until the kernel is done.

        Args:
            file: A file object or descriptor.
            buffer: Anything that has a writable, contiguous buffer; its whole length in bytes is read into.
            offset: Bytes from the start of the file.
            flags: RWF_* of preadv2(2), such as ``os.RWF_NOWAIT``.
            priority: ioprio_set(2)'s value; 0 leaves the thread's own.

        Raises:
            BlockingIOError: No slot is free.
            BufferError: The buffer is read-only.
        """
        pin = ffi.from_buffer(buffer, require_writable=True)
        return self._queue(Opcode.PREAD, file, pin, len(pin), offset, flags, priority)

    def write(self, file: File, buffer: object, offset: int = 0, *, flags: int = 0, priority: int = 0) -> Operation:
        """Queues a write of the whole buffer at ``offset``; otherwise as :meth:`read`."""
        pin = ffi.from_buffer(buffer)
        return self._queue(Opcode.PWRITE, file, pin, len(pin), offset, flags, priority)

    def fsync(self, file: File) -> Operation:
        """Queues what fsync(2) does."""
        return self._queue(Opcode.FSYNC, file, ffi.NULL, 0, 0, 0, 0)

    def fdsync(self, file: File) -> Operation:
        """Queues what fdatasync(2) does."""
        return self._queue(Opcode.FDSYNC, file, ffi.NULL, 0, 0, 0, 0)

    def poll(self, file: File, events: int) -> Operation:
        """Queues a wait for events of poll(2) (``select.POLLIN`` ...); its result is the mask that came."""
        return self._queue(Opcode.POLL, file, ffi.cast("void *", events), 0, 0, 0, 0)

    def _queue(
        self, opcode: int, file: File, pin: VoidPointer, length: int, offset: int, flags: int, priority: int
    ) -> Operation:
        fd = descriptor(file)
        with self._lock:
            if self._closing:
                raise ClosedError("this AIO context is closed")
            ticket = lib.kaio_queue(self._open(), opcode, fd, pin, length, offset, flags, priority)
            if ticket < 0:
                raise BlockingIOError(-ticket, f"all {self.slots} slots of this AIO context are in use")
            operation = self._pending[ticket] = Operation(ticket, pin)
        return operation

    def submit(self) -> None:
        """Hands everything queued to the kernel. What it refuses completes with its own errno."""
        lib.kaio_submit(self._open())

    def reap(self) -> list[Operation]:
        """Fetches what is done, without waiting; runs callbacks and tells the streams that changed.

        What callbacks raise is raised when all of them have run.
        """
        return self._reap(self._eventfd)[0]

    def _reap(self, eventfd: int) -> tuple[list[Operation], list[Stream]]:
        # Once for every wake-up of the loop, most of which are about streams only.
        with self._lock:
            count = lib.kaio_reap(
                self._open(), eventfd, self._completions, self.slots, self._changed, self.slots, self._changed_count
            )
            finished = [self._take(self._completions[i]) for i in range(count)] if count else []
            known, numbers = self._streams, range(self._changed_count[0])
            streams = [known[number] for i in numbers if (number := self._changed[i]) in known]
        if finished or streams:
            _call_back(streams, finished)
        return finished, streams

    def _take(self, completion: Completion) -> Operation:
        operation = self._pending.pop(completion.ticket)
        operation._finish(completion.result, completion.result2)
        return operation

    def wait(self, timeout: float | None = None) -> list[Operation]:
        """Waits until something is done and fetches it; an empty list after ``timeout`` seconds.

        The list is also empty where only streams have changed. A signal does not cut it short unless its handler
        raises.
        """
        if timeout is not None and timeout < 0:
            raise UsageError(f"a time-out of {timeout} seconds: use 0 to look, None to wait without end")
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            self._wait_readable(left)
            finished, streams = self._reap(self._eventfd)
            # The eventfd may ring for what the reap before has fetched already, or another thread.
            if finished or streams or left == 0:
                return finished

    def _wait_readable(self, timeout: float | None) -> None:
        poll = select.poll()
        for eventfd in (self.fileno(), *self._bells, *self._idle_eventfds):
            poll.register(eventfd, select.POLLIN)
        for eventfd, _ in poll.poll(None if timeout is None else timeout * 1000):
            if eventfd != self._eventfd:
                os.eventfd_read(eventfd)

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

    def cancel(self, operation: Operation) -> bool:
        """Asks for an operation back. Its completion still comes, usually with ECANCELED or the bytes so far.

        What was not submitted yet never reaches the kernel.

        Returns:
            Whether that was agreed to. The kernel does not give reads and writes of regular files back.
        """
        return lib.kaio_cancel(self._open(), operation.ticket) == 0

    def close(self, timeout: float = 2.0) -> None:
        """Cancels what is in flight, waits for its completions and gives the context back. Idempotent.

        Its streams end with it. What callbacks raise meanwhile is raised at the end.

        Raises:
            NotDrainedError: Something was still with the kernel after ``timeout`` seconds. The context and
                the buffers then live on, since the kernel may still write to them; closing can be tried again.
        """
        if self._pointer is None:
            return
        self._closing = True
        for stream in list(self._streams.values()):
            stream.stop()
        lib.kaio_cancel_all(self._pointer)
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
        self._pointer = None
        for stream in self._streams.values():
            stream.forget()

    def _forget_in_child(self) -> None:
        # The lock may have been another thread's when this process was forked.
        self._forget()
        self._lock = threading.Lock()

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


def _call_back(streams: list[Stream], operations: list[Operation]) -> None:
    """Tells everyone, then raises what was raised: one callback harms no other operation."""
    errors: list[BaseException] = []
    for stream in streams:
        try:
            stream.changed()
        except BaseException as error:
            errors.append(error)
    for operation in operations:
        if operation.callback is not None:
            try:
                operation.callback(operation)
            except BaseException as error:
                errors.append(error)
    _raise_all(errors)


def _raise_all(errors: list[BaseException]) -> None:
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise BaseExceptionGroup("callbacks of completed operations", errors)
