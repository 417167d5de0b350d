"""Bulk and interrupt endpoints as a function uses them; :mod:`gadget.functionfs.declared_endpoints` declares them.

A *packet* is at most wMaxPacketSize bytes, a *transfer* is one request to the kernel, a *message* is what a protocol
means. An OUT transfer ends with a packet shorter than wMaxPacketSize (zero bytes included) or when it is full; USB says
no more than that. So a host that sends 512 bytes into a 16 KiB transfer at high speed, and nothing after them, has not
ended it: either the host closes each message with a zero-length packet, or the endpoint is declared with
``transfer_size=PACKET`` and hands over every packet at once.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from gadget.aio import AsyncContext, Counters, ReadStream, Wakeup, WriteStream
from gadget.errors import DisconnectedError, EndpointBusyError, MessageTooLongError, transfer_error

#: For ``transfer_size``: transfers of one packet at the speed of the connection.
PACKET: Final = -1

#: _IOR('g', 130, struct usb_endpoint_descriptor), which is 9 bytes (functionfs.h, FUNCTIONFS_ENDPOINT_DESC).
_ENDPOINT_DESC = 0x80096782

#: The largest packet of any speed: what PACKET reserves, since buffers are made before the speed is known.
_LARGEST_PACKET = 1024


class Endpoint(ABC):
    """One endpoint of a live function: what the directions share.

    Attributes:
        name: The function's class and the endpoint's name in it.
        address: bEndpointAddress as the host sees it; 0 before the first ENABLE.
        packet_size: wMaxPacketSize at the speed of the connection; 0 before the first ENABLE.
    """

    def __init__(self, name: str, transfer_size: int, depth: int) -> None:
        self.name = name
        self.address = 0
        self.packet_size = 0
        self._transfer_size = transfer_size
        self._depth = depth
        self._fd = -1
        self._in_use = False
        self._wakeup = Wakeup(name)

    @property
    @abstractmethod
    def _stream(self) -> ReadStream | WriteStream | None:
        """The stream, once the endpoint file is open."""

    def _attach(self, context: AsyncContext, folder: Path, number: int) -> None:
        """Opens the endpoint file and the stream on it: before ENABLE, hence O_NONBLOCK."""
        self._fd = os.open(folder / f"ep{number}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        size = _LARGEST_PACKET if self._transfer_size == PACKET else self._transfer_size
        self._open_stream(context, size)

    @abstractmethod
    def _open_stream(self, context: AsyncContext, size: int) -> None:
        """Opens the stream, with room for transfers of ``size`` bytes."""

    def _start(self) -> None:
        """A generation begins: the endpoint has an address and a packet size now."""
        raw = fcntl.ioctl(self._fd, _ENDPOINT_DESC, bytes(9))
        self.address, self.packet_size = raw[2], int.from_bytes(raw[4:6], "little") & 0x7FF
        if self._stream is not None:
            self._stream.start(self.transfer_size)

    @property
    def transfer_size(self) -> int:
        """Bytes of one full transfer; an OUT transfer that is shorter was ended by a short or zero-length packet."""
        return self.packet_size if self._transfer_size == PACKET else self._transfer_size

    def _stop(self) -> None:
        if self._stream is not None:
            self._stream.stop()

    def _detach(self) -> None:
        """Closes the stream and the endpoint file; what is in flight must have been drained."""
        if self._stream is not None:
            self._stream.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    async def _drained(self) -> None:
        """Waits until the kernel has given every transfer back."""
        while self._stream is not None and self._stream.counters.in_flight:
            await self._wakeup.wait()

    @property
    def counters(self) -> Counters:
        """Transfers, bytes and errors since the endpoint was opened."""
        if self._stream is None:
            raise DisconnectedError(f"{self.name} is not being served")
        return self._stream.counters

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """One task at a time: two writing or reading by turns would interleave their data."""
        if self._in_use:
            raise EndpointBusyError(f"{self.name}: another task is using it; give each direction to one task")
        self._in_use = True
        try:
            yield
        finally:
            self._in_use = False

    def _ended(self, result: int) -> Exception:
        return transfer_error(-result, self.name)


class OutEndpoint(Endpoint):
    """Receives from the host. Iterate over it for transfers, or over :meth:`messages`; or :meth:`read` exactly."""

    def __init__(self, name: str, transfer_size: int, depth: int) -> None:
        super().__init__(name, transfer_size, depth)
        self._reader: ReadStream | None = None
        self._rest = memoryview(b"")
        self._borrower: asyncio.Task[object] | None = None
        self._message = bytearray()
        self._skipping = False

    @property
    def _stream(self) -> ReadStream | None:
        return self._reader

    def _open_stream(self, context: AsyncContext, size: int) -> None:
        self._reader = ReadStream(context.context, self._fd, self._depth, size)
        self._reader.on_change = self._wakeup.notify

    def _start(self) -> None:
        """Receives from the first moment on, whether or not the function reads yet."""
        super()._start()
        self._rest, self._message, self._skipping = memoryview(b""), bytearray(), False
        if self._reader is not None:
            self._reader.arm()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> memoryview:
        """The next transfer, of 0 to ``transfer_size`` bytes: a view that is valid until the next step.

        Raises:
            DisconnectedError: The host ended this generation.
            TransferError: The controller reported an error.
            EndpointBusyError: Another task reads from this endpoint.
        """
        reader = self._reader
        if reader is None:
            raise DisconnectedError(f"{self.name} is not being served")
        self._borrow()
        while True:
            result = reader.next()
            if not isinstance(result, int):
                return result
            if result != -errno.EAGAIN:
                raise self._ended(result)
            await self._wakeup.wait()

    def _borrow(self) -> None:
        """The next step takes the buffer lent last back, so it is for the task that has it, until that has ended."""
        task = asyncio.current_task()
        if self._borrower is not None and self._borrower is not task and not self._borrower.done():
            raise EndpointBusyError(f"{self.name}: another task reads from it; give each direction to one task")
        self._borrower = task

    def messages(self, limit: int = 1 << 20) -> Messages:
        """Iterates over messages: transfers joined up to a short or zero-length packet.

        A message that is not complete yet when the iteration stops, or is cancelled, is complete in the next one.

        Args:
            limit: The longest message accepted, in bytes: the host is not trusted with this machine's memory.

        Raises:
            MessageTooLongError: A message exceeds ``limit``; all of it is dropped, and the next step has the next one.
            DisconnectedError: The host ended this generation.
        """
        return Messages(self, limit)

    async def _next_message(self, limit: int) -> bytes:
        while True:
            transfer = await anext(self)
            if not self._skipping:
                self._message += transfer
            is_last = len(transfer) < self.transfer_size
            too_long = len(self._message) > limit
            if too_long or is_last:
                message, self._message = self._message, bytearray()
                skipped, self._skipping = self._skipping, (self._skipping or too_long) and not is_last
                if too_long:
                    raise MessageTooLongError(f"{self.name}: a message of more than {limit} bytes")
                if not skipped:
                    return bytes(message)

    async def read(self, size: int) -> bytes:
        """Reads exactly ``size`` bytes, across transfers; what is left of one is kept for the next read."""
        buffer = bytearray(size)
        await self.read_into(buffer)
        return bytes(buffer)

    async def read_into(self, buffer: bytearray | memoryview) -> None:
        """Fills the buffer exactly, across transfers."""
        with self._exclusive():
            target = memoryview(buffer).cast("B")
            while target:
                while not self._rest:
                    self._rest = await self.__anext__()
                count = min(len(target), len(self._rest))
                target[:count] = self._rest[:count]
                target, self._rest = target[count:], self._rest[count:]


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


class InEndpoint(Endpoint):
    """Sends to the host."""

    def __init__(self, name: str, transfer_size: int, depth: int) -> None:
        super().__init__(name, transfer_size, depth)
        self._writer: WriteStream | None = None

    @property
    def _stream(self) -> WriteStream | None:
        return self._writer

    def _open_stream(self, context: AsyncContext, size: int) -> None:
        self._writer = WriteStream(context.context, self._fd, self._depth, size)
        self._writer.on_change = self._wakeup.notify

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queues data for the host; returns when the kernel has a copy, so the buffer is the caller's again.

        It waits only while ``depth`` transfers are in flight. Long data is taken apart by ``transfer_size``; no data is
        one zero-length packet. Whether the host has read it: :meth:`drain`. Cancelling stops between transfers.

        Raises:
            DisconnectedError: The host ended this generation; also for what was written before.
            TransferError: The controller reported an error for something written before.
            EndpointBusyError: Another task writes to this endpoint.
        """
        with self._exclusive():
            await self._write(data)

    async def _write(self, data: bytes | bytearray | memoryview) -> None:
        writer = self._writer
        if writer is None:
            raise DisconnectedError(f"{self.name} is not being served")
        rest = data if isinstance(data, bytes) else memoryview(data).cast("B")
        while True:
            result = writer.put(rest)
            if result == len(rest):
                return
            if result >= 0:
                rest = memoryview(rest)[result:]
            elif result == -errno.EAGAIN:
                await self._wakeup.wait()
            else:
                raise self._ended(result)

    async def write_message(self, data: bytes | bytearray | memoryview) -> None:
        """Writes a message: the data, and a zero-length packet where its last packet is a full one."""
        with self._exclusive():
            await self._write(data)
            length = memoryview(data).nbytes
            if length and length % self.packet_size == 0:
                await self._write(b"")

    async def drain(self) -> None:
        """Waits until the host has read everything written.

        On dummy_hcd, transfers of 64 bytes or less complete before the host reads them.

        Raises:
            DisconnectedError: The host ended this generation before.
            TransferError: The controller reported an error for any of it.
        """
        with self._exclusive():
            while (state := self.counters).in_flight - state.stale and not state.error:
                await self._wakeup.wait()
            if state.error:
                raise self._ended(-state.error)
