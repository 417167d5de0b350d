from __future__ import annotations

import ctypes
import mmap
import subprocess
import sys

import pytest

from gadget.aio import allocate
from gadget.errors import UsageError


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
