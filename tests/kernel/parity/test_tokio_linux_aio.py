"""tokio-linux-aio: futures, O_DIRECT, sync levels, slots."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from gadget.aio import AsyncContext, Context, Operation, Pieces, Sync, direct_alignment

PATIENCE = 30.0
CONTENT = bytes(range(256)) * 512


def run(main: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE):
            await main

    asyncio.run(bounded())


@pytest.fixture
def direct(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "direct").write_bytes(CONTENT)
    try:
        descriptor = os.open(tmp_path / "direct", os.O_RDWR | os.O_DIRECT)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        pytest.skip(f"the file system of {tmp_path} refuses O_DIRECT")
    yield descriptor
    os.close(descriptor)


def test_create_and_close() -> None:
    async def main() -> None:
        await AsyncContext(1).aclose()
        async with AsyncContext(10):
            pass

    run(main())


def test_create_and_drop() -> None:
    """It goes with its loop; that nothing is left is looked at after every test."""

    async def main() -> None:
        AsyncContext(1)

    with pytest.warns(ResourceWarning, match="was not closed"):
        run(main())


def test_o_direct_reads_into_locked_aligned_memory(direct: int) -> None:
    async def main() -> None:
        with Pieces(4, 8192, locked=True) as pieces:
            async with AsyncContext(4) as aio:
                reads = [aio.read(direct, piece, 8192 * i) for i, piece in enumerate(pieces.views)]
                assert await asyncio.gather(*reads) == [8192] * 4
            assert b"".join(pieces.views) == CONTENT[: 4 * 8192]

    run(main())


@pytest.mark.parametrize("sync", list(Sync))
@pytest.mark.parametrize("offset", [16384, 32768, 49152])
def test_o_direct_writes_at_each_sync_level(direct: int, sync: Sync, offset: int, tmp_path: Path) -> None:
    async def main() -> None:
        with Pieces(1, 16384) as pieces:
            pieces.views[0][:] = data = os.urandom(16384)
            async with AsyncContext(1) as aio:
                assert await aio.write(direct, pieces.views[0], offset, sync=sync) == 16384
        expected = bytearray(CONTENT)
        expected[offset : offset + 16384] = data
        assert (tmp_path / "direct").read_bytes() == expected

    run(main())


def test_fsync_and_fdsync(direct: int) -> None:
    async def main() -> None:
        async with AsyncContext(2) as aio:
            await asyncio.gather(aio.fsync(direct), aio.fdsync(direct))

    run(main())


def test_an_invalid_descriptor_is_an_error_and_the_buffer_comes_back() -> None:
    async def main() -> None:
        buffer = bytearray(8)
        async with AsyncContext(1) as aio:
            for call in (aio.read, aio.write):
                with pytest.raises(OSError, match="Bad file descriptor"):
                    await call(-1, buffer)
                buffer.extend(b"mine")
            assert aio.context.free_slots == 1

    run(main())


def test_an_unaligned_offset_is_an_error(direct: int) -> None:
    async def main() -> None:
        alignment = direct_alignment(direct)
        with Pieces(1, alignment.offset) as pieces:
            async with AsyncContext(1) as aio:
                with pytest.raises(OSError, match="Invalid argument"):
                    await aio.read(direct, pieces.views[0], alignment.offset // 2)
                assert await aio.read(direct, pieces.views[0], alignment.offset) == alignment.offset

    run(main())


def test_fifty_waves_of_a_hundred_reads_through_seven_slots(direct: int) -> None:
    async def main() -> None:
        size = direct_alignment(direct).offset
        with Pieces(100, size) as pieces:
            async with AsyncContext(7) as aio:
                for wave in range(50):
                    offsets = [(wave + i) * size % len(CONTENT) for i in range(100)]
                    reads = [aio.read(direct, view, at) for view, at in zip(pieces.views, offsets, strict=True)]
                    assert await asyncio.gather(*reads) == [size] * 100
                    assert list(pieces.views) == [CONTENT[at : at + size] for at in offsets]
                assert (aio.context.free_slots, aio.context.in_flight) == (7, 0)

    run(main())


def test_three_read_modify_write_chains_through_seven_slots(direct: int) -> None:
    async def chain(aio: AsyncContext, view: memoryview, at: int) -> None:
        for step in range(60):
            assert await aio.read(direct, view, at) == len(view)
            assert step == 0 or view[:4] == step.to_bytes(4)
            view[:4] = (step + 1).to_bytes(4)
            assert await aio.write(direct, view, at) == len(view)

    async def main() -> None:
        size = direct_alignment(direct).offset
        with Pieces(3, size) as pieces:
            async with AsyncContext(7) as aio, asyncio.TaskGroup() as group:
                for number, view in enumerate(pieces.views):
                    group.create_task(chain(aio, view, number * size))

    run(main())


@pytest.mark.parametrize("semaphore", [False, True])
def test_an_eventfd_as_a_counter_and_as_a_semaphore(file: int, semaphore: bool) -> None:
    eventfd = os.eventfd(0, os.EFD_NONBLOCK | (os.EFD_SEMAPHORE if semaphore else 0))
    try:
        with Context(3) as context:
            reads = [Operation.read(file, bytearray(1)) for _ in range(3)]
            for read in reads:
                read.eventfd = eventfd
            context.start(*reads)
            context.submit()
            assert context.wait_all(reads, PATIENCE)
            assert [os.eventfd_read(eventfd) for _ in range(3 if semaphore else 1)] == ([1, 1, 1] if semaphore else [3])
    finally:
        os.close(eventfd)
