"""What is pinned, for how long, and that the garbage collector may find it in a cycle."""

from __future__ import annotations

import asyncio
import ctypes
import subprocess
import sys
from collections.abc import Callable

import pytest

from gadget.aio import AsyncContext, Context, Operation, Pieces, allocate
from gadget.aio.syscalls import Command, Iocb

from .conftest import CONTENT

PATIENCE = 30.0

#: Run in a process of its own: before Python 3.13, a collector that finds a pinned view in a cycle crashes.
CYCLES = """
import gc, sys, tempfile
from gadget.aio import Batch, Operation, Pieces
from gadget.aio.syscalls import Command, Iocb

file = tempfile.TemporaryFile()

def of_itself(start):
    operation = start(Pieces(1, 4096).views[0])
    operation.user_data = operation

def of_a_callback(start):
    operation = start(Pieces(1, 4096).views[0])
    operation.callback = lambda ended: operation

def of_a_kept_error(start):
    operation = start(Pieces(1, 4096).views[0])
    try:
        raise OSError
    except OSError as error:
        kept = error

def vector(view):
    iocb = Iocb(Command.PWRITEV, file.fileno())
    iocb.pin(view)
    return iocb

STARTS = {
    "read": lambda view: Operation.read(file, view),
    "write": lambda view: Operation.write(file, view),
    "readv": lambda view: Operation.readv(file, [view]),
    "writev": lambda view: Operation.writev(file, [view]),
    "iocb": lambda view: Iocb(Command.PREAD, file.fileno(), view),
    "vector": vector,
}

def of_a_refused_batch():
    views = Pieces(1, 4096).views
    try:
        Batch(file, views, priority=1 << 16)
    except OverflowError as error:
        kept = error

if sys.argv[1] == "batch":
    of_a_refused_batch()
    gc.collect()
    sys.exit()
for cycle in (of_itself, of_a_callback, of_a_kept_error):
    cycle(STARTS[sys.argv[1]])
gc.collect()
"""


@pytest.mark.parametrize("start", ["read", "write", "readv", "writev", "iocb", "vector", "batch"])
def test_a_view_in_a_cycle_is_collected(start: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CYCLES, start], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def iocb(file: int, view: memoryview) -> Iocb:
    return Iocb(Command.PREAD, file, view)


@pytest.mark.parametrize("pin", [Operation.read, Operation.write, iocb])
@pytest.mark.parametrize("view", [lambda view: view, lambda view: view[4:8], lambda view: view.cast("I")[1:]])
def test_what_a_view_shows_is_pinned(
    pin: Callable[[int, memoryview], object], view: Callable[[memoryview], memoryview]
) -> None:
    """However it was cut, and when the view itself is gone."""
    array, mapped = bytearray(4096), allocate(4096)
    for memory, harm in ((array, array.clear), (mapped, mapped.close)):
        with memoryview(memory) as whole, view(whole) as part:
            operation = pin(0, part)
        with pytest.raises(BufferError):
            harm()
        del operation
        harm()


def test_a_pool_is_pinned() -> None:
    pool = Pieces(2, 4096)
    read = Operation.read(0, pool.views[1])
    with pytest.raises(BufferError):
        pool.close()
    read.release()
    pool.close()


def test_only_what_a_view_shows_is_read(context: Context, file: int) -> None:
    whole = bytearray(16)
    view = memoryview(whole).cast("I")[1:3]
    reads = [context.read(file, view[:1]), context.readv(file, [view[1:]], 4)]
    context.submit()
    assert context.wait_all(reads, PATIENCE)
    assert [read.result for read in reads] == [4, 4]
    assert whole == bytes(4) + CONTENT[:8] + bytes(4)


def test_only_what_a_view_shows_is_read_under_asyncio(file: int) -> None:
    async def main() -> None:
        whole = bytearray(16)
        async with AsyncContext(1) as aio:
            assert await aio.read(file, memoryview(whole)[4:8]) == 4
            assert whole == bytes(4) + CONTENT[:4] + bytes(8)
            assert await aio.write(file, memoryview(whole)[4:6], 100) == 2

    asyncio.run(main())


@pytest.mark.parametrize("start", [Operation.read, iocb, lambda file, view: Operation.readv(file, [view])])
def test_views_that_cannot_be_read_into(start: Callable[[int, memoryview], object], context: Context) -> None:
    for view in (memoryview(bytes(8)), memoryview(bytearray(8))[::2], memoryview(bytearray(8)).toreadonly()):
        with pytest.raises(BufferError):
            start(0, view)
        with pytest.raises(BufferError):
            context.read(0, view)
    assert context.free_slots == 8


def test_arrays_of_ctypes_are_pinned_by_their_views(context: Context, file: int) -> None:
    """What is behind a view need not have a simple buffer itself."""
    numbers = (ctypes.c_uint32 * 4)()
    read = context.read(file, memoryview(numbers).cast("B")[4:12])
    context.submit()
    assert context.wait_all([read], PATIENCE)
    assert bytes(numbers) == bytes(4) + CONTENT[:8] + bytes(4)
