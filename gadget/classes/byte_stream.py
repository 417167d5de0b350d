"""Bytes to and from the host, with the methods of asyncio's streams."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, Self

from gadget.errors import EndpointBusyError, HostNotReadingError, MessageTooLongError

#: Stands for the time that a stream has for all of its writes.
USUAL: Final = -1.0


class ByteStream(ABC):
    """Reads and writes bytes.

    The methods to read are those of :class:`asyncio.StreamReader`, but for the end: when the host goes they raise
    :class:`~gadget.errors.DisconnectedError`, and what it has sent before is gone. Cancelling a read loses nothing.

    Attributes:
        write_timeout: How long a write may wait for the host, in seconds; None is for ever.
        limit: The longest line, in bytes: the host is not trusted with this machine's memory.
    """

    write_timeout: float | None = 10.0
    limit = 1 << 16

    _received: bytearray
    _reads = _writes = False

    def __new__(cls, *arguments: object, **keywords: object) -> Self:
        """Not in __init__: a subclass need not call that of this class."""
        self = super().__new__(cls)
        self._received = bytearray()
        return self

    def _forget(self) -> None:
        """Nothing that has arrived is of use any more."""
        self._received.clear()

    @abstractmethod
    async def _receive(self) -> bytes:
        """The next bytes from the host, one at least."""

    @abstractmethod
    async def _send(self, data: memoryview) -> None:
        """Hands data on to the host, as far as there is room for it."""

    @abstractmethod
    async def _sent(self) -> None:
        """Waits until the host has everything."""

    # ---- reading -----------------------------------------------------------------------------------------------------

    async def read(self, size: int = -1) -> bytes:
        """What has arrived: one byte at least.

        Args:
            size: How many bytes at most; without it, whatever is there. Unlike asyncio's, it does not wait for the end.
        """
        with self._alone("_reads"):
            if not self._received and size:
                self._received += await self._receive()
            return self._take(len(self._received) if size < 0 else size)

    async def readexactly(self, size: int) -> bytes:
        """Exactly so many bytes."""
        with self._alone("_reads"):
            while len(self._received) < size:
                self._received += await self._receive()
            return self._take(size)

    async def readuntil(self, separator: bytes = b"\n") -> bytes:
        """Everything up to a separator, and the separator.

        Raises:
            MessageTooLongError: There is none within ``limit`` bytes; those are dropped.
        """
        with self._alone("_reads"):
            searched = 0
            while (at := self._received.find(separator, searched)) < 0:
                if len(self._received) > self.limit:
                    self._forget()
                    raise MessageTooLongError(f"{type(self).__name__}: no end of a line within {self.limit} bytes")
                searched = max(0, len(self._received) - len(separator) + 1)
                self._received += await self._receive()
            return self._take(at + len(separator))

    async def readline(self) -> bytes:
        """A line with its end, a line feed."""
        return await self.readuntil(b"\n")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """The next line."""
        return await self.readline()

    def _take(self, size: int) -> bytes:
        data = bytes(self._received[:size])
        del self._received[:size]
        return data

    # ---- writing -----------------------------------------------------------------------------------------------------

    async def write(self, data: bytes | bytearray | memoryview, timeout: float | None = USUAL) -> None:
        """Sends data; returns when it is on its way, so the buffer is the caller's again. :meth:`drain` waits longer.

        Args:
            data: What to send.
            timeout: Seconds that it may take; ``write_timeout`` by default, None for ever.

        Raises:
            HostNotReadingError: The host did not take it in time. A part of it may be on its way.
            DisconnectedError: The host has gone.
            EndpointBusyError: Another task writes.
        """
        with self._alone("_writes"), memoryview(data).cast("B") as view:
            await self._limited(self._send(view), timeout, f"{len(view)} bytes")

    async def drain(self, timeout: float | None = USUAL) -> None:
        """Waits until the host has everything; the arguments and errors are those of :meth:`write`."""
        with self._alone("_writes"):
            await self._limited(self._sent(), timeout, "what was written")

    async def _limited(self, sending: Coroutine[Any, Any, None], timeout: float | None, what: str) -> None:
        seconds = self.write_timeout if timeout == USUAL else timeout
        try:
            async with asyncio.timeout(seconds) as limit:
                await sending
        except TimeoutError as error:
            if not limit.expired():
                raise
            advice = "does a program have the port open there, and read?"
            message = f"{type(self).__name__}: the host did not take {what} within {seconds:g} s; {advice}"
            raise HostNotReadingError(message) from error

    @contextmanager
    def _alone(self, direction: str) -> Iterator[None]:
        """One task at a time in each direction: two would get parts of each other's lines."""
        if getattr(self, direction):
            raise EndpointBusyError(f"{type(self).__name__}: another task is using it; give each direction to one task")
        setattr(self, direction, True)
        try:
            yield
        finally:
            setattr(self, direction, False)
