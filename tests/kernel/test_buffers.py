from __future__ import annotations

import ctypes
import mmap
import subprocess
import sys

import pytest

from gadget.aio import Pieces, allocate
from gadget.errors import UsageError


def address(buffer: mmap.mmap | memoryview) -> int:
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


def test_pieces_are_equal_and_lie_side_by_side_from_a_page_on() -> None:
    pieces = Pieces(5, 1000)
    first = address(pieces.views[0])
    assert first % mmap.PAGESIZE == 0
    assert [address(view) - first for view in pieces.views] == [0, 1000, 2000, 3000, 4000]
    assert [len(view) for view in pieces.views] == [1000] * 5


def test_pieces_hold_their_memory() -> None:
    pieces = Pieces(1, 1)
    with pytest.raises(BufferError):
        pieces.memory.close()


def test_a_buffer_has_at_least_one_byte() -> None:
    with pytest.raises(UsageError, match="at least one byte"):
        allocate(0)
    with pytest.raises(UsageError, match="0 buffers of 5 bytes"):
        Pieces(0, 5)
    with pytest.raises(UsageError, match="5 buffers of 0 bytes"):
        Pieces(5, 0)
