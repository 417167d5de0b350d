"""caio, by its own interface: an operation is for one read, and has its bytes afterwards.

Its contexts can be waited on for a number of completions, but say which operations these were to their callbacks only.
So without asyncio, what is quickest with it is to wait for a whole batch.
"""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import islice

from caio import linux_aio, linux_aio_asyncio, linux_uring, linux_uring_asyncio

from benchmarks.programs.reads import BLOCK, shares, wrong


class Caio:
    """``linux_aio``: ``Context.submit`` and ``process_events``."""

    def __init__(self, fd: int, depth: int, offsets: Iterator[int]) -> None:
        self._fd, self._depth, self._offsets = fd, depth, offsets
        self._context = linux_aio.Context(max_requests=depth)
        self._data: list[bytes] = []

    def run(self, count: int) -> None:
        fd, depth, read, context = self._fd, self._depth, linux_aio.Operation.read, self._context
        while count > 0:
            batch = [read(BLOCK, fd, offset) for offset in islice(self._offsets, min(depth, count))]
            taken = context.submit(*batch)
            if taken != len(batch):
                raise wrong(0)
            context.process_events(taken, taken, -1)
            self._data = [operation.get_value() for operation in batch]
            for data in self._data:
                if len(data) != BLOCK:
                    raise wrong(len(data))
            count -= taken

    def blocks(self) -> Sequence[bytes]:
        return self._data

    def close(self) -> None:
        pass


class CaioUring:
    """``linux_uring``: ``Context.submit``, ``flush`` and ``process_events``."""

    def __init__(self, fd: int, depth: int, offsets: Iterator[int]) -> None:
        self._fd, self._depth, self._offsets = fd, depth, offsets
        self._context = linux_uring.Context(max_requests=depth)
        self._data: list[bytes] = []

    def run(self, count: int) -> None:
        fd, depth, read, context = self._fd, self._depth, linux_uring.Operation.read, self._context
        while count > 0:
            batch = [read(BLOCK, fd, offset) for offset in islice(self._offsets, min(depth, count))]
            taken = context.submit(*batch)
            if taken != len(batch):
                raise wrong(0)
            done = context.flush()
            while done < taken:
                done += context.process_events(depth, 1, -1)
            self._data = [operation.get_value() for operation in batch]
            for data in self._data:
                if len(data) != BLOCK:
                    raise wrong(len(data))
            count -= taken

    def blocks(self) -> Sequence[bytes]:
        return self._data

    def close(self) -> None:
        pass


class CaioAsyncio:
    """``linux_aio_asyncio``: ``await context.read(...)`` in so many tasks."""

    context = linux_aio_asyncio.AsyncioContext

    def __init__(self, fd: int, depth: int, offsets: Iterator[int]) -> None:
        self._fd, self._depth, self._offsets = fd, depth, offsets
        self._runner = asyncio.Runner()
        self._context = self._runner.run(self._open())
        self._data = [b""] * depth

    async def _open(self) -> linux_aio_asyncio.AsyncioContext:
        return self.context(max_requests=self._depth)

    async def _task(self, place: int, count: int) -> None:
        fd, read, kept = self._fd, self._context.read, self._data
        for offset in islice(self._offsets, count):
            data = await read(BLOCK, fd, offset)
            if len(data) != BLOCK:
                raise wrong(len(data))
            kept[place] = data

    async def _tasks(self, count: int) -> None:
        await asyncio.gather(*map(self._task, range(self._depth), shares(count, self._depth)))

    def run(self, count: int) -> None:
        self._runner.run(self._tasks(count))

    def blocks(self) -> Sequence[bytes]:
        return self._data

    def close(self) -> None:
        self._context.close()
        self._runner.close()


class CaioDeferredAsyncio(CaioAsyncio):
    """The same with its option to submit once for all tasks that are ready."""

    async def _open(self) -> linux_aio_asyncio.AsyncioContext:
        return self.context(max_requests=self._depth, deferred=True)


class CaioUringAsyncio(CaioAsyncio):
    """``linux_uring_asyncio``: the same with io_uring."""

    context = linux_uring_asyncio.AsyncioContext
