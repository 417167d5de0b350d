"""Endpoints to the host."""

from __future__ import annotations

import asyncio
import errno
import os
from contextlib import nullcontext

from gadget.aio import Bell, WriteStream
from gadget.functionfs.ending import Ending
from gadget.functionfs.endpoint import Endpoint


class InEndpoint(Endpoint):
    """Sends to the host."""

    def __init__(self, name: str, transfer_size: int, depth: int) -> None:
        super().__init__(name, transfer_size, depth)
        self._writer: WriteStream | None = None
        self._bell: Bell

    @property
    def _stream(self) -> WriteStream | None:
        return self._writer

    def _open_stream(self, size: int) -> WriteStream:
        context = self._composite.context
        self._bell = Bell(context, self._is_waited_for)
        self._writer = WriteStream(context.context, self._fd, self._depth, size)
        self._writer.set_eventfd(self._bell.eventfd)
        return self._writer

    def _is_waited_for(self) -> bool:
        """Whether somebody needs to hear of completions; a splice, of those that it has not started itself."""
        return self._changed.waiting or self._awaited > 0 or (self._splice is not None and self._is_spliced())

    def _close_stream(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            self._bell.close()

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queues data for the host; returns when the kernel has a copy, so the buffer is the caller's again.

        It waits only while ``depth`` transfers are in flight. Long data is taken apart by ``transfer_size``; no data is
        one zero-length packet. Whether the host has read it: :meth:`drain`.

        When it fails, is cancelled, or its time is up, it takes back what the host has not read of this data. What was
        written before stays queued; :meth:`take_back` takes that back, too.

        Raises:
            DisconnectedError: This generation has ended; also for what was written before. Its subclass says how.
            TransferError: The controller reported an error for something written before, or for a part of this data.
            EndpointBusyError: Another task writes to this endpoint.
            ClosedError: The gadget is not up.
        """
        # Most writes find room for all of it, and this is all there is to them.
        if self._writer is None:
            raise self._not_served()
        if self._in_use or (self._splice is not None and self._is_spliced()):
            raise self._busy()
        if left := self._writer.put(data):
            with self._exclusive():
                await self._write_rest(data, left, 0)

    async def _write_rest(self, data: bytes | bytearray | memoryview, left: int, queued: int) -> int:
        """Writes what the first attempt has left, or all if that failed.

        Args:
            data: All of it.
            left: What :meth:`WriteStream.put` said.
            queued: How many transfers of this write came before the data.

        Returns:
            How many transfers of this write there are now.
        """
        rest = memoryview(data).cast("B")
        before, length = queued, len(rest)
        while left:
            if left > 0:
                rest = rest[-left:]
                queued = before + (length - left) // self._full
            elif left != -errno.EAGAIN:
                self._withdraw(queued)
                raise await self._error(-left)
            await self._wait_for_room(queued)
            left = self._writing().put(rest)
        return before + max(1, -(-length // self._full))

    def _writing(self) -> WriteStream:
        if self._writer is None:
            raise self._not_served()
        return self._writer

    async def _wait_for_room(self, queued: int) -> None:
        self._bell.listen()
        try:
            await self._changed
        except asyncio.CancelledError:
            self._withdraw(queued)
            raise

    def _withdraw(self, queued: int) -> None:
        """Takes back the last ones started: they are this write's own, since one task writes at a time."""
        if self._writer is not None:
            self._writer.withdraw(self._writer.counters.started - queued)

    async def write_message(self, data: bytes | bytearray | memoryview) -> None:
        """Writes a message: the data, and a zero-length packet where its last packet is a full one.

        The errors are those of :meth:`write`, and it is cancelled in the same way.
        """
        with self._exclusive():
            queued = await self._write_rest(data, self._writing().put(data), 0)
            length = memoryview(data).nbytes
            if length and length % self.packet_size == 0:
                await self._write_rest(b"", self._writing().put(b""), queued)

    async def drain(self) -> None:
        """Waits until the host has read everything written. Cancelling ends the waiting only.

        What was taken back (:meth:`take_back`, ``halt``, a write that was cancelled) is not waited for.

        On dummy_hcd, transfers of 64 bytes or less complete before the host reads them.

        Raises:
            DisconnectedError: This generation has ended. Its subclass says how.
            TransferError: The controller reported an error for any of it.
            EndpointBusyError: Another task writes to this endpoint.
            ClosedError: The gadget is not up.
        """
        with self._exclusive():
            while True:
                writer = self._writing()
                writer.collect()
                writer.await_change()
                state = writer.counters
                # After that, since a transfer that has ended meanwhile may have failed.
                if error := writer.take_error():
                    raise await self._error(error)
                if self._ending.is_known:
                    raise await self._ending.error(self.name)
                if state.in_flight == state.stale:
                    return
                self._bell.listen()
                await self._changed

    @property
    def has_room(self) -> bool:
        """Whether a transfer could be started at once.

        Raises:
            ClosedError: The gadget is not up.
        """
        return self.counters.in_flight < self._depth

    async def wait_room(self) -> None:
        """Waits until a transfer could be started at once. Cancelling ends the waiting only.

        Raises:
            DisconnectedError: This generation has ended. Its subclass says how.
            ClosedError: The gadget is not up.
        """
        while True:
            self._writing().await_change()
            # After that, since a transfer may have ended meanwhile.
            if self.has_room:
                return
            if self._ending.is_known:
                raise await self._ending.error(self.name)
            await self._wait_changed()

    async def _wait_changed(self, timeout: float | None = None) -> None:
        self._bell.listen()
        await super()._wait_changed(timeout)

    async def take_back(self, *, beside_writer: bool = False) -> int:
        """Takes back everything written that the host has not read, and waits until the kernel has given it up.

        For data that has grown old while the host was away: the next :meth:`write` is the next thing that it reads.

        Args:
            beside_writer: Also while another task writes: that one waits meanwhile, and goes on with what it has not
                queued yet.

        Returns:
            How many transfers were taken back.

        Raises:
            NotDrainedError: The controller does not give them back.
            EndpointBusyError: Another task writes to this endpoint.
            ClosedError: The gadget is not up.
        """
        with nullcontext() if beside_writer else self._exclusive():
            before = self.counters.withdrawn
            self._hold(True)
            try:
                await self._take_back("emptied")
            finally:
                self._hold(False)
            return self.counters.withdrawn - before

    async def _halt(self, ending: Ending) -> None:
        # dummy_hcd and others refuse with EAGAIN while transfers are queued (dummy_hcd.c, dummy_set_halt_and_wedge).
        await self._take_back("halted")
        while not await self._try_halt(ending):
            await self._take_back("halted")

    def _wrong_way(self) -> None:
        os.read(self._fd, 1)
