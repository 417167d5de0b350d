"""Each way in which another binding was seen to fail, tried here: none of it may happen.

Reads of a file that answers when told to are with the kernel for as long as a test wants; so is a poll on a pipe.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import mmap
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gadget.aio import AsyncContext, Batch, Context, Opcode, Operation, Pieces, Sync, allocate, undrained
from gadget.aio._aio import ffi
from gadget.errors import KernelError, NotDrainedError, UsageError
from gadget.testing.waiting import wait_for

from .conftest import CONTENT, HeldFile, open_descriptors, rings

PATIENCE = 30.0


def run(main: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE):
            await main

    asyncio.run(bounded())


def aio_nr() -> int:
    return int(Path("/proc/sys/fs/aio-nr").read_text())


# ---- buffers ---------------------------------------------------------------------------------------------------------


def test_a_bytearray_is_not_resized_in_flight(held_file: HeldFile, context: Context) -> None:
    """python-libaio, linux_aio: the data went into another object."""
    with held_file.opened() as file:
        whole = bytearray(8192 + mmap.PAGESIZE)
        # O_DIRECT wants an aligned part of it.
        start = -address(whole) % mmap.PAGESIZE
        read = context.read(file, memoryview(whole)[start : start + 4096])
        context.submit()
        held_file.wait_asked(1)
        resizes: list[Callable[[], object]] = [whole.clear, lambda: whole.extend(b"x"), whole.pop]
        for resize in resizes:
            with pytest.raises(BufferError):
                resize()
        held_file.answer()
        assert context.wait_all([read], PATIENCE)
        assert whole[start : start + 256] == HeldFile.CONTENT
        whole.clear()


def address(buffer: bytearray) -> int:
    return int(ffi.cast("uintptr_t", ffi.from_buffer(buffer)))


def test_a_map_is_not_closed_in_flight(held_file: HeldFile, context: Context) -> None:
    """mmap.close() was allowed."""
    with held_file.opened() as file:
        memory = allocate(4096)
        read = context.read(file, memory)
        context.submit()
        held_file.wait_asked(1)
        with pytest.raises(BufferError):
            memory.close()
        with pytest.raises(BufferError):
            memory.resize(8192)
        held_file.answer()
        assert context.wait_all([read], PATIENCE)
        assert memory[:256] == HeldFile.CONTENT
        memory.close()


def test_constants_stay_constant(context: Context, file: int) -> None:
    """linux_aio: a read changed an immutable bytes constant."""
    constant = b"constant"
    for buffers in ([constant], [bytearray(1), constant]):
        with pytest.raises(BufferError):
            Operation.readv(file, buffers)
    with pytest.raises(BufferError):
        Operation.read(file, constant)
    with pytest.raises(BufferError):
        Batch(file, [constant])
    assert constant == bytes([99, 111, 110, 115, 116, 97, 110, 116])


def test_a_length_is_in_bytes_whatever_the_items(context: Context, file: int) -> None:
    """array('I', 1024) read 1024 bytes of 4096."""
    for numbers in (array("I", [0] * 1024), array("d", [0.0] * 512)):
        vector = [array("Q", [0] * 512)]
        reads = [context.read(file, numbers), context.readv(file, vector)]
        context.submit()
        assert context.wait_all(reads, PATIENCE)
        assert [read.result for read in reads] == [4096, 4096]
        assert numbers.tobytes() == vector[0].tobytes() == CONTENT[:4096]


def test_o_direct_under_asyncio(tmp_path: Path) -> None:
    """caio cannot: its buffers are its own, and not aligned."""

    async def main() -> None:
        (tmp_path / "file").write_bytes(CONTENT)
        file = os.open(tmp_path / "file", os.O_RDONLY | os.O_DIRECT)
        memory = allocate(16384)
        async with AsyncContext(1) as aio:
            assert await aio.read(file, memory, 4096) == 16384
        assert memory[:] == CONTENT[4096 : 4096 + 16384]
        memory.close()
        os.close(file)

    run(main())


# ---- lifetimes -------------------------------------------------------------------------------------------------------

DROP = """
import gc, os, select, sys, time, warnings
from gadget.aio import Batch, Context, allocate, undrained
from gadget import aio
file = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
memory = allocate(4096)
context = Context(8192)
context.read(file, memory)
context.submit()
before = time.monotonic()
del context
gc.collect()
assert time.monotonic() - before < 5.0
assert len(undrained()) == 1
try:
    memory.close()
except BufferError:
    pass
else:
    sys.exit("the kernel's memory was given back")
print("dropped", flush=True)
input()                      # the answer is given now
deadline = time.monotonic() + 10.0
while undrained():
    assert time.monotonic() < deadline
    time.sleep(0.01)
assert bytes(memory[:256]) == bytes(range(256)), "and the data is where it belongs"
memory.close()
print("closed", flush=True)
input()
"""


@pytest.mark.parametrize("action", ["default", "error"])
def test_a_context_that_is_dropped_in_flight(held_file: HeldFile, action: str) -> None:
    """python-libaio: state D. caio: aio-nr and eventfds leaked. tokio-linux-aio: memory freed that is written to."""
    before = aio_nr()
    with subprocess.Popen(
        [sys.executable, "-W", action, "-c", DROP, held_file.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "dropped\n"
        held_file.wait_asked(1)
        # Other processes have contexts as well, so only a large one shows.
        assert aio_nr() >= before + 8192
        held_file.answer()
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "closed\n"
        assert aio_nr() < before + 8192, "and the child has not ended yet"
        assert "was not closed" in child.communicate("\n", timeout=PATIENCE)[1]
        assert child.returncode == 0


def drop(owners: list[Context | Batch]) -> None:
    """What is pending has its context, so that only the collector finds that."""
    owners.clear()
    gc.collect()


def test_contexts_that_are_dropped_again_and_again(file: int, pipe: tuple[int, int]) -> None:
    """With what the kernel gives back, and with what has ended before."""
    before = open_descriptors(), rings()
    for _ in range(30):
        context = Context(64)
        context.poll(pipe[0], select.POLLIN)
        context.read(file, bytearray(1))
        context.submit()
        owners: list[Context | Batch] = [context]
        del context
        with pytest.warns(ResourceWarning, match="was not closed"):
            drop(owners)
        assert len(rings()) < len(before[1]) + 5, "the next one closes those before it"
    wait_for(lambda: undrained() == (), "the kernel to give the polls back")
    assert (open_descriptors(), rings()) == before


def test_a_context_that_is_dropped_with_what_has_ended(file: int) -> None:
    owners: list[Context | Batch] = [context := Context(1)]
    context.read(file, bytearray(1))
    context.submit()
    del context
    with pytest.warns(ResourceWarning, match="was not closed"):
        drop(owners)
    assert undrained() == ()


def test_what_is_dropped_goes_when_the_kernel_has_given_it_back(held_file: HeldFile) -> None:
    before = open_descriptors(), rings()
    with held_file.opened() as file:
        memories = [allocate(4096) for _ in range(2)]
        context, batch = Context(1), Batch(file, memories[:1])
        context.read(file, memories[1])
        context.submit()
        batch.turn([0], at_least=0)
        held_file.wait_asked(2)
        owners: list[Context | Batch] = [context, batch]
        del context, batch
        with pytest.warns(ResourceWarning, match="was not closed"):
            drop(owners)
        assert len(undrained()) == 2
        held_file.answer(2)
        wait_for(lambda: undrained() == (), "both to be closed")
        assert [memory[:256] for memory in memories] == [HeldFile.CONTENT] * 2
        for memory in memories:
            memory.close()
    assert (open_descriptors(), rings()) == before


def test_a_batch_that_is_dropped_in_flight(held_file: HeldFile) -> None:
    with held_file.opened() as file:
        memory = allocate(4096)
        batch = Batch(file, [memory])
        assert batch.turn([0], at_least=0) == 0
        held_file.wait_asked(1)
        with pytest.warns(ResourceWarning, match="was not closed"):
            del batch
        (kept,) = undrained()
        with pytest.raises(BufferError):
            memory.close()
        with pytest.raises(NotDrainedError, match="1 operations"):
            kept.close(0.05)
        assert undrained() == (kept,)
        held_file.answer()
        kept.close(PATIENCE)
        assert memory[:256] == HeldFile.CONTENT
        memory.close()
        assert undrained() == ()


def test_an_operation_that_nobody_has_is_the_same_one_when_it_ends(context: Context, pipe: tuple[int, int]) -> None:
    """linux_aio: a block collected in flight came back as another object."""
    told: list[object] = []
    poll = context.poll(pipe[0], select.POLLIN)
    poll.user_data, poll.callback = "mine", lambda operation: told.append(operation.user_data)
    number = id(poll)
    del poll
    context.submit()
    others = [Operation.poll(pipe[0], select.POLLIN) for _ in range(100)]
    os.write(pipe[1], b"x")
    (ended,) = context.wait(PATIENCE)
    assert (id(ended), told, len(others)) == (number, ["mine"], 100)


# ---- completions -----------------------------------------------------------------------------------------------------


def test_a_raising_callback_loses_no_event(context: Context, file: int) -> None:
    """python-libaio: it lost three of four that were reaped."""

    def bad(operation: Operation) -> None:
        raise ZeroDivisionError

    reads = [context.read(file, bytearray(1)) for _ in range(4)]
    reads[0].callback = bad
    context.submit()
    with pytest.raises(ZeroDivisionError):
        context.reap()
    assert [read.result for read in reads] == [1] * 4
    assert context.free_slots == 8


def test_two_reapers_deliver_no_event_twice(file: int) -> None:
    """Two unlocked reapers of the ring duplicated 4 of 303,360 events."""
    reaped: list[Operation] = []
    stop = threading.Event()
    with Context(64) as context:

        def reap() -> None:
            while not stop.is_set():
                reaped.extend(context.reap())

        reapers = [threading.Thread(target=reap) for _ in range(2)]
        for reaper in reapers:
            reaper.start()
        started = 0
        while started < 20_000:
            try:
                context.read(file, bytearray(1))
                started += 1
            except BlockingIOError:
                context.submit()
        context.submit()
        wait_for(lambda: len(reaped) == started, "every operation to be fetched")
        stop.set()
        for reaper in reapers:
            reaper.join()
        assert context.free_slots == 64
    assert len(reaped) == len(set(map(id, reaped))) == 20_000


def test_a_forked_child_steals_nothing(context: Context, file: int, pipe: tuple[int, int]) -> None:
    """A forked child stole the parent's events."""
    poll, read = context.poll(pipe[0], select.POLLIN), context.read(file, bytearray(4))
    context.submit()
    batch = Batch(pipe[0], [bytearray(1)])
    child = os.fork()
    if child == 0:
        ok = context.closed and batch.closed and not undrained()
        context.close()
        batch.close()
        del context, batch
        os._exit(0 if ok else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert context.wait_any([read], PATIENCE) == [read]
    os.write(pipe[1], b"x")
    assert context.wait_all([poll], PATIENCE)
    assert batch.run(0) == 1
    batch.close()


def in_child(check: Callable[[], bool]) -> None:
    child = os.fork()
    if child == 0:
        ok = False
        with suppress(BaseException):
            ok = check()
        os._exit(0 if ok else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_forked_child_has_nothing_in_flight(context: Context, pipe: tuple[int, int]) -> None:
    poll = context.poll(pipe[0], select.POLLIN)
    queued = Operation.read(pipe[0], memory := bytearray(1))
    context.submit()
    context.start(queued)

    def check() -> bool:
        queued.release()
        memory.clear()
        return (poll.in_flight, poll.result, queued.result) == (False, -errno.ECANCELED, -errno.ECANCELED)

    in_child(check)
    assert poll.in_flight
    context.cancel(queued)


def test_a_forked_child_has_no_part_in_what_was_dropped(held_file: HeldFile) -> None:
    with held_file.opened() as file:
        context, memory = Context(1), allocate(4096)
        context.read(file, memory)
        context.submit()
        held_file.wait_asked(1)
        owners: list[Context | Batch] = [context]
        del context
        with pytest.warns(ResourceWarning, match="was not closed"):
            drop(owners)
        (kept,) = undrained()

        def check() -> bool:
            kept.close()
            return kept._pointer is None and undrained() == ()

        in_child(check)
        held_file.answer()
        kept.close(PATIENCE)
        memory.close()


def inherited() -> list[str]:
    """What a program has of eventfds and the like that does nothing about its descriptors."""
    done = subprocess.run(["ls", "-l", "/proc/self/fd"], close_fds=False, capture_output=True, text=True, check=True)
    return re.findall("anon_inode.*", done.stdout)


def test_an_executed_program_inherits_nothing(context: Context, pipe: tuple[int, int]) -> None:
    """Nor while a thread sleeps, which takes an eventfd and an epoll."""
    before, poll = inherited(), context.poll(pipe[0], select.POLLIN)
    poll.eventfd = os.eventfd(0)
    context.submit()
    waiting = threading.Thread(target=context.wait_all, args=([poll], PATIENCE))
    waiting.start()
    wait_for(lambda: bool(context._sleepers.asleep), "the thread to sleep")
    ours = open_descriptors()
    with Batch(0, [bytearray(1)]):
        assert inherited() == before
        assert open_descriptors() == ours, "a batch has none"
    os.write(pipe[1], b"x")
    waiting.join()
    os.close(poll.eventfd)


# ---- slots -----------------------------------------------------------------------------------------------------------


def test_thirty_cancelled_tasks_leave_as_many_in_flight_as_there_are_slots(held_file: HeldFile) -> None:
    """caio: 30 requests were in flight, with max_requests=2."""

    async def main() -> None:
        buffers = [allocate(4096) for _ in range(30)]
        with held_file.opened() as file:
            aio = AsyncContext(2)
            tasks = [asyncio.create_task(aio.read(file, buffer)) for buffer in buffers]
            while aio.context.free_slots:
                await asyncio.sleep(0)
            await asyncio.to_thread(held_file.wait_asked, 2)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert {type(result) for result in results} == {asyncio.CancelledError}
            # The kernel does not give them back, so slots and buffers are its until it answers.
            assert (aio.context.in_flight, aio.context.free_slots) == (2, 0)
            with pytest.raises(BufferError):
                buffers[0].close()
            late = asyncio.create_task(aio.read(file, buffers[29]))
            await asyncio.sleep(0.05)
            assert aio.context.in_flight == 2
            held_file.answer(3)
            assert await late == 4096
            await aio.aclose(PATIENCE)
        for buffer in buffers:
            buffer.close()

    run(main())


def test_a_refused_operation_leaves_no_slot_taken(file: int) -> None:
    """tokio-linux-aio: a submit error leaked a slot for ever."""

    async def main() -> None:
        async with AsyncContext(2) as aio:
            for _ in range(20):
                results = await asyncio.gather(*(aio.read(-1, bytearray(1)) for _ in range(5)), return_exceptions=True)
                assert {type(result) for result in results} == {OSError}
            assert aio.context.free_slots == 2
            assert await aio.read(file, bytearray(3)) == 3

    run(main())


# ---- submitting ------------------------------------------------------------------------------------------------------


def test_good_bad_good(context: Context, file: int) -> None:
    """python-libaio: it returned 1, and no errno. caio: one bad descriptor failed the good ones beside it."""
    reads = [context.read(fd, bytearray(2)) for fd in (file, -1, file)]
    context.submit()
    assert context.wait_all(reads, PATIENCE)
    assert [read.result for read in reads] == [2, -errno.EBADF, 2]
    with Batch(-1, [bytearray(1) for _ in range(3)]) as batch:
        assert batch.turn([0, 1, 2], at_least=3) == 3
        assert batch.failed == 3
        assert list(batch.results) == [-errno.EBADF] * 3
        with pytest.raises(OSError, match="Bad file descriptor"):
            batch.check()


def test_other_threads_run_through_a_submit_that_blocks(context: Context, pipe: tuple[int, int]) -> None:
    """caio: the GIL was held for a second."""
    read = context.read(pipe[0], bytearray(1))  # from an empty pipe: io_submit waits for the data itself
    submitter = threading.Thread(target=context.submit)
    submitter.start()
    turns = 0
    deadline = time.monotonic() + 0.3
    while time.monotonic() < deadline:
        turns += 1
        assert context.reap() == []
    assert turns > 10
    assert submitter.is_alive()
    os.write(pipe[1], b"x")
    submitter.join()
    assert context.wait_all([read], PATIENCE)
    assert context.report.submitting >= 0.2, "and the time spent there is told"


# ---- waits -----------------------------------------------------------------------------------------------------------


def test_a_signal_does_not_end_a_wait(pipe: tuple[int, int]) -> None:
    caught: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: caught.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    try:
        with Context(1) as context:
            poll = context.poll(pipe[0], select.POLLIN)
            context.submit()
            waits: list[Callable[[], object]] = [lambda: context.wait(0.1), lambda: context.wait_any([poll], 0.1)]
            for wait in waits:
                start = time.monotonic()
                assert wait() == []
                assert time.monotonic() - start >= 0.1
            context.cancel(poll)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(caught) > 3


def test_a_signal_does_not_end_the_turn_of_a_batch(held_file: HeldFile) -> None:
    caught: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: caught.append(number))
    with held_file.opened() as file, Pieces(2, 4096) as pieces, Batch(file, pieces.views) as batch:
        assert batch.turn([0, 4096], at_least=0) == 0
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        try:
            start = time.monotonic()
            assert batch.turn((), at_least=2, timeout=0.1) == 0
            assert time.monotonic() - start >= 0.1
            held_file.answer(1)
            assert batch.turn((), at_least=1) == 1
            threading.Timer(0.1, held_file.answer).start()
            assert batch.turn((), at_least=1) == 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert batch.in_flight == 0
        assert list(batch.results) == [4096, 4096]
    assert len(caught) > 3


@pytest.mark.parametrize("timeout", [-1, -1e-9, float("-inf"), float("nan")])
def test_a_negative_time_out_is_refused(context: Context, file: int, timeout: float) -> None:
    """It blocked for ever."""
    with Batch(file, [bytearray(1)]) as batch:
        waits = (
            lambda: context.wait(timeout),
            lambda: context.wait_any([], timeout),
            lambda: context.wait_all([Operation.fsync(file)], timeout),
            lambda: batch.turn((), 1, timeout),
        )
        for wait in waits:
            with pytest.raises(UsageError, match="use 0 to look"):
                wait()


def test_a_time_out_of_zero_looks(context: Context, pipe: tuple[int, int]) -> None:
    """linux_aio: it blocked for ever."""
    poll = context.poll(pipe[0], select.POLLIN)
    context.submit()
    before = time.monotonic()
    assert context.wait(0) == []
    assert context.wait_any([poll], 0) == []
    assert not context.wait_all([poll], 0)
    assert time.monotonic() - before < 5.0


# ---- errors ----------------------------------------------------------------------------------------------------------


def test_an_error_is_an_oserror_with_its_errno(file: int) -> None:
    """caio: 18446744073709551594 for EINVAL."""

    async def main() -> None:
        async with AsyncContext(1) as aio:
            with pytest.raises(OSError, match="Invalid argument") as caught:
                await aio.read(file, bytearray(1), -1)
            assert caught.value.errno == errno.EINVAL

    run(main())
    with Batch(file, [bytearray(1)]) as batch:
        with pytest.raises(OSError, match="Invalid argument") as caught:
            batch.run(-1)
        assert caught.value.errno == errno.EINVAL


def test_flags_are_in_the_field_where_the_kernel_looks(context: Context, file: int) -> None:
    """tokio-linux-aio: in the wrong field, silently ignored, so that a "synced" write was not."""
    end = os.fstat(file).st_size
    append = context.write(file, b"x", sync=Sync.DATA, flags=os.RWF_APPEND)
    unknown = context.write(file, b"x", sync=Sync.FULL, flags=1 << 30)
    context.submit()
    assert context.wait_all([append, unknown], PATIENCE)
    assert (append.result, unknown.result, os.fstat(file).st_size) == (1, -errno.EOPNOTSUPP, end + 1)
    with Batch(file, [b"y"], Opcode.PWRITE, flags=os.RWF_APPEND) as batch:
        assert batch.run(0) == 1
    assert os.fstat(file).st_size == end + 2


def test_a_limit_that_is_used_up_is_named_with_its_cure(file: int) -> None:
    """caio: SystemError(11)."""
    limit = int(Path("/proc/sys/fs/aio-max-nr").read_text())
    contexts: list[Context | Batch] = []
    try:
        with pytest.raises(KernelError, match=r"used up .*sysctl fs\.aio-max-nr=") as caught:  # noqa: PT012
            for _ in range(limit // 16384 + 1):
                contexts.append(Context(16384))
        assert caught.value.errno == errno.EAGAIN
        with pytest.raises(KernelError, match="used up"):
            Batch(file, [bytearray(1)] * 30000)
    finally:
        for context in contexts:
            context.close()
