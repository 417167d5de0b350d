"""Any loop can watch fileno() and call reap(): select, epoll, trio. And asyncio on uvloop."""

from __future__ import annotations

import asyncio
import mmap
import os
import select
import selectors
import time
from array import array
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import trio

from gadget.aio import AsyncContext, Context, Operation, Pieces

from .conftest import CONTENT, HeldFile

PATIENCE = 20.0


@pytest.mark.parametrize("kind", [selectors.SelectSelector, selectors.PollSelector, selectors.EpollSelector])
def test_a_selector(kind: type[selectors.BaseSelector], context: Context, file: int, pipe: tuple[int, int]) -> None:
    ended: list[Operation] = []
    with kind() as selector:
        selector.register(context, selectors.EVENT_READ)
        poll = context.poll(pipe[0], select.POLLIN)
        context.submit()
        assert selector.select(0) == []
        os.write(pipe[1], b"x")
        reads = [context.read(file, bytearray(8), 8 * number) for number in range(4)]
        context.submit()
        while len(ended) < 5:
            assert selector.select(PATIENCE)
            ended += context.reap()
        assert selector.select(0) == []
    assert set(ended) == {poll, *reads}


class TrioContext:
    """An operation is awaited through its callback; one task watches the eventfd for all."""

    def __init__(self, context: Context) -> None:
        self.context = context

    async def reap(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self.context.fileno())
            self.context.reap()

    async def run(self, operation: Operation) -> int:
        ended = trio.Event()
        operation.callback = lambda _: ended.set()
        self.context.start(operation)
        self.context.submit()
        await ended.wait()
        return operation.check()


def test_trio(file: int, pipe: tuple[int, int]) -> None:
    async def main() -> None:
        buffer = bytearray(16)
        with Context(4) as context, trio.fail_after(PATIENCE):
            aio = TrioContext(context)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(aio.reap)
                assert await aio.run(Operation.read(file, buffer, 32)) == 16
                assert buffer == CONTENT[32:48]
                nursery.start_soon(trio.to_thread.run_sync, os.write, pipe[1], b"x")
                assert await aio.run(Operation.poll(pipe[0], select.POLLIN)) & select.POLLIN
                nursery.cancel_scope.cancel()

    trio.run(main)


LOOPS = ["asyncio", "uvloop"]


def run(loop: str, main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=import_module(loop).new_event_loop) as runner:
        runner.run(main)


@pytest.fixture
def loop(request: pytest.FixtureRequest, libuv: None) -> str:
    name: str = request.param
    pytest.importorskip(name, reason=f"{name} is not installed; there is no wheel of it for some machines")
    return name


@pytest.fixture(scope="module")
def libuv() -> None:
    """libuv opens a pipe for signals once a process, and keeps it: not for the test that happens to be the first."""
    if find_spec("uvloop"):
        run("uvloop", asyncio.sleep(0))


@pytest.mark.parametrize("loop", LOOPS, indirect=True)
def test_asyncio_and_uvloop(loop: str, file: int, pipe: tuple[int, int]) -> None:
    async def main() -> None:
        async with asyncio.timeout(PATIENCE), AsyncContext(4) as aio:
            buffers = [bytearray(8) for _ in range(50)]
            poll = asyncio.create_task(aio.poll(pipe[0], select.POLLIN))
            reads = [aio.read(file, buffer, 8 * number) for number, buffer in enumerate(buffers)]
            assert await asyncio.gather(*reads) == [8] * 50
            assert b"".join(buffers) == CONTENT[:400]
            assert not poll.done()
            os.write(pipe[1], b"x")
            assert await poll & select.POLLIN
            cancelled = asyncio.create_task(aio.poll(pipe[0], select.POLLPRI))
            await asyncio.sleep(0)
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            read = Operation.read(file, buffers[0])
            assert [await aio.run(read, offset) for offset in (0, 9, 65535)] == [8, 8, 1]

    run(loop, main())


@pytest.mark.parametrize("loop", LOOPS, indirect=True)
def test_the_loop_has_its_turn_beside_cached_reads(loop: str, file: int) -> None:
    """They end without the loop; it must not starve for that."""

    async def main() -> None:
        rounds = 0

        async def count() -> None:
            nonlocal rounds
            while True:
                rounds += 1
                await asyncio.sleep(0)

        async with AsyncContext(4) as aio:
            counting = asyncio.create_task(count())
            buffer = bytearray(8)
            for number in range(640):
                await aio.read(file, buffer, number)
            counting.cancel()
        assert 20 <= rounds <= 320, "neither never nor always"

    run(loop, main())


def test_closing_under_asyncio_lets_the_loop_run(held_file: HeldFile) -> None:
    async def main() -> None:
        with held_file.opened() as file, Pieces(1, 4096) as pieces:
            aio = AsyncContext(1)
            read = asyncio.create_task(aio.read(file, pieces.views[0]))
            await asyncio.sleep(0)
            # The answer comes from the loop, so closing must not keep it from running.
            asyncio.get_running_loop().call_later(0.05, held_file.answer)
            await aio.aclose(PATIENCE)
            assert await read == 4096

    asyncio.run(main())


def would_block(file: int) -> bool:
    """Whether a read without waiting finds nothing."""
    try:
        return not os.preadv(file, [bytearray(4096)], 8192, os.RWF_NOWAIT)
    except BlockingIOError:
        return True
    except OSError as error:
        pytest.skip(f"RWF_NOWAIT on the file system of temporary files: {error.strerror}")


def forget(file: int) -> None:
    """Has the kernel drop what it has cached of it: it may not, and it may read it again at once."""
    os.fsync(file)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)


def can_be_cold(file: int) -> bool:
    for _ in range(50):
        forget(file)
        if would_block(file):
            return True
    return False


def test_what_is_cached_is_read_without_a_thread(file: int) -> None:
    assert not would_block(file)
    threads: list[None] = []
    asyncio.run(read_nowait(file, threads))
    assert threads == []


def test_reads_that_would_block_are_made_by_a_thread(file: int) -> None:
    if not can_be_cold(file):
        pytest.skip("the file system of temporary files has them in memory only")
    threads: list[None] = []
    deadline = time.monotonic() + PATIENCE
    while not threads:
        assert time.monotonic() < deadline
        forget(file)
        asyncio.run(read_nowait(file, threads))


async def read_nowait(file: int, threads: list[None]) -> None:
    """``threads`` gets an item for each that the loop's executor has begun."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1, initializer=lambda: threads.append(None)))
    buffer = bytearray(4096)
    async with AsyncContext(1) as aio:
        assert await aio.read_nowait(file, buffer, 8192) == 4096
    assert buffer == CONTENT[8192 : 8192 + 4096]
    buffer.clear()


def test_writes_that_would_block_and_what_is_no_file(file: int) -> None:
    async def main() -> None:
        async with AsyncContext(1) as aio:
            assert await aio.write_nowait(file, b"new", 5) == 3
            with pytest.raises(OSError, match="Bad file"):
                await aio.read_nowait(-1, bytearray(1))

    asyncio.run(main())
    assert os.pread(file, 3, 5) == b"new"


def test_what_is_cached_in_part_is_read_as_a_whole(tmp_path: Path) -> None:
    size, page = 1 << 20, mmap.PAGESIZE
    descriptor = os.open(tmp_path / "cold", os.O_RDWR | os.O_CREAT)
    os.write(descriptor, data := os.urandom(size))
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)  # the page, and nothing ahead of it
    os.pread(descriptor, page, 0)

    async def main() -> None:
        async with AsyncContext(1) as aio:
            numbers = array("I", bytes(size))
            assert await aio.read_nowait(descriptor, numbers) == size
            assert numbers.tobytes() == data
            assert await aio.read_nowait(descriptor, bytearray(size), page) == size - page
            assert await aio.read_nowait(descriptor, bytearray(1), size) == 0

    asyncio.run(main())
    os.close(descriptor)
