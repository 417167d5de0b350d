from __future__ import annotations

import asyncio
import contextvars
import errno
import hashlib
import os
import select
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gadget.aio import AsyncContext, Bell, Context, Operation, Pieces, Wakeup, WriteStream, undrained
from gadget.aio.starting import AT_ONCE
from gadget.errors import ClosedError, EndpointBusyError, NotDrainedError, UsageError

from .conftest import HeldFile

PATIENCE = 30.0
CONTENT = bytes(range(256)) * 256


def run(main: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE):
            await main

    asyncio.run(bounded())


@asynccontextmanager
async def opened(path: Path, slots: int) -> AsyncIterator[tuple[AsyncContext, int]]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        async with AsyncContext(slots) as aio:
            yield aio, descriptor
    finally:
        os.close(descriptor)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(CONTENT)
    return tmp_path / "file"


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


def test_reading_writing_syncing(path: Path) -> None:
    async def main() -> None:
        async with opened(path, 4) as (aio, file):
            buffer = bytearray(10)
            assert await aio.read(file, buffer, 5) == 10
            assert buffer == CONTENT[5:15]
            assert await aio.write(file, b"new", 100) == 3
            await aio.fsync(file)
            await aio.fdsync(file)
            assert await aio.read(file, buffer, len(CONTENT)) == 0
        assert path.read_bytes() == CONTENT[:100] + b"new" + CONTENT[103:]

    run(main())


def test_polling(pipe: tuple[int, int]) -> None:
    async def main() -> None:
        reader, writer = pipe
        async with AsyncContext(2) as aio:
            poll = asyncio.create_task(aio.poll(reader, select.POLLIN))
            assert await aio.poll(writer, select.POLLOUT) & select.POLLOUT
            assert not poll.done()
            os.write(writer, b"x")
            assert await poll & select.POLLIN

    run(main())


def test_an_eventfd_that_the_loop_does_not_hear_is_refused(path: Path) -> None:
    """Who waits here would wait for ever."""

    async def main() -> None:
        async with opened(path, 1) as (aio, file):
            read = Operation.read(file, bytearray(1))
            read.eventfd = aio.context.fileno()
            with pytest.raises(UsageError, match="eventfd of its own"):
                await aio.run(read)
            assert not read.in_flight
            read.eventfd = -1
            assert await aio.run(read) == 1

    run(main())


def test_errors_are_raised_and_give_their_slot_back(path: Path) -> None:
    async def main() -> None:
        async with opened(path, 1) as (aio, file):
            for _ in range(3):
                with pytest.raises(OSError, match="Bad file descriptor") as caught:
                    await aio.read(-1, bytearray(1))
                assert caught.value.errno == errno.EBADF
                with pytest.raises(BufferError):
                    await aio.read(file, b"constant")
                with pytest.raises(OSError, match="Invalid argument"):
                    await aio.read(file, bytearray(1), -1)
            assert await aio.read(file, bytearray(1)) == 1

    run(main())


def test_a_bad_operation_beside_good_ones(path: Path) -> None:
    async def main() -> None:
        async with opened(path, 8) as (aio, file):
            reads = [aio.read(descriptor, bytearray(4)) for descriptor in (file, -1, file)]
            first, bad, last = await asyncio.gather(*reads, return_exceptions=True)
            assert (first, last) == (4, 4)
            assert isinstance(bad, OSError)
            assert bad.errno == errno.EBADF

    run(main())


def test_a_hundred_operations_through_four_slots(path: Path, pipe: tuple[int, int]) -> None:
    async def main() -> None:
        async with opened(path, 4) as (aio, file):
            buffers = [bytearray(16) for _ in range(100)]
            holders = [asyncio.create_task(aio.poll(pipe[0], select.POLLIN)) for _ in range(4)]
            await until(lambda: aio.context.in_flight == 4)
            reads = [asyncio.create_task(aio.read(file, buffer, 16 * i)) for i, buffer in enumerate(buffers)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            # All slots are taken: nobody has started, nobody was refused.
            assert not any(read.done() for read in reads)
            assert not any(map(any, buffers))
            os.write(pipe[1], b"x")
            assert await asyncio.gather(*reads) == [16] * 100
            assert b"".join(buffers) == CONTENT[:1600]
            await asyncio.gather(*holders)
            assert aio.context.free_slots == 4

    run(main())


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_slots_are_given_in_the_order_of_asking(path: Path, pipe: tuple[int, int], slots: int) -> None:
    async def main() -> None:
        path.write_bytes(b"")
        async with opened(path, slots) as (aio, file):
            holders = [asyncio.create_task(aio.poll(pipe[0], select.POLLIN)) for _ in range(slots)]
            await until(lambda: aio.context.free_slots == 0)
            appends = [aio.write(file, bytes([number]), flags=os.RWF_APPEND) for number in range(40)]
            tasks = [asyncio.create_task(append) for append in appends]
            await asyncio.sleep(0)
            os.write(pipe[1], b"x")
            # Who comes while others wait, or go on, is behind them.
            while not all(task.done() for task in tasks):
                if len(tasks) < 80:
                    tasks.append(asyncio.create_task(aio.write(file, bytes([len(tasks)]), flags=os.RWF_APPEND)))
                await asyncio.sleep(0)
            await asyncio.gather(*holders)
        assert path.read_bytes() == bytes(range(len(tasks)))

    run(main())


def test_streams_leave_fewer_slots(path: Path) -> None:
    async def main() -> None:
        async with opened(path, 4) as (aio, file):
            stream = WriteStream(aio.context, file, 3, 64)
            assert await asyncio.gather(*(aio.read(file, bytearray(8)) for _ in range(20))) == [8] * 20
            another = WriteStream(aio.context, file, 1, 64)
            with pytest.raises(BlockingIOError):
                await aio.read(file, bytearray(8))
            another.close()
            stream.close()

    run(main())


def test_fifty_waves_of_a_hundred_reads_through_seven_slots(path: Path) -> None:
    async def main() -> None:
        async with opened(path, 7) as (aio, file):
            for wave in range(50):
                buffers = [bytearray(64) for _ in range(100)]
                offsets = [(wave * 100 + i) * 13 for i in range(100)]
                reads = (aio.read(file, buffer, at) for buffer, at in zip(buffers, offsets, strict=True))
                expected = [CONTENT[at : at + 64] for at in offsets]
                assert await asyncio.gather(*reads) == [len(part) for part in expected]
                assert [bytes(b[: len(part)]) for b, part in zip(buffers, expected, strict=True)] == expected
                assert aio.context.free_slots == 7

    run(main())


def test_parts_written_at_once_make_the_whole(path: Path) -> None:
    async def main() -> None:
        data = os.urandom(32 * 5000)
        async with opened(path, 5) as (aio, file):
            parts = [aio.write(file, memoryview(data)[at : at + 5000], at) for at in range(0, len(data), 5000)]
            assert await asyncio.gather(*parts) == [5000] * 32
            await aio.fsync(file)
        assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(data).digest()

    run(main())


def test_read_modify_write_chains_do_not_mix(path: Path) -> None:
    async def main() -> None:
        async def chain(aio: AsyncContext, file: int, at: int) -> None:
            buffer = bytearray(8)
            for expected in range(100):
                await aio.read(file, buffer, at)
                assert int.from_bytes(buffer) == expected
                await aio.write(file, (expected + 1).to_bytes(8), at)

        path.write_bytes(bytes(24))
        async with opened(path, 2) as (aio, file), asyncio.TaskGroup() as group:
            for at in (0, 8, 16):
                group.create_task(chain(aio, file, at))

    run(main())


def test_cancelled_tasks_leave_no_slot_taken(pipe: tuple[int, int]) -> None:
    async def main() -> None:
        reader, writer = pipe
        async with AsyncContext(2) as aio:
            tasks = [asyncio.create_task(aio.poll(reader, select.POLLIN)) for _ in range(30)]
            await until(lambda: aio.context.free_slots == 0)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert {type(result) for result in results} == {asyncio.CancelledError}
            # A slot can be had again, and so can both, when the kernel has answered for both.
            polls = await asyncio.gather(*(aio.poll(writer, select.POLLOUT) for _ in range(2)))
            assert all(mask & select.POLLOUT for mask in polls)
            await until(lambda: (aio.context.free_slots, aio.context.in_flight) == (2, 0))

    run(main())


@pytest.mark.parametrize("steps", range(4))
def test_a_cancelled_read_gives_its_buffer_back(path: Path, steps: int) -> None:
    async def main() -> None:
        async with opened(path, 1) as (aio, file):
            buffer = bytearray(8)
            task = asyncio.create_task(aio.read(file, buffer))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            result = (await asyncio.gather(task, return_exceptions=True))[0]
            # It came too late, or the task knows that it was cancelled.
            assert result == 8 or isinstance(result, asyncio.CancelledError)
            assert await aio.read(file, bytearray(1)) == 1
            assert (aio.context.free_slots, aio.context.in_flight) == (1, 0)
            buffer.extend(b"free again")

    run(main())


def test_a_time_out_around_an_operation(pipe: tuple[int, int]) -> None:
    async def main() -> None:
        async with AsyncContext(1) as aio:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await aio.poll(pipe[0], select.POLLIN)
            assert await aio.poll(pipe[1], select.POLLOUT) & select.POLLOUT

    run(main())


def test_a_file_whose_data_came_late_and_is_cached_now(path: Path) -> None:
    """It is taken for cached when so many submissions in a row have ended at once, and no earlier."""

    async def main() -> None:
        async with opened(path, 4) as (aio, file):
            aio._slow.add(file)
            buffer = bytearray(8)
            for number in range(AT_ONCE):
                assert aio._slow == {file}, number
                assert await aio.read(file, buffer, number) == 8
                assert buffer == CONTENT[number : number + 8]
            assert aio._slow == set()
            assert await aio.read(file, buffer) == 8

    run(main())


def test_closing_ends_what_waits(pipe: tuple[int, int]) -> None:
    async def main() -> None:
        aio = AsyncContext(2)
        tasks = [asyncio.create_task(aio.poll(pipe[0], select.POLLIN)) for _ in range(5)]
        await until(lambda: aio.context.free_slots == 0)
        await aio.aclose()
        await aio.aclose()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        # Two were in flight and cancelled; the others never got a slot.
        assert [isinstance(result, ClosedError) for result in results] == [False, False, True, True, True]
        with pytest.raises(ClosedError):
            await aio.poll(pipe[0], select.POLLIN)

    run(main())


async def until_asked(held_file: HeldFile) -> None:
    await asyncio.to_thread(held_file.wait_asked, 1)


def test_what_ends_after_closing_is_told_and_ends_the_context(held_file: HeldFile) -> None:
    async def main() -> None:
        with held_file.opened() as file, Pieces(1, 4096) as pieces:
            aio = AsyncContext(1)
            read, late = (asyncio.create_task(aio.read(file, pieces.views[0])) for _ in range(2))
            await until_asked(held_file)
            with (
                pytest.warns(ResourceWarning, match=r"gadget\.aio\.undrained"),
                pytest.raises(NotDrainedError, match=r"1 operations did not complete within 0\.05 s"),
            ):
                await aio.aclose(0.05)
            assert undrained() == (aio.context,)
            with pytest.raises(ClosedError):
                await late
            held_file.answer()
            assert await read == 4096
            await until(lambda: aio.context.closed)
            assert undrained() == ()
            assert not asyncio.get_running_loop().remove_reader(aio._eventfd)

    run(main())


def test_closing_that_is_cancelled_warns_of_what_is_left(held_file: HeldFile) -> None:
    async def main() -> None:
        with held_file.opened() as file, Pieces(1, 4096) as pieces:
            aio = AsyncContext(1)
            read = asyncio.create_task(aio.read(file, pieces.views[0]))
            await until_asked(held_file)
            closing = asyncio.create_task(aio.aclose(0.2))
            await asyncio.sleep(0)
            closing.cancel()
            with pytest.warns(ResourceWarning, match=r"within 0\.2 s"), pytest.raises(asyncio.CancelledError):
                await closing
            held_file.answer()
            assert await read == 4096
            await until(lambda: aio.context.closed)

    run(main())


def test_somebody_else_closes_what_a_loop_watches(held_file: HeldFile) -> None:
    async def main() -> None:
        with held_file.opened() as file, Pieces(1, 4096) as pieces:
            aio = AsyncContext(1)
            read = asyncio.create_task(aio.read(file, pieces.views[0]))
            await until_asked(held_file)
            with pytest.warns(ResourceWarning), pytest.raises(NotDrainedError):
                await aio.aclose(0.0)
            (kept,) = undrained()
            held_file.answer()
            kept.close(PATIENCE)
            assert not asyncio.get_running_loop().remove_reader(aio._eventfd)
            assert await read == 4096
            await aio.aclose()

    run(main())


def test_whoever_keeps_the_error_of_a_closed_context_keeps_no_buffer(path: Path) -> None:
    async def main() -> None:
        async with opened(path, 1) as (aio, file):
            await aio.aclose()
            buffer = bytearray(1)
            for use in (aio.read, aio.write):
                with pytest.raises(ClosedError) as kept:
                    await use(file, buffer)
                buffer.append(0)
                del kept

    run(main())


def test_a_loop_is_needed_and_nothing_leaks_without_one() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        AsyncContext(4)


def test_a_wakeup_wakes_one_task_and_refuses_a_second() -> None:
    async def main() -> None:
        wakeup = Wakeup("Echo.rx")

        async def wait() -> None:
            await wakeup

        wakeup.notify()  # nobody waits, nothing is stored
        first = asyncio.create_task(wait())
        await asyncio.sleep(0)
        with pytest.raises(EndpointBusyError, match=r"Echo\.rx: another task"):
            await wakeup
        assert not first.done()
        wakeup.notify()
        wakeup.notify()
        await first
        cancelled = asyncio.create_task(wait())
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        again = asyncio.create_task(wait())
        await asyncio.sleep(0)
        wakeup.notify()
        await again

    run(main())


def test_a_wakeup_continues_the_task_at_once_or_where_a_task_runs_soon() -> None:
    async def main() -> None:
        wakeup, seen = Wakeup("Echo.rx"), list[str]()
        variable = contextvars.ContextVar("variable", default="outside")

        async def wait() -> None:
            variable.set("inside")
            for _ in range(2):
                await wakeup
                seen.append(variable.get())

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        wakeup.notify()
        assert not seen, "a task cannot run within another"
        await asyncio.sleep(0)
        assert seen == ["inside"]

        def from_the_loop() -> None:
            wakeup.notify()
            seen.append("after")

        asyncio.get_running_loop().call_soon(from_the_loop)
        await task
        assert seen == ["inside", "inside", "after"]

    run(main())


@pytest.mark.parametrize("message", [("why",), (), (("a", "b"),), ((),)])
def test_a_cancelled_task_is_told_why(pipe: tuple[int, int], message: tuple[str, ...]) -> None:
    async def main() -> None:
        async with AsyncContext(1) as aio:
            wakeup = Wakeup("Echo.rx")

            async def wait() -> None:
                await wakeup

            for awaited in (aio.poll(pipe[0], select.POLLIN), wait()):
                task = asyncio.create_task(awaited)
                await asyncio.sleep(0.01)
                task.cancel(*message)
                with pytest.raises(asyncio.CancelledError) as caught:
                    await task
                assert caught.value.args == message

    run(main())


def test_a_wakeup_is_no_future_to_those_who_do_not_await_it() -> None:
    async def main() -> None:
        wakeup = Wakeup("Echo.rx")
        with pytest.raises(RuntimeError, match="to be awaited"):
            wakeup.add_done_callback(print)
        with pytest.raises((AttributeError, AssertionError)):
            await asyncio.gather(wakeup)
        assert not wakeup.cancel()
        wakeup.notify()
        asyncio.get_running_loop().call_soon(wakeup.notify)
        await wakeup

    run(main())


def test_what_a_wakeup_lets_go_of_may_use_it() -> None:
    """A task that is destroyed while it waits tells its loop so, and that may do anything."""

    class Callback:
        def __call__(self, wakeup: object) -> None:
            raise AssertionError

        def __del__(self) -> None:
            seen.append(wakeup.waiting)
            wakeup.notify()

    seen, wakeup = list[bool](), Wakeup("Echo.rx")

    async def main() -> None:
        waiting = wakeup.__await__()
        next(waiting)
        wakeup.add_done_callback(Callback(), context=contextvars.copy_context())
        waiting.close()
        assert seen == [False]

    run(main())


def test_a_wakeup_and_a_cancellation_at_once() -> None:
    """Whichever comes first counts, and the next one to wait is none the wiser."""

    async def main() -> None:
        wakeup = Wakeup("Echo.rx")

        async def wait() -> str:
            try:
                await wakeup
            except asyncio.CancelledError:
                return "cancelled"
            return "woken"

        for notify_first in (True, False):
            task = asyncio.create_task(wait())
            await asyncio.sleep(0)
            for step in (wakeup.notify, task.cancel) if notify_first else (task.cancel, wakeup.notify):
                step()
            assert await task == "cancelled"
            assert not task.cancel()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await wakeup
            asyncio.get_running_loop().call_soon(wakeup.notify)
            await wakeup

    run(main())


def test_a_wakeup_outlives_the_loop_that_was_waiting_for_it() -> None:
    wakeup = Wakeup("Echo.rx")

    async def wait() -> None:
        await wakeup

    async def leave() -> None:
        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.get_coro().close()  # as a loop does that is torn down with tasks in it
        task.cancel()

    async def use() -> None:
        asyncio.get_running_loop().call_soon(wakeup.notify)
        await wakeup

    asyncio.run(leave())
    asyncio.run(use())


class Bells:
    """A writer on one end of a socket, whose completions ring a bell that a task may wait for."""

    def __init__(self, context: AsyncContext, file: socket.socket) -> None:
        self.context, self.loop = context, asyncio.get_running_loop()
        self.changed = Wakeup("Echo.tx")
        self.bell = Bell(context, lambda: self.changed.waiting)
        self.writer = WriteStream(context.context, file.fileno(), 2, 64)
        self.writer.set_eventfd(self.bell.eventfd)
        self.writer.on_change = self.changed.notify
        self.writer.start()

    @property
    def is_heard(self) -> bool:
        """Whether the event loop listens; asking ends that."""
        return self.loop.remove_reader(self.bell.eventfd)

    def rings(self) -> bool:
        return bool(select.select([self.bell.eventfd], [], [], 0)[0])

    def rings_the_context(self) -> bool:
        return bool(select.select([self.context.context.fileno()], [], [], 0)[0])


@asynccontextmanager
async def bells() -> AsyncIterator[Bells]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        async with AsyncContext(8) as context:
            made = Bells(context, ours)
            yield made
            made.writer.collect()
            made.writer.close()
            made.bell.close()


def test_what_nobody_waits_for_wakes_nobody() -> None:
    async def write() -> None:
        async with bells() as made:
            assert made.writer.put(b"data") == 0
            assert (made.rings(), made.rings_the_context()) == (True, False)
            for _ in range(3):
                await asyncio.sleep(0)
            assert made.rings()
            assert made.writer.counters.in_flight == 1
            made.writer.collect()
            assert made.writer.counters.in_flight == 0
            assert not made.is_heard

    run(write())


def test_who_waits_hears_what_rang_before_and_what_rings_later() -> None:
    async def write() -> None:
        async with bells() as made:
            for _ in range(3):
                while made.writer.put(b"data") != -errno.EAGAIN:
                    pass
                made.bell.listen()
                await made.changed
                assert made.writer.counters.in_flight == 0
            # The task now waits for something else, so the loop has stopped to listen.
            assert made.writer.put(b"data") == 0
            await asyncio.sleep(0)
            assert made.rings()
            assert not made.is_heard

    run(write())


def test_a_context_that_is_waited_for_hears_a_bell() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    eventfd = os.eventfd(0, os.EFD_NONBLOCK)
    with ours, theirs, Context(8) as context:
        writer = WriteStream(context, ours.fileno(), 2, 64)
        writer.set_eventfd(eventfd)
        writer.start()
        told = []
        writer.on_change = lambda: told.append(writer.counters.in_flight)
        for _ in range(2):
            writer.put(b"data")
            writer.await_change()
            context.wait(PATIENCE)
            assert theirs.recv(64) == b"data"
        assert told == [0, 0]
        writer.close()
        assert context.wait(0) == []
    os.close(eventfd)
