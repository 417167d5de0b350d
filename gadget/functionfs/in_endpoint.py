"""Endpoints to the host."""

from __future__ import annotations

import asyncio
import errno
import os

from gadget.aio import WriteStream
from gadget.functionfs.ending import Ending
from gadget.functionfs.endpoint import Endpoint


class InEndpoint(Endpoint):
    """Sends to the host."""

    def __init__(self, name: str, transfer_size: int, depth: int) -> None:
        super().__init__(name, transfer_size, depth)
        self._writer: WriteStream | None = None

    @property
    def _stream(self) -> WriteStream | None:
        return self._writer

    def _open_stream(self, size: int) -> WriteStream:
        self._writer = WriteStream(self._composite.context.context, self._fd, self._depth, size)
        return self._writer

    def _close_stream(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

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
        with self._exclusive():
            await self._write(data)

    async def _write(self, *parts: bytes | bytearray | memoryview) -> None:
        queued = 0
        for part in parts:
            rest = part if isinstance(part, bytes) else memoryview(part).cast("B")
            while (result := self._writing().put(rest)) != len(rest):
                if result >= 0:
                    queued += result // self.transfer_size
                    rest = memoryview(rest)[result:]
                elif result == -errno.EAGAIN:
                    await self._wait_for_room(queued)
                else:
                    self._withdraw(queued)
                    raise await self._error(-result)
            queued += max(1, -(-result // self.transfer_size))

    def _writing(self) -> WriteStream:
        if self._writer is None:
            raise self._not_served()
        return self._writer

    async def _wait_for_room(self, queued: int) -> None:
        try:
            await self._changed.wait()
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
            length = memoryview(data).nbytes
            self._writing()
            is_closed = not length or not self.packet_size or length % self.packet_size
            await self._write(data, *(() if is_closed else (b"",)))

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
                if error := writer.take_error():
                    raise await self._error(error)
                if self._ending.is_known:
                    raise await self._ending.error(self.name)
                state = writer.counters
                if state.in_flight == state.stale:
                    return
                await self._changed.wait()

    async def take_back(self) -> int:
        """Takes back everything written that the host has not read, and waits until the kernel has given it up.

        For data that has grown old while the host was away: the next :meth:`write` is the next thing that it reads.

        Returns:
            How many transfers were taken back.

        Raises:
            NotDrainedError: The controller does not give them back.
            EndpointBusyError: Another task writes to this endpoint.
            ClosedError: The gadget is not up.
        """
        with self._exclusive():
            before = self.counters.withdrawn
            await self._take_back("emptied")
            return self.counters.withdrawn - before

    async def _halt(self, ending: Ending) -> None:
        # dummy_hcd and others refuse with EAGAIN while transfers are queued (dummy_hcd.c, dummy_set_halt_and_wedge).
        await self._take_back("halted")
        while not await self._try_halt(ending):
            await self._take_back("halted")

    def _wrong_way(self) -> None:
        os.read(self._fd, 1)
