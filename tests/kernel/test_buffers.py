from __future__ import annotations

import asyncio
import ctypes
import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gadget.aio import AsyncContext, Context, Operation, Pieces, allocate, direct_alignment
from gadget.errors import UsageError

from .conftest import CONTENT, HeldFile


def address(buffer: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


@pytest.mark.parametrize("size", [1, mmap.PAGESIZE - 1, mmap.PAGESIZE, mmap.PAGESIZE + 1, 5 * mmap.PAGESIZE])
def test_memory_comes_in_whole_zeroed_pages(size: int) -> None:
    with allocate(size) as buffer:
        assert size <= len(buffer) < size + mmap.PAGESIZE
        assert address(buffer) % mmap.PAGESIZE == len(buffer) % mmap.PAGESIZE == 0
        assert buffer[:] == bytes(len(buffer))


def test_the_size_of_a_page_is_this_machines() -> None:
    script = "import mmap; mmap.PAGESIZE = 16384; from gadget.aio import allocate; print(len(allocate(1)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "16384\n"


def test_a_buffer_has_at_least_one_byte() -> None:
    with pytest.raises(UsageError, match="at least one byte"):
        allocate(0)


# ---- pools -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 100, mmap.PAGESIZE, mmap.PAGESIZE + 1])
def test_each_piece_begins_a_page(size: int) -> None:
    with Pieces(3, size) as pieces:
        assert [len(view) for view in pieces.views] == [size] * 3
        for number, view in enumerate(pieces.views):
            view[:] = bytes([number + 1]) * size
        starts = [ctypes.addressof(ctypes.c_char.from_buffer(view)) for view in pieces.views]
        assert {start % mmap.PAGESIZE for start in starts} == {0}
        assert [view[size - 1] for view in pieces.views] == [1, 2, 3]
        assert len(pieces) == 3


def test_a_piece_is_taken_once() -> None:
    with Pieces(2, 10) as pieces:
        with pieces.take() as one, pieces.take() as two:
            assert one is not two
            assert pieces.free == 0
            with pytest.raises(BlockingIOError, match="all 2 buffers"), pieces.take():
                pass
        assert pieces.free == 2


def test_a_piece_that_the_kernel_has_is_not_taken_again(held_file: HeldFile) -> None:
    """The task that took it is gone, but what it asked for is still to be written there."""

    async def main() -> None:
        async def read(file: int) -> None:
            with pieces.take() as view:
                await aio.read(file, view)

        with Pieces(2, 4096) as pieces, held_file.opened() as file:
            async with AsyncContext(1) as aio:
                task = asyncio.create_task(read(file))
                await asyncio.to_thread(held_file.wait_asked, 1)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert pieces.free == 1
                held_file.answer()
            assert pieces.free == 2

    asyncio.run(main())


def test_a_piece_goes_back_with_the_last_part_of_it() -> None:
    with Pieces(1, 10) as pieces:
        with pieces.take() as view:
            view[:] = b"0123456789"
            part = view[3:5]
        assert pieces.free == 0
        assert bytes(part) == b"34"
        part.release()
        with pieces.take() as again:
            assert bytes(again) == b"0123456789", "it is the same memory"


def test_a_pool_is_not_closed_in_flight(context: Context, file: int) -> None:
    pieces = Pieces(2, 10)
    read = context.read(file, pieces.views[1])
    with pytest.raises(BufferError):
        pieces.close()
    context.submit()
    assert context.wait_all([read], 20.0)
    pieces.close()
    pieces.close()


@pytest.mark.parametrize("busy", [0, 2])
def test_a_pool_that_was_not_closed_is_whole(context: Context, file: int, busy: int) -> None:
    pieces = Pieces(3, 10)
    read = Operation.read(file, pieces.views[busy])
    with pytest.raises(BufferError, match="wait for its operations"):
        pieces.close()
    with pieces.take() as one, pieces.take() as two, pieces.take() as three:
        assert [len(view) for view in (one, two, three)] == [10] * 3
        assert (one, two, three) == pieces.views
        with pytest.raises(BufferError, match="3 of 3 buffers are taken"):
            pieces.close()
        three[:] = bytes(10)
    assert context.run(read) == 10
    assert pieces.views[busy] == CONTENT[:10], "it is the same memory"
    read.release()
    pieces.close()


def test_a_pool_in_flight_hides_no_exception(held_file: HeldFile) -> None:
    async def main() -> None:
        async def read(file: int) -> None:
            with Pieces(2, 4096) as pieces:
                await aio.read(file, pieces.views[1])

        with held_file.opened() as file:
            async with AsyncContext(1) as aio:
                task = asyncio.create_task(read(file))
                await asyncio.to_thread(held_file.wait_asked, 1)
                task.cancel()
                with pytest.warns(ResourceWarning, match="was left open"), pytest.raises(asyncio.CancelledError):
                    await task
                held_file.answer()

    asyncio.run(main())


@pytest.mark.parametrize("alignment", [1, 4, 512, mmap.PAGESIZE, 4 * mmap.PAGESIZE])
def test_pieces_as_aligned_as_a_file_wants_them(alignment: int) -> None:
    with Pieces(3, 5, alignment=alignment) as pieces:
        for number, view in enumerate(pieces.views):
            view[:] = bytes([number]) * 5
        assert [bytes(view) for view in pieces.views] == [bytes([number]) * 5 for number in range(3)]
        starts = [ctypes.addressof(ctypes.c_char.from_buffer(view)) for view in pieces.views]
        assert {start % alignment for start in starts} == {0}
        assert starts[1] - starts[0] == max(alignment, 5 if alignment == 1 else 8)
    with pytest.raises(UsageError, match="alignment of 0"):
        Pieces(1, 1, alignment=0)


def locked() -> int:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmLck")]
    return int(line.split()[1]) * 1024


def test_locked_pieces_stay_in_memory() -> None:
    before = locked()
    with Pieces(4, 2 * mmap.PAGESIZE, locked=True):
        assert locked() - before == 8 * mmap.PAGESIZE
    assert locked() == before


def test_more_than_may_be_locked_is_told_with_a_cure() -> None:
    script = """
import os, resource
from gadget.aio import Pieces
from gadget.errors import KernelError
resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
if os.geteuid() == 0:
    os.setuid(65534)
try:
    Pieces(4, 65536, locked=True)
except KernelError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "RLIMIT_MEMLOCK" in done.stdout


def test_pools_that_cannot_be() -> None:
    for count, size in ((0, 1), (1, 0), (-1, 5)):
        with pytest.raises(UsageError, match="must be at least 1"):
            Pieces(count, size)


def test_the_alignment_that_a_file_asks_for(file: int, tmp_path: Path) -> None:
    alignment = direct_alignment(file)
    assert alignment.memory <= mmap.PAGESIZE
    descriptor = os.open(tmp_path / "file", os.O_RDONLY | os.O_DIRECT)
    with Pieces(1, alignment.offset, alignment=alignment.memory) as pieces, Context(1) as context:
        read = context.read(descriptor, pieces.views[0], alignment.offset)
        context.submit()
        assert context.wait_all([read], 20.0)
        assert read.check() == alignment.offset
    os.close(descriptor)


def test_an_alignment_that_is_not_told_is_one_that_always_does(pipe: tuple[int, int]) -> None:
    alignment = direct_alignment(pipe[0])
    assert (alignment.memory, alignment.offset >= mmap.PAGESIZE, alignment.known) == (mmap.PAGESIZE, True, False)
