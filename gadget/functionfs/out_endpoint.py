"""Endpoints from the host.

An OUT transfer ends with a packet shorter than wMaxPacketSize (zero bytes included) or when it is full; USB says no
more than that. So a host that sends 512 bytes into a 16 KiB transfer at high speed, and nothing after them, has not
ended it: either the host closes each message with a zero-length packet, or the endpoint is declared with
``transfer_size=PACKET`` and hands over every packet at once.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from typing import Self

from gadget.aio import ReadStream
from gadget.aio.steps import Steps
from gadget.errors import EndpointBusyError, MessageTooLongError, UsageError
from gadget.functionfs.ending import Ending
from gadget.functionfs.endpoint import Endpoint


class OutEndpoint(Endpoint):
    """Receives from the host. Iterate over it for transfers, or over :meth:`messages`; or :meth:`read` exactly."""

    def __init__(self, name: str, transfer_size: int, depth: int) -> None:
        super().__init__(name, transfer_size, depth)
        self._reader: ReadStream | None = None
        self._steps = Steps(self._changed, self._step)
        self._forget()

    def _forget(self) -> None:
        self._rest = memoryview(b"")
        self._hand_over(0, is_whole=False)
        self._borrower: asyncio.Task[object] | None = None
        self._message = bytearray()
        self._skipping = False

    def _hand_over(self, length: int, *, is_whole: bool, task: asyncio.Task[object] | None = None) -> None:
        """So many bytes are with the user now, and nobody has taken a part of them; the task's next step is common."""
        self._steps.lent, self._steps.is_whole, self._steps.task = length, is_whole, task

    @property
    def _stream(self) -> ReadStream | None:
        return self._reader

    def _open_stream(self, size: int) -> ReadStream:
        self._reader = ReadStream(self._composite.context.context, self._fd, self._depth, size)
        self._reader._step_by(self._steps, asyncio.get_running_loop())
        return self._reader

    def _close_stream(self) -> None:
        self._forget()
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _start(self, ending: Ending) -> None:
        """Receives from the first moment on, whether or not the function reads yet."""
        super()._start(ending)
        self._forget()
        if self._reader is not None:
            self._reader.arm()

    def __aiter__(self) -> AsyncIterator[memoryview]:
        return self._steps

    async def __anext__(self) -> memoryview:
        """What has arrived: a view that is valid until the next step.

        It is one transfer of 0 to ``transfer_size`` bytes, or several at once where the host is faster than this task:
        full ones and at most one that is not, at the end, so nothing that a short or zero-length packet ended is joined
        to what follows it. Where ``transfer_size`` is PACKET, it is always one.

        What :meth:`read` has left of a transfer comes first. Cancelling loses nothing.

        Raises:
            DisconnectedError: This generation has ended. Its subclass says how.
            TransferError: The controller reported an error; the next step has the next transfer.
            EndpointBusyError: Another task reads from this endpoint.
            ClosedError: The gadget is not up.
        """
        return await anext(self._steps)

    async def _step(self, answer: int) -> memoryview:
        """A step that is not common: the first of a task, what :meth:`read` has left, or an error.

        Args:
            answer: The negative errno that the stream has answered with; 0 if it was not asked.
        """
        if answer:
            raise await self._error(-answer)
        self._borrow()
        if self._rest:
            rest, self._rest = self._rest, memoryview(b"")
            return rest
        result = await self._next()
        self._hand_over(len(result), is_whole=True, task=self._borrower)
        return result

    async def _next(self) -> memoryview:
        while isinstance(result := self._reading().next(), int):
            await self._wait(result)
        return result

    async def _wait(self, result: int) -> None:
        """Waits for what the stream has not: where it has said so, and not how its generation has ended."""
        if result != -errno.EAGAIN:
            raise await self._error(-result)
        await self._changed

    @property
    def was_short(self) -> bool:
        """Whether what was handed over last ended with a short or zero-length packet, and with it a message.

        What is full goes on with the next step, or ended by its length, as the protocol has it.
        """
        return not self._steps.lent or self._steps.lent % self._full != 0

    def _reading(self) -> ReadStream:
        if self._reader is None:
            raise self._not_served()
        return self._reader

    def _borrow(self) -> None:
        """The next step takes the buffer lent last back, so it is for the task that has it, until that has ended."""
        task = asyncio.current_task(self._loop)
        self._steps.task = None
        if task is self._borrower and self._splice is None:
            return
        self._refuse_while_spliced()
        self._splice = None
        if self._borrower is not None and self._borrower is not task and not self._borrower.done():
            raise EndpointBusyError(f"{self.name}: another task reads from it; give each direction to one task")
        self._borrower = task

    def _refuse_while_spliced(self) -> None:
        if self._is_spliced():
            raise EndpointBusyError(f"{self.name}: a splice is reading from it")

    def detach(self) -> memoryview:
        """Keeps the buffer of the transfer that was handed over last: it is the caller's, and never written to again.

        A fresh buffer takes its place. For those who hand data on without a copy; ``bytes(data)`` keeps a copy.

        Returns:
            The transfer's bytes, in writable memory.

        Raises:
            UsageError: Nothing was handed over, or it was detached before, or :meth:`read` has taken a part of it.
            ClosedError: The gadget is not up.
        """
        reader = self._reading()
        self._refuse_while_spliced()
        if not self._steps.is_whole and self._steps.lent:
            raise UsageError(f"{self.name}: read() took a part of this transfer, so there is no whole one to detach")
        return reader.detach()[: self._steps.lent]

    def messages(self, limit: int = 1 << 20) -> Messages:
        """Iterates over messages: transfers joined up to a short or zero-length packet.

        A message that is not complete yet when the iteration stops, or is cancelled, is complete in the next one.

        Args:
            limit: The longest message accepted, in bytes: the host is not trusted with this machine's memory.

        Raises:
            MessageTooLongError: A message exceeds ``limit``; all of it is dropped, and the next step has the next one.
            DisconnectedError: This generation has ended.
        """
        return Messages(self, limit)

    async def _next_message(self, limit: int) -> bytes:
        while True:
            transfer = await anext(self._steps)
            if not self._skipping:
                self._message += transfer
            is_last = self.was_short
            too_long = len(self._message) > limit
            if too_long or is_last:
                message, self._message = self._message, bytearray()
                skipped, self._skipping = self._skipping, (self._skipping or too_long) and not is_last
                if too_long:
                    raise MessageTooLongError(f"{self.name}: a message of more than {limit} bytes")
                if not skipped:
                    return bytes(message)

    async def read_some(self) -> bytes:
        """Reads what has arrived: one byte at least, and all there is, whichever transfers it came in.

        For streams of bytes, whose packets mean nothing: where the host sends many small ones, this takes them
        together, 64 KiB at a time, or half of what is kept in flight if that is more. Cancelling, or a time-out, loses
        nothing. The errors are those of the iteration.
        """
        with self._exclusive():
            if self._rest:
                rest, self._rest = bytes(self._rest), memoryview(b"")
                return rest
            while True:
                self._borrow()
                result = self._reading().copy()
                if not isinstance(result, int):
                    return result
                await self._wait(result)

    async def read(self, size: int) -> bytes:
        """Reads exactly ``size`` bytes, across transfers; what is left of one is kept for the next read.

        Cancelling, or a time-out, loses nothing: the next read has what this one would have had. The errors are those
        of the iteration.
        """
        buffer = bytearray(size)
        await self.read_into(buffer)
        return bytes(buffer)

    async def read_into(self, buffer: bytearray | memoryview) -> None:
        """Fills the buffer exactly, across transfers; otherwise as :meth:`read`."""
        # Released whatever happens: CPython before 3.11.9 crashes when it collects a memoryview in a cycle, and the
        # frames in the traceback of an exception that somebody keeps make one.
        with self._exclusive(), memoryview(buffer) as given, given.cast("B") as whole:
            if whole.readonly:
                raise UsageError(f"{self.name}: read_into() fills a buffer, and this one is read-only")
            filled = 0
            try:
                while filled < len(whole):
                    while not self._rest:
                        self._borrow()
                        self._rest = await self._next()
                        self._hand_over(len(self._rest), is_whole=False)
                    filled += self._move_rest(whole, filled)
            except BaseException:
                # It happened while it waited, so there is no other rest: the next read has what this one would have.
                self._rest = memoryview(bytes(whole[:filled]))
                raise

    def _move_rest(self, whole: memoryview, filled: int) -> int:
        part = self._rest[: len(whole) - filled]
        whole[filled : filled + len(part)] = part
        self._rest = self._rest[len(part) :]
        return len(part)

    def _resume(self) -> None:
        """Receives again at once, whether or not the function reads."""
        super()._resume()
        if self._reader is not None:
            self._reader.arm()

    async def _halt(self, ending: Ending) -> None:
        # dummy_hcd halts an OUT endpoint at any time; dwc3 says EAGAIN while transfers are started.
        while not await self._try_halt(ending):
            await self._take_back("halted")

    def _wrong_way(self) -> None:
        os.write(self._fd, b"")


class Messages:
    """The messages of an endpoint, one a step; see :meth:`gadget.OutEndpoint.messages`."""

    def __init__(self, endpoint: OutEndpoint, limit: int) -> None:
        self._endpoint = endpoint
        self._limit = limit

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        with self._endpoint._exclusive():
            return await self._endpoint._next_message(self._limit)
