"""Reads a file in pieces of 64 KiB, eight of them in flight at once, past the page cache; prints its SHA-256."""

import asyncio
import hashlib
import os
import sys

from gadget.aio import AsyncContext, Pieces

SIZE, DEPTH = 65536, 8


async def digest(path: str) -> str:
    """Returns the SHA-256 of a file, in hexadecimal."""
    buffers = Pieces(DEPTH, SIZE).views
    result = hashlib.sha256()
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        async with AsyncContext(DEPTH) as context:
            for start in range(0, os.fstat(fd).st_size, DEPTH * SIZE):
                reads = [context.read(fd, buffer, start + i * SIZE) for i, buffer in enumerate(buffers)]
                for buffer, count in zip(buffers, await asyncio.gather(*reads), strict=True):
                    result.update(buffer[:count])
    finally:
        os.close(fd)
    return result.hexdigest()


if __name__ == "__main__":
    print(asyncio.run(digest(sys.argv[1])))
