"""Streams of transfers over one file: the part of an endpoint that repeats, as the extension runs it.

Neither class knows an event loop: each says "not yet", and calls ``on_change`` from :meth:`Context.reap` when
asking again makes sense. See ``_streams.c`` for what happens per transfer.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Final

from gadget.aio._aio import ffi, lib
from gadget.aio.buffers import allocate
from gadget.aio.context import Context
from gadget.errors import ClosedError, NotDrainedError, UsageError

if TYPE_CHECKING:
    import asyncio

    from gadget.aio._aio import GatePointer, IntPointer, StreamPointer, StreamState, VoidPointer
    from gadget.aio.steps import Steps

#: How much is copied at once, unless half of what is kept in flight, or one transfer, is more.
COPIED_AT_ONCE: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Counters:
    """What a stream has done since it was opened.

    Attributes:
        transfers: Transfers that completed with success.
        bytes: Bytes moved by them.
        errors: Transfers that ended otherwise, those taken back at the end of a generation included.
        withdrawn: Transfers taken back by :meth:`ReadStream.withdraw` and its like; no errors.
        started: Transfers given to the kernel.
        submits: Calls of io_submit made for them.
        in_flight: Transfers with the kernel right now.
        stale: How many of those belong to a generation that has ended.
        error: The errno that ended this generation, or one that a writer's user is still to learn; 0 for none.
    """

    transfers: int = 0
    bytes: int = 0
    errors: int = 0
    withdrawn: int = 0
    started: int = 0
    submits: int = 0
    in_flight: int = 0
    stale: int = 0
    error: int = 0


def nothing() -> None:
    """What a stream does about a change, unless it is told otherwise."""


class Gate:
    """Keeps streams from submitting: while its eventfd is readable, or while it is held.

    What the eventfd rings for may mean that the generation is over, so that what is submitted would land in the next
    one. Hold the gate before the eventfd is silenced, and until the news is read.
    """

    def __init__(self, eventfd: int) -> None:
        self._pointer: GatePointer = ffi.new("kaio_gate *")
        self._pointer.eventfd = self.eventfd = eventfd
        # Not methods, which would be a call more each: every control request needs all three.
        self.hold: Callable[[], None] = partial(lib.kaio_gate_hold, self._pointer)
        """Closes it, whatever the eventfd says."""
        self.silence: Callable[[], int] = partial(lib.kaio_gate_silence, self._pointer)
        """How often the eventfd has rung since this was asked last; hold the gate before."""
        self.release: Callable[[], int] = partial(lib.kaio_gate_release, self._pointer)
        """Lets the eventfd alone decide; returns whether a stream was kept from something since the last time."""

    @property
    def held(self) -> bool:
        """Whether it is held by hand."""
        return bool(self._pointer.held)

    @property
    def closed(self) -> bool:
        """Whether it is. Whoever opens it again is then told that something was kept from being done."""
        return bool(lib.kaio_gate_closed(self._pointer))


class _Stream:
    """What reading and writing share: generations, counters, closing."""

    def __init__(self, context: Context, pointer: StreamPointer | None, error: int, size: int) -> None:
        if not pointer:
            raise UsageError(
                f"the AIO context has {context.free_slots} free slots, too few for another stream"
                if error == errno.EAGAIN
                else f"cannot open a stream: errno {error}"
            )
        self.size = size
        self._context = context
        self._pointer: StreamPointer | None = pointer
        self._state: StreamState = ffi.new("kaio_stream_state *")
        self._number = lib.kaio_stream_number(pointer)
        #: Called by the context when a completion has arrived that somebody waits for.
        self.on_change: Callable[[], object] = nothing
        self._eventfd = -1
        context._streams[self._number] = self

    def _open(self) -> StreamPointer:
        if self._pointer is None:
            raise ClosedError("this stream is closed")
        return self._pointer

    def forget(self) -> None:
        """It is gone, whether by itself or with its context, which calls this then."""
        self._pointer = None
        self.on_change = nothing

    def start(self, length: int | None = None, *, joined: bool = False) -> None:
        """Begins a generation. What an earlier one left in flight is taken back and never handed over.

        Args:
            length: Bytes of each transfer of this generation, 1 to ``size``, which it is by default.
            joined: A reader hands full transfers over together with those that follow them, where their data lies side
                by side in memory.
        """
        if length is not None and not 1 <= length <= self.size:
            raise UsageError(f"transfers of {length} bytes: this stream has room for 1 to {self.size}")
        lib.kaio_stream_start(self._open(), self.size if length is None else length, joined)

    def stop(self) -> None:
        """Ends the generation: cancels what is in flight; using the stream fails with ESHUTDOWN."""
        lib.kaio_stream_stop(self._open())

    def set_eventfd(self, eventfd: int) -> None:
        """Has completions ring this eventfd instead of the context's; :meth:`Context.wait` hears it, too.

        For whoever listens to it only while he waits: what completes meanwhile wakes nobody, and is fetched with what
        completes elsewhere. It has to outlive the stream, and is made non-blocking, since several may read it.
        """
        os.set_blocking(eventfd, False)
        lib.kaio_stream_set_eventfd(self._open(), eventfd)
        self._eventfd = eventfd
        self._context._bells.add(eventfd)

    def set_gate(self, gate: Gate) -> None:
        """Submits nothing while this is closed. Whoever opens it again sees to it that a task that waits goes on."""
        lib.kaio_stream_set_gate(self._open(), gate._pointer)
        self._gate = gate

    def hold(self, held: bool) -> None:
        """Keeps this stream alone from submitting, or lets it go on."""
        lib.kaio_stream_hold(self._open(), held)

    def resume(self) -> None:
        """What kept it from submitting may do so no longer; a splice has to be told."""
        lib.kaio_stream_resume(self._open())

    def await_change(self) -> None:
        """Asks for ``on_change`` at the next completion; after -EAGAIN it comes without asking."""
        lib.kaio_stream_await(self._open())

    def withdraw(self, since: int = 0) -> int:
        """Asks for transfers in flight back; the generation goes on, and they count as ``withdrawn``, not as errors.

        Args:
            since: Only those started when ``counters.started`` was this or more.

        Returns:
            For how many that was agreed to. The others are complete, and their completions on the way.
        """
        return lib.kaio_stream_withdraw(self._open(), since)

    def collect(self) -> None:
        """Fetches completions without telling anybody, for who wants to know how things are now."""
        lib.kaio_stream_collect(self._open())

    @property
    def counters(self) -> Counters:
        """What it has done so far, as far as completions were fetched."""
        lib.kaio_stream_get_state(self._open(), self._state)
        return Counters(**{field.name: getattr(self._state, field.name) for field in fields(Counters)})

    def close(self) -> None:
        """Gives its slots back. Idempotent.

        Raises:
            NotDrainedError: Transfers are in flight; stop, reap and try again.
        """
        if self._pointer is None:
            return
        if lib.kaio_stream_close(self._pointer) != 0:
            raise NotDrainedError(errno.EBUSY, f"{self.counters.in_flight} transfers are still in flight")
        del self._context._streams[self._number]
        self._context._bells.discard(self._eventfd)
        self.forget()


class ReadStream(_Stream):
    """Keeps ``depth`` reads of ``size`` bytes in flight and lends what arrives, in order.

    Args:
        context: Where the transfers run; ``depth`` of its slots are reserved.
        fd: The file, opened for reading; O_NONBLOCK for an endpoint file.
        depth: Transfers kept in flight.
        size: Bytes of each.
    """

    def __init__(self, context: Context, fd: int, depth: int, size: int) -> None:
        if depth < 1 or size < 1:
            raise UsageError(f"{depth} transfers of {size} bytes: both must be at least 1")
        memory = allocate(depth * size)
        #: Where each piece is: an allocation, and the offset in it.
        self._places = [(memoryview(memory), start) for start in range(0, depth * size, size)]
        # from_buffer holds an export of the memory: it cannot be closed or unmapped as long as this lives.
        self._pin: VoidPointer = ffi.from_buffer(memory, require_writable=True)
        self._replaced: dict[int, VoidPointer] = {}
        self._blocks = 0
        self._piece: IntPointer = ffi.new("uint32_t *")
        self._copied = memoryview(b"")  # what copy() copies into, once it is used
        self._steps: Steps | None = None  # what steps over it, by its address
        self._address = 0
        self._room = max(size * max(1, depth // 2), min(size * depth, COPIED_AT_ONCE))
        error: IntPointer = ffi.new("int *")
        pointer = lib.kaio_reader_open(context._open(), fd, self._pin, depth, size, error)
        super().__init__(context, pointer, error[0], size)

    def _step_by(self, steps: Steps, loop: asyncio.AbstractEventLoop) -> None:
        """Has these take what it lends, as :meth:`next` does, until it is closed."""
        self._address = int(ffi.cast("uintptr_t", self._open()))
        steps.open(self._address, self._places, loop)
        self._steps = steps

    def forget(self) -> None:
        """It is gone, and nobody steps over it."""
        super().forget()
        if self._steps is not None:
            self._steps.close(self._address)

    def arm(self) -> None:
        """Puts every idle buffer in flight now; :meth:`next` does so by itself when it has nothing to lend."""
        lib.kaio_reader_arm(self._open())

    def next(self) -> memoryview | int:
        """Lends what has arrived; what was lent before goes back to the kernel.

        Where data flows, this may wait for more (:attr:`Context.linger`); so may :meth:`copy`.

        Returns:
            A view of one transfer's bytes (of several, see :meth:`start`), valid until the next call; or a negative
            errno: -EAGAIN when nothing has arrived yet, anything else when this is how the generation ended.
        """
        pointer = self._pointer
        if pointer is None:
            raise ClosedError("this stream is closed")
        length = lib.kaio_reader_next(pointer, self._piece)
        if length < 0:
            return length
        memory, start = self._places[self._piece[0]]
        return memory[start : start + length]

    def copy(self) -> bytes | int:
        """Copies what has arrived, whichever transfers it came in; what was lent before goes back to the kernel.

        Returns:
            One byte at least, and as much as there is room for; or a negative errno, as from :meth:`next`.
        """
        if not self._copied:
            self._copied = memoryview(allocate(self._room))
        length = lib.kaio_reader_copy(self._open(), ffi.from_buffer(self._copied), self._room)
        return length if length < 0 else bytes(self._copied[:length])

    def lent(self, piece: int, start: int, stop: int) -> memoryview:
        """A part of what is lent, from that piece on: what a splice has left of it."""
        memory, begin = self._places[piece]
        return memory[begin + start : begin + stop]

    def detach(self) -> memoryview:
        """Gives the memory that was lent last to the caller for good; fresh memory takes its place.

        Returns:
            All of it: ``size`` bytes for each transfer.

        Raises:
            UsageError: Nothing is lent.
        """
        stream = self._open()
        count = lib.kaio_reader_lent(stream, self._piece)
        if not count:
            raise UsageError("there is nothing to detach: take a transfer first")
        first, room = self._piece[0], count * self.size
        allocated = allocate(room)
        memory = memoryview(allocated)
        pin: VoidPointer = ffi.from_buffer(allocated, require_writable=True)
        self._blocks += 1
        lib.kaio_reader_replace(stream, pin, self._blocks)
        given, start = self._places[first]
        for number in range(count):
            self._places[first + number] = memory, number * self.size
            self._replaced[first + number] = pin
        return given[start : start + room]


class WriteStream(_Stream):
    """Takes data apart into transfers of ``size`` bytes, with up to ``depth`` in flight.

    Only for files whose driver copies the data at submission and completes transfers in order, as FunctionFS does.
    """

    def __init__(self, context: Context, fd: int, depth: int, size: int) -> None:
        if depth < 1 or size < 1:
            raise UsageError(f"{depth} transfers of {size} bytes: both must be at least 1")
        error: IntPointer = ffi.new("int *")
        super().__init__(context, lib.kaio_writer_open(context._open(), fd, depth, size, error), error[0], size)

    def take_error(self) -> int:
        """The errno that a transfer ended with since this was asked last, or 0.

        One that says that the generation is over stays; any other is told once, here or by :meth:`put`.
        """
        return lib.kaio_writer_error(self._open())

    def put(self, data: bytes | bytearray | memoryview) -> int:
        """Submits as much of the data as fits in flight; empty data is one zero-length transfer.

        Where data flows, this may wait until more fits (:attr:`Context.linger`).

        Args:
            data: Anything that has a contiguous buffer; all its bytes are meant.

        Returns:
            The bytes that are left, 0 if all were taken; or a negative errno: -EAGAIN when ``depth`` transfers were in
            flight already, anything else when this is how the generation ended. ``on_change`` is called when there is
            room for what is left.
        """
        pointer = self._pointer
        if pointer is None:
            raise ClosedError("this stream is closed")
        pin = ffi.from_buffer(data)
        return lib.kaio_writer_put(pointer, pin, len(pin))
