"""``gadget.aio``: operations prepared once and started again and again, the convenient ones, and those of asyncio."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from benchmarks.programs.reads import BLOCK, buffers, shares, wrong
from gadget.aio import AsyncContext, Batch, Context, Operation


class Rearmed:
    """A :class:`gadget.aio.Batch`: it tells whether an operation of a turn has failed, and how many bytes it moved."""

    def __init__(self, fd: int, depth: int, offsets: Iterator[int]) -> None:
        self._offsets = offsets
        self._buffers = buffers(depth)
        self._batch = Batch(fd, self._buffers)

    def run(self, count: int) -> None:
        before = self._batch.moved
        if len(self._buffers) == 1:
            self._one_by_one(count)
        else:
            self._turns(count)
        if self._batch.moved - before != count * BLOCK:
            raise wrong(0)

    def _one_by_one(self, count: int) -> None:
        run = self._batch.run
        for offset in islice(self._offsets, count):
            run(offset)

    def _turns(self, count: int) -> None:
        batch, offsets = self._batch, self._offsets
        left, idle = count, len(self._buffers)
        while left:
            starting = min(idle, left)
            idle = idle - starting + batch.turn(list(islice(offsets, starting)))
            left -= starting
            if batch.failed:
                batch.check()
        while batch.in_flight:
            batch.turn()
            batch.check()

    def blocks(self) -> Sequence[memoryview]:
        return self._buffers

    def close(self) -> None:
        self._batch.close()


class RearmedEach(Rearmed):
    """The same for a program that looks at each operation by itself, since it has something to do with its data."""

    def _one_by_one(self, count: int) -> None:
        run = self._batch.run
        for offset in islice(self._offsets, count):
            if (result := run(offset)) != BLOCK:
                raise wrong(result)

    def _turns(self, count: int) -> None:
        batch, offsets = self._batch, self._offsets
        ended, results = batch.ended, batch.results
        left, idle = count, len(self._buffers)
        while left or batch.in_flight:
            starting = min(idle, left)
            done = batch.turn(list(islice(offsets, starting)))
            idle += done - starting
            left -= starting
            for number in ended[:done]:
                if (result := results[number]) != BLOCK:
                    raise wrong(result)


class Convenient:
    """A :class:`gadget.aio.Context`: an operation for each read, with the buffer that it is given.

    Who reads one block after the other runs them.
    """

    def __init__(self, fd: int, depth: int, offsets: Iterator[int]) -> None:
        self._fd, self._offsets = fd, offsets
        self._buffers = buffers(depth)
        self._context = Context(depth)

    def run(self, count: int) -> None:
        if len(self._buffers) == 1:
            self._one_by_one(count)
        else:
            self._together(count)

    def _one_by_one(self, count: int) -> None:
        run, read, fd, (buffer,) = self._context.run, Operation.read, self._fd, self._buffers
        for offset in islice(self._offsets, count):
            if (result := run(read(fd, buffer, offset))) != BLOCK:
                raise wrong(result)

    def _together(self, count: int) -> None:
        context, fd, offsets = self._context, self._fd, self._offsets
        read, left, flying = context.read, count, 0
        idle: list[Any] = self._buffers[:count]
        while left or flying:
            idle = idle[:left]
            for buffer, offset in zip(idle, offsets, strict=False):
                read(fd, buffer, offset).user_data = buffer
            context.submit()
            left -= len(idle)
            done = context.wait()
            flying += len(idle) - len(done)
            idle = []
            for operation in done:
                if (result := operation.check()) != BLOCK:
                    raise wrong(result)
                idle.append(operation.user_data)

    def blocks(self) -> Sequence[memoryview]:
        return self._buffers

    def close(self) -> None:
        self._context.close()


class Prepared(Convenient):
    """The same with an operation for each buffer, which is pinned once: ``Operation.read`` and ``Context.start``."""

    def __init__(self, fd: int, depth: int, offsets: Iterator[int]) -> None:
        super().__init__(fd, depth, offsets)
        self._operations = [Operation.read(fd, buffer) for buffer in self._buffers]

    def _one_by_one(self, count: int) -> None:
        run, (operation,) = self._context.run, self._operations
        for offset in islice(self._offsets, count):
            if (result := run(operation, offset)) != BLOCK:
                raise wrong(result)

    def _together(self, count: int) -> None:
        context, offsets = self._context, self._offsets
        batch, left, flying = self._operations[:count], count, 0
        while left or flying:
            batch = batch[:left]
            for operation in batch:
                operation.offset = next(offsets)
            context.start(*batch)
            context.submit()
            left -= len(batch)
            flying += len(batch)
            batch = context.wait()
            flying -= len(batch)
            for operation in batch:
                if operation.result != BLOCK:
                    raise wrong(operation.result or 0)


class Asyncio:
    """A :class:`gadget.aio.AsyncContext`: ``await context.read(...)`` in so many tasks."""

    def __init__(self, fd: int, depth: int, offsets: Iterator[int]) -> None:
        self._fd, self._depth, self._offsets = fd, depth, offsets
        self._buffers = buffers(depth)
        self._runner = asyncio.Runner()
        self._context = self._runner.run(self._open())

    async def _open(self) -> AsyncContext:
        return AsyncContext(self._depth)

    async def _task(self, buffer: memoryview, count: int) -> None:
        fd, read = self._fd, self._context.read
        for offset in islice(self._offsets, count):
            if (result := await read(fd, buffer, offset)) != BLOCK:
                raise wrong(result)

    async def _tasks(self, count: int) -> None:
        await asyncio.gather(*map(self._task, self._buffers, shares(count, self._depth)))

    def run(self, count: int) -> None:
        self._runner.run(self._tasks(count))

    def blocks(self) -> Sequence[memoryview]:
        return self._buffers

    def close(self) -> None:
        self._runner.run(self._context.aclose())
        self._runner.close()


class PreparedAsyncio(Asyncio):
    """The same with an operation for each task, which is pinned once: ``await context.run(operation, offset)``."""

    async def _task(self, buffer: memoryview, count: int) -> None:
        operation, run = Operation.read(self._fd, buffer), self._context.run
        for offset in islice(self._offsets, count):
            if (result := await run(operation, offset)) != BLOCK:
                raise wrong(result)
