"""What Python has by itself: no AIO, but the calls that it is an alternative to."""

import asyncio
import os
from collections.abc import Iterator, Sequence
from itertools import islice

from benchmarks.programs.reads import BLOCK, buffers, shares, wrong


class Preadv:
    """``os.preadv``, one read after the other."""

    def __init__(self, fd: int, depth: int, offsets: Iterator[int]) -> None:
        assert depth == 1
        self._fd, self._offsets = fd, offsets
        self._buffers = buffers(1)

    def run(self, count: int) -> None:
        preadv, fd, places = os.preadv, self._fd, self._buffers
        for offset in islice(self._offsets, count):
            if (result := preadv(fd, places, offset)) != BLOCK:
                raise wrong(result)

    def blocks(self) -> Sequence[memoryview]:
        return self._buffers

    def close(self) -> None:
        pass


class ToThread:
    """``asyncio.to_thread(os.preadv)`` in so many tasks, with asyncio's own pool of threads as it is."""

    def __init__(self, fd: int, depth: int, offsets: Iterator[int]) -> None:
        self._fd, self._offsets = fd, offsets
        self._buffers = buffers(depth)
        self._runner = asyncio.Runner()

    async def _task(self, buffer: memoryview, count: int) -> None:
        fd, places = self._fd, [buffer]
        for offset in islice(self._offsets, count):
            if (result := await asyncio.to_thread(os.preadv, fd, places, offset)) != BLOCK:
                raise wrong(result)

    async def _tasks(self, count: int) -> None:
        each = shares(count, len(self._buffers))
        await asyncio.gather(*map(self._task, self._buffers, each))

    def run(self, count: int) -> None:
        self._runner.run(self._tasks(count))

    def blocks(self) -> Sequence[memoryview]:
        return self._buffers

    def close(self) -> None:
        self._runner.close()
