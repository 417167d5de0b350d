"""A tiny block server: many clients read and write one file, past the page cache, under one asyncio loop.

python examples/aio_block_server/server.py FILE [--port PORT]

A request has 16 bytes, in network byte order: what to do and zero, two bytes each; how many blocks, four bytes; the
number of the first one, eight bytes. The data of a write comes behind it. An answer is an errno of four bytes, 0 for
none, and what was read.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import os
import struct
from pathlib import Path

from gadget.aio import AsyncContext, Pieces, Sync

BLOCK = 4096
#: The most blocks of a request.
MOST = 64
REQUEST = struct.Struct("!HHIQ")
ANSWER = struct.Struct("!I")
READ, WRITE, FLUSH = range(3)


class BlockServer:
    """Serves a file; each client has one request at a time, and a buffer of its own.

    Args:
        context: Its slots are how many requests are with the device at once: the others wait in order.
        file: Opened with O_DIRECT.
        sync: What is on the device when a write is answered.
    """

    def __init__(self, context: AsyncContext, file: int, sync: Sync = Sync.NONE) -> None:
        self._context, self._file, self._sync = context, file, sync

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers a client until it leaves."""
        with Pieces(1, MOST * BLOCK) as pieces:
            try:
                while True:
                    await self._answer(reader, writer, pieces.views[0])
            except (asyncio.IncompleteReadError, ConnectionError):
                pass  # it has left
            finally:
                writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, memory: memoryview) -> None:
        what, _, count, first = REQUEST.unpack(await reader.readexactly(REQUEST.size))
        if what not in (READ, WRITE, FLUSH) or count > MOST:
            writer.write(ANSWER.pack(errno.EINVAL))
            raise ConnectionError("no request: there is no telling where the next one begins")
        buffer = memory[: count * BLOCK]
        if what == WRITE:
            buffer[:] = await reader.readexactly(len(buffer))
        try:
            moved = await self._do(what, buffer, first * BLOCK)
        except OSError as error:
            writer.write(ANSWER.pack(error.errno or errno.EIO))
        else:
            writer.write(ANSWER.pack(0 if moved == len(buffer) else errno.ENXIO))
            if what == READ and moved == len(buffer):
                writer.write(bytes(buffer))
        await writer.drain()

    async def _do(self, what: int, buffer: memoryview, offset: int) -> int:
        if what == READ:
            return await self._context.read(self._file, buffer, offset)
        if what == WRITE:
            return await self._context.write(self._file, buffer, offset, sync=self._sync)
        await self._context.fdsync(self._file)
        return 0


async def main(path: Path, port: int) -> None:
    """Serves until it is interrupted."""
    file = os.open(path, os.O_RDWR | os.O_DIRECT)
    try:
        async with AsyncContext(32) as context:
            server = await asyncio.start_server(BlockServer(context, file).serve, "localhost", port)
            async with server:
                print(f"port {server.sockets[0].getsockname()[1]}", flush=True)
                await server.serve_forever()
    finally:
        os.close(file)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.file, arguments.port))
