"""A client of the block server."""

from __future__ import annotations

import asyncio
import os
import struct
from typing import Final

BLOCK: Final = 4096
REQUEST: Final = struct.Struct("!HHIQ")
READ, WRITE, FLUSH = range(3)


class Blocks:
    """A connection, with one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connect(cls, port: int) -> Blocks:
        """Connects to a server on this machine."""
        return cls(*await asyncio.open_connection("localhost", port))

    async def read(self, first: int, count: int = 1) -> bytes:
        """So many blocks, from that one on."""
        await self._ask(READ, first, count)
        return await self._reader.readexactly(count * BLOCK)

    async def write(self, first: int, data: bytes) -> None:
        """Writes whole blocks."""
        await self._ask(WRITE, first, len(data) // BLOCK, data)

    async def flush(self) -> None:
        """What was written is on the device when this returns."""
        await self._ask(FLUSH, 0, 0)

    async def _ask(self, what: int, first: int, count: int, data: bytes = b"") -> None:
        self._writer.write(REQUEST.pack(what, 0, count, first) + data)
        (code,) = struct.unpack("!I", await self._reader.readexactly(4))
        if code:
            raise OSError(code, os.strerror(code))

    async def close(self) -> None:
        """Leaves."""
        self._writer.close()
        await self._writer.wait_closed()
