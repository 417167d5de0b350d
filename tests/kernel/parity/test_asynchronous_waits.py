"""The OS-design note on descriptors of asynchronous waits: start, wait for any of several, cancel, release."""

from __future__ import annotations

import os
import resource
import select
import threading
from pathlib import Path

import pytest

from gadget.aio import Batch, Context, Operation
from gadget.errors import UsageError

PATIENCE = 20.0


def test_start_and_wait_for_any_of_several(context: Context) -> None:
    pipes = [os.pipe() for _ in range(4)]
    polls = [Operation.poll(reader, select.POLLIN) for reader, _ in pipes]
    context.start(*polls)
    context.submit()
    left = list(polls)
    for number in (2, 0, 3, 1):
        os.write(pipes[number][1], b"x")
        assert context.wait_any(left, PATIENCE) == [polls[number]]
        left.remove(polls[number])
    for ends in pipes:
        for end in ends:
            os.close(end)


def test_cancel(context: Context, pipe: tuple[int, int]) -> None:
    poll = Operation.poll(pipe[0], select.POLLIN)
    context.start(poll)
    context.submit()
    assert context.cancel(poll)
    assert context.wait_any([poll], PATIENCE) == [poll]


def test_release_tells_the_bytes_moved_in_its_lifetime(context: Context, file: int) -> None:
    buffer = bytearray(100)
    read = Operation.read(file, buffer)
    for offset in (0, 65536 - 30, 70000):
        read.offset = offset
        context.start(read)
        with pytest.raises(UsageError, match="the kernel has its buffers"):
            read.release()
        context.submit()
        assert context.wait_all([read], PATIENCE)
    with pytest.raises(BufferError):
        buffer.clear()
    assert (read.release(), read.release()) == (130, 130)
    buffer.clear()
    with pytest.raises(UsageError, match="was released"):
        context.start(read)
    assert context.report.moved == 130


def test_no_callback_is_needed_to_wait(context: Context, file: int) -> None:
    read = context.read(file, bytearray(4))
    context.submit()
    assert read.callback is None
    assert context.wait_all([read], PATIENCE)


def test_no_allocator_is_needed(context: Context, file: int) -> None:
    """The buffers are the user's, wherever they come from."""
    ours = bytearray(64)
    with memoryview(ours)[8:16] as part:
        read = context.read(file, part)
        context.submit()
        assert context.wait_all([read], PATIENCE)
    assert ours == bytes(8) + bytes(range(8)) + bytes(48)


def test_low_kernel_memory() -> None:
    """A context is a ring of 32 bytes an operation, rounded up to pages: nothing for a buffer, nothing for a wait."""
    with Context(100) as context:
        (ring,) = [line for line in Path("/proc/self/maps").read_text().splitlines() if "[aio]" in line]
        first, last = (int(address, 16) for address in ring.split()[0].split("-"))
        # The kernel makes room for four times as many on each CPU, at least (fs/aio.c, ioctx_alloc).
        assert last - first <= 32 * max(100, 4 * (os.cpu_count() or 1)) * 2 + 2 * resource.getpagesize()
        assert context.free_slots == 100


def test_a_waiting_thread_runs_on_while_operations_complete(file: int) -> None:
    with Batch(file, [bytearray(4096) for _ in range(8)]) as batch:
        counted = 0
        stop = threading.Event()

        def count() -> None:
            nonlocal counted
            while not stop.is_set():
                counted += 1

        thread = threading.Thread(target=count)
        thread.start()
        for _ in range(200):
            batch.turn([0] * 8, at_least=8)
        stop.set()
        thread.join()
        assert counted
        assert batch.moved == 200 * 8 * 4096
