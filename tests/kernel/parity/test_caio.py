"""caio: operations and contexts, and asyncio over them."""

from __future__ import annotations

import asyncio
import errno
import gc
import hashlib
import os
import random
import select
import signal
import sys
import sysconfig
import threading
import time
import weakref
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from gadget.aio import AsyncContext, Batch, Context, Operation, Pieces, syscalls
from gadget.errors import UsageError

from ..conftest import CONTENT

PATIENCE = 30.0


def run(main: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE):
            await main

    asyncio.run(bounded())


@pytest.mark.parametrize("slots", [-(2**40), -1, 0, 65537, 2**40])
def test_bounds_are_checked_at_construction(slots: int) -> None:
    with pytest.raises(UsageError, match="1 to 65536"):
        Context(slots)
    with pytest.raises(UsageError):
        Pieces(min(slots, 0), 1)
    with pytest.raises(UsageError, match="1 to 65536"):
        Batch(0, [])


def test_thirty_two_concurrent_part_writes_make_the_whole(file: int, tmp_path: Path) -> None:
    async def main() -> None:
        data = os.urandom(32 * 4000)
        order = random.sample(range(32), 32)
        async with AsyncContext(8) as aio:
            parts = [aio.write(file, data[at * 4000 : (at + 1) * 4000], at * 4000) for at in order]
            assert await asyncio.gather(*parts) == [4000] * 32
        written = (tmp_path / "file").read_bytes()
        assert hashlib.sha256(written).digest() == hashlib.sha256(data).digest()

    run(main())


def test_a_bad_descriptor(pipe: tuple[int, int]) -> None:
    async def main() -> None:
        async with AsyncContext(1) as aio:
            for call in (aio.read(-1, bytearray(1)), aio.write(-1, b"x"), aio.fsync(-1), aio.fdsync(-1)):
                with pytest.raises(OSError, match="Bad file descriptor") as caught:
                    await call
                assert caught.value.errno == errno.EBADF

    run(main())


@pytest.mark.parametrize("rounds", range(4))
@pytest.mark.parametrize("writing", [False, True])
def test_cancelling_pending_reads_and_writes_also_before_the_first_step(file: int, rounds: int, writing: bool) -> None:
    async def main() -> None:
        async with AsyncContext(2) as aio:
            buffers = [bytearray(8) for _ in range(10)]
            calls = [aio.write(file, b, 8) if writing else aio.read(file, b, 8) for b in buffers]
            tasks = [asyncio.create_task(call) for call in calls]
            for _ in range(rounds):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(result == 8 or isinstance(result, asyncio.CancelledError) for result in results)
            assert rounds or all(isinstance(result, asyncio.CancelledError) for result in results)
            while aio.context.in_flight:
                await asyncio.sleep(0)
            assert aio.context.free_slots == 2
            for buffer in buffers:
                buffer.clear()

    run(main())


def test_zero_bytes(file: int) -> None:
    async def main() -> None:
        async with AsyncContext(1) as aio:
            assert (await aio.read(file, bytearray()), await aio.write(file, b"")) == (0, 0)

    run(main())


def test_a_short_read_at_the_end_of_the_file(file: int) -> None:
    async def main() -> None:
        async with AsyncContext(1) as aio:
            buffer = bytearray(100)
            assert await aio.read(file, buffer, len(CONTENT) - 10) == 10
            assert bytes(buffer) == CONTENT[-10:] + bytes(90)
            assert await aio.read(file, buffer, len(CONTENT) + 10) == 0

    run(main())


def test_a_sparse_extension(file: int, tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncContext(1) as aio:
            assert await aio.write(file, b"end", 1 << 20) == 3
        assert os.fstat(file).st_size == (1 << 20) + 3
        assert os.pread(file, 8, (1 << 20) - 5) == bytes(5) + b"end"

    run(main())


def test_back_pressure_by_slots(pipe: tuple[int, int]) -> None:
    async def main() -> None:
        async with AsyncContext(2) as aio:
            tasks = [asyncio.create_task(aio.poll(pipe[0], select.POLLIN)) for _ in range(50)]
            for _ in range(10):
                await asyncio.sleep(0)
                assert aio.context.in_flight <= 2
            os.write(pipe[1], b"x")
            assert all(mask & select.POLLIN for mask in await asyncio.gather(*tasks))
            assert aio.context.free_slots == 2

    run(main())


def test_minimum_and_time_out_of_a_reap(context: Context, file: int, pipe: tuple[int, int]) -> None:
    reads = [context.read(file, bytearray(1)) for _ in range(3)]
    poll = context.poll(pipe[0], select.POLLIN)
    context.submit()
    assert context.wait_any(reads, PATIENCE)
    assert context.wait_all(reads, PATIENCE)
    before = time.monotonic()
    assert not context.wait_all([*reads, poll], 0.05)
    assert time.monotonic() - before >= 0.05
    assert context.wait_any([*reads, poll], 0) == reads
    with Batch(file, [bytearray(1) for _ in range(4)]) as batch:
        assert batch.turn([0, 1, 2], at_least=0) <= 3
        while batch.in_flight:
            batch.turn()
        assert batch.turn([0, 1, 2, 3], at_least=4) == 4
        assert batch.turn((), at_least=4, timeout=0.0) == 0


def test_at_most_so_many_in_a_reap(file: int) -> None:
    """The kernel's own call has a maximum; a context fetches all that have ended, each into its operation."""
    context = syscalls.io_setup(8)
    buffers = [bytearray(1) for _ in range(3)]
    reads = [syscalls.Iocb(syscalls.Command.PREAD, file, buffer, data=n) for n, buffer in enumerate(buffers)]
    assert syscalls.io_submit(context, reads) == 3
    assert [event.data for event in syscalls.io_getevents(context, 1, 2, PATIENCE)] == [0, 1]
    assert [event.data for event in syscalls.io_getevents(context, 1, 2, PATIENCE)] == [2]
    syscalls.io_destroy(context)


def test_the_gil_is_released_while_waiting(context: Context, pipe: tuple[int, int]) -> None:
    poll = context.poll(pipe[0], select.POLLIN)
    context.submit()
    writer = threading.Timer(0.05, os.write, (pipe[1], b"x"))
    writer.start()
    assert context.wait_all([poll], PATIENCE)
    writer.join()


def test_a_raising_callback_harms_nobody_else(context: Context, file: int) -> None:
    told: list[int] = []

    def bad(operation: Operation) -> None:
        raise ZeroDivisionError

    reads = [context.read(file, bytearray(1)) for _ in range(4)]
    for number, read in enumerate(reads):
        read.callback = bad if number == 1 else lambda operation: told.append(operation.check())
    context.submit()
    with pytest.raises(ZeroDivisionError):
        context.wait_all(reads, PATIENCE)
    assert told == [1, 1, 1]
    assert all(read.done for read in reads)
    assert context.free_slots == 8


def test_one_in_flight_refuses_to_be_started_from_any_thread(context: Context, pipe: tuple[int, int]) -> None:
    poll = Operation.poll(pipe[0], select.POLLIN)
    outcomes: list[str] = []
    barrier = threading.Barrier(4)

    def start() -> None:
        barrier.wait()
        try:
            context.start(poll)
            outcomes.append("started")
        except UsageError:
            outcomes.append("refused")

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused"] * 3 + ["started"]
    assert context.in_flight == 1
    context.cancel(poll)
    assert context.wait_all([poll], PATIENCE)


def test_once_a_batch(context: Context, file: int) -> None:
    read = Operation.read(file, bytearray(1))
    with pytest.raises(UsageError, match="twice"):
        context.start(read, read)
    assert not read.in_flight


def test_one_operation_for_two_tasks(file: int, pipe: tuple[int, int]) -> None:
    async def main() -> None:
        async with AsyncContext(1) as aio:
            poll = Operation.poll(pipe[0], select.POLLIN)
            first = asyncio.create_task(aio.run(poll))
            await asyncio.sleep(0)
            with pytest.raises(UsageError, match="in flight already"):
                await aio.run(poll)
            # Also while it waits for a slot.
            read = Operation.read(file, bytearray(1))
            second = asyncio.create_task(aio.run(read))
            await asyncio.sleep(0)
            with pytest.raises(UsageError, match="in flight already"):
                await aio.run(read)
            os.write(pipe[1], b"x")
            assert (await first & select.POLLIN, await second) == (select.POLLIN, 1)
            assert await aio.run(read) == 1

    run(main())


def test_a_foreign_context_cannot_cancel_it(context: Context, pipe: tuple[int, int]) -> None:
    poll = context.poll(pipe[0], select.POLLIN)
    context.submit()
    with Context(1) as other:
        own = other.poll(pipe[0], select.POLLIN)
        with pytest.raises(UsageError, match="another context"):
            other.cancel(poll)
        with pytest.raises(UsageError, match="another context"):
            other.wait_any([own, poll], 0)
        with pytest.raises(UsageError, match="in flight already"):
            other.start(poll)
    assert poll.in_flight


def test_operations_and_contexts_in_cycles_are_collectable(file: int) -> None:
    context = Context(2)
    read = Operation.read(file, bytearray(1))
    read.user_data = [context, read]
    read.callback = lambda operation, keep=(context, read): keep
    context.start(read)
    context.submit()
    assert context.wait_all([read], PATIENCE)
    gone = weakref.ref(read)
    context.close()
    del context, read
    gc.collect()
    assert gone() is None


def test_threads_submitting_and_reaping_deliver_each_completion_once(file: int) -> None:
    told: list[Operation] = []
    rounds, each = 300, 4
    errors: list[BaseException] = []
    with Context(4 * each) as context:

        def work() -> None:
            try:
                reads = [Operation.read(file, bytearray(8)) for _ in range(each)]
                for read in reads:
                    read.callback = told.append
                for number in range(rounds):
                    for read in reads:
                        read.offset = number
                    context.start(*reads)
                    context.submit()
                    assert context.wait_all(reads, PATIENCE)
                    assert {read.result for read in reads} == {8}
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work) for _ in range(4)]
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            sys.setswitchinterval(interval)
        assert not errors
        assert (context.free_slots, context.in_flight) == (16, 0)
        assert context.report.operations == 4 * each * rounds
    assert len(told) == 4 * each * rounds


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="needs a free-threaded interpreter")
def test_without_the_gil_threads_share_a_context_as_well(file: int) -> None:
    assert not vars(sys)["_is_gil_enabled"](), "the extension has not switched it on"
    test_threads_submitting_and_reaping_deliver_each_completion_once(file)


def test_waits_of_several_threads_end_whoever_reaps(context: Context) -> None:
    pipes = [os.pipe() for _ in range(3)]
    polls = [context.poll(reader, select.POLLIN) for reader, _ in pipes]
    context.submit()
    ended: list[int] = []

    def wait(number: int) -> None:
        if context.wait_all([polls[number]], PATIENCE):
            ended.append(number)

    threads = [threading.Thread(target=wait, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for number, (_, writer) in enumerate(pipes):
        os.write(writer, b"x")
        threads[number].join()
    assert ended == [0, 1, 2]
    for ends in pipes:
        for end in ends:
            os.close(end)


def test_a_signal_does_not_shorten_a_wait_for_all(context: Context, pipe: tuple[int, int]) -> None:
    poll = context.poll(pipe[0], select.POLLIN)
    context.submit()
    caught: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: caught.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    try:
        start = time.monotonic()
        assert not context.wait_all([poll], 0.2)
        assert time.monotonic() - start >= 0.2
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert caught
