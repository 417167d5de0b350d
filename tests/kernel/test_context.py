"""On ordinary files and pipes. Linux completes a cached read inside io_submit, so what was submitted and not reaped
yet is "in flight" here for as long as a test needs it; a poll on an empty pipe is, in the kernel too."""

from __future__ import annotations

import errno
import mmap
import os
import select
import signal
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from gadget.aio import Batch, Context, Operation, ReadStream, allocate, syscalls
from gadget.errors import ClosedError, KernelError, NotDrainedError, UsageError

from .conftest import CONTENT, rings

#: How long anything may take that should take no time.
PATIENCE = 10.0


def finish(context: Context, *operations: Operation) -> list[int | None]:
    """Submits, waits until these operations are done, and returns their results."""
    context.submit()
    wait_for(context, lambda: all(operation.done for operation in operations))
    return [operation.result for operation in operations]


def wait_for(context: Context, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        context.wait(PATIENCE)
        assert time.monotonic() < deadline


# ---- what operations do ----------------------------------------------------------------------------------------------


def test_reads_at_offsets(context: Context, file: int) -> None:
    buffers = [bytearray(100) for _ in range(3)]
    offsets = [0, 1000, 40000]
    reads = [context.read(file, buffer, offset) for buffer, offset in zip(buffers, offsets, strict=True)]
    assert finish(context, *reads) == [100, 100, 100]
    assert buffers == [CONTENT[offset : offset + 100] for offset in offsets]
    assert [read.result2 for read in reads] == [0, 0, 0]


def test_writes_at_offsets_and_nowhere_else(context: Context, file: int) -> None:
    assert finish(context, context.write(file, b"one", 10), context.write(file, memoryview(b"--two--")[2:5], 20)) == [
        3,
        3,
    ]
    assert os.pread(file, 40, 0) == CONTENT[:10] + b"one" + CONTENT[13:20] + b"two" + CONTENT[23:40]


def test_a_write_behind_the_end_leaves_a_hole(context: Context, file: int) -> None:
    assert finish(context, context.write(file, b"end", 100_000)) == [3]
    assert os.pread(file, 10, 99_993) == bytes(7) + b"end"


def test_a_short_read_at_the_end_of_a_file(context: Context, file: int) -> None:
    buffer = bytearray(b"x" * 20)
    assert finish(context, context.read(file, buffer, len(CONTENT) - 5)) == [5]
    assert buffer == CONTENT[-5:] + b"x" * 15
    assert finish(context, context.read(file, buffer, len(CONTENT))) == [0]


def test_transfers_of_nothing(context: Context, file: int) -> None:
    assert finish(context, context.read(file, bytearray(), 7), context.write(file, b"", 7)) == [0, 0]
    assert os.pread(file, len(CONTENT), 0) == CONTENT


def test_a_length_is_in_bytes(context: Context, file: int) -> None:
    numbers = array("I", [0] * 1024)
    assert finish(context, context.read(file, numbers)) == [4096]
    assert numbers.tobytes() == CONTENT[:4096]


def test_o_direct_with_allocated_memory(context: Context, tmp_path: Path) -> None:
    try:
        descriptor = os.open(tmp_path / "direct", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        pytest.skip(f"the file system of {tmp_path} refuses O_DIRECT")
    try:
        written, read = allocate(4 * mmap.PAGESIZE), allocate(4 * mmap.PAGESIZE)
        written[:] = os.urandom(len(written))
        assert finish(context, context.write(descriptor, written)) == [len(written)]
        assert finish(context, context.fsync(descriptor)) == [0]
        assert finish(context, context.read(descriptor, read)) == [len(read)]
        assert read[:] == written[:]
        written.close()
        read.close()
    finally:
        os.close(descriptor)


def test_syncing(context: Context, file: int, pipe: tuple[int, int]) -> None:
    assert finish(context, context.fsync(file), context.fdsync(file)) == [0, 0]
    # A pipe has nothing to sync to, so these are no no-ops.
    assert finish(context, context.fsync(pipe[0]), context.fdsync(pipe[0])) == [-errno.EINVAL] * 2


def test_flags_reach_the_kernel(context: Context, file: int) -> None:
    assert finish(context, context.write(file, b"x", flags=os.RWF_DSYNC)) == [1]
    assert finish(context, context.write(file, b"x", flags=1 << 30)) == [-errno.EOPNOTSUPP]


def test_a_file_object_will_do(context: Context, tmp_path: Path) -> None:
    with (tmp_path / "new").open("wb+") as file:
        assert finish(context, context.write(file, b"data")) == [4]
        assert file.read() == b"data"


def test_a_poll_completes_when_the_event_comes(context: Context, pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    poll = context.poll(reader, select.POLLIN)
    context.submit()
    assert context.wait(0) == []
    assert not poll.done
    os.write(writer, b"x")
    assert context.wait(PATIENCE) == [poll]
    assert poll.check() & (select.POLLIN | select.POLLOUT | select.POLLHUP) == select.POLLIN


def test_a_cancelled_poll_still_completes(context: Context, pipe: tuple[int, int]) -> None:
    poll = context.poll(pipe[0], select.POLLIN)
    context.submit()
    assert context.cancel(poll)
    assert context.wait(PATIENCE) == [poll]
    assert poll.done
    assert context.in_flight == 0
    assert not context.cancel(poll)


def test_a_cancel_meant_for_an_earlier_use_of_a_slot_hits_nobody(pipe: tuple[int, int]) -> None:
    with Context(1) as context:
        first = context.poll(pipe[1], select.POLLOUT)
        finish(context, first)
        second = context.poll(pipe[0], select.POLLIN)
        context.submit()
        assert not context.cancel(first)
        assert context.wait(0) == []
        assert not second.done


def test_what_is_cancelled_before_it_was_submitted_never_happens(context: Context, file: int) -> None:
    first, second, third = (context.write(file, bytes([65 + i]) * 4, 4 * i) for i in range(3))
    assert context.cancel(second)
    assert finish(context, first, second, third) == [4, -errno.ECANCELED, 4]
    assert os.pread(file, 12, 0) == b"AAAA" + CONTENT[4:8] + b"CCCC"
    assert context.free_slots == 8


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_one_exact_result_for_each_operation(context: Context, file: int, bad: int) -> None:
    buffers = [bytearray(4) for _ in range(3)]
    reads = [context.read(-1 if i == bad else file, buffer, 10 * i) for i, buffer in enumerate(buffers)]
    assert finish(context, *reads) == [-errno.EBADF if i == bad else 4 for i in range(3)]
    assert buffers == [bytes(4) if i == bad else CONTENT[10 * i : 10 * i + 4] for i in range(3)]


def test_checking_a_result(context: Context, file: int) -> None:
    good, bad = context.read(file, bytearray(5)), context.read(file, bytearray(5), -1)
    with pytest.raises(UsageError, match="still in flight"):
        good.check()
    finish(context, good, bad)
    assert good.check() == 5
    with pytest.raises(OSError, match="Invalid argument") as caught:
        bad.check()
    assert caught.value.errno == errno.EINVAL


def test_one_is_run_in_one_call(context: Context, file: int, pipe: tuple[int, int]) -> None:
    buffer, told = bytearray(8), list[Operation]()
    read = Operation.read(file, buffer)
    read.callback = told.append
    for offset in (0, 13, len(CONTENT) - 3):
        assert context.run(read, offset) == min(8, len(CONTENT) - offset)
        assert buffer[:3] == CONTENT[offset : offset + 3]
    assert (told, read.moved, read.in_flight) == ([read] * 3, 19, False)
    with pytest.raises(OSError, match="Invalid argument"):
        context.run(read, -1)
    poll = Operation.poll(pipe[0], select.POLLIN)
    threading.Timer(0.05, os.write, (pipe[1], b"x")).start()
    assert context.run(poll) & select.POLLIN
    assert context.free_slots == 8


def test_one_that_is_run_may_be_reaped_by_another_thread_at_once(
    context: Context, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel has had it for a moment before its starter can say what it is."""
    adopt, told = context._adopt, list[Operation]()

    def adopt_late(operation: Operation, ticket: int) -> None:
        os.write(pipe[1], b"x")
        assert select.select([context], [], [], PATIENCE)[0]
        assert context.reap() == []
        adopt(operation, ticket)

    monkeypatch.setattr(context, "_adopt", adopt_late)
    poll = Operation.poll(pipe[0], select.POLLIN)
    poll.callback = told.append
    assert context.run(poll) & select.POLLIN
    assert (told, poll.in_flight, context.free_slots, context._pending) == ([poll], False, 8, {})


def test_one_that_is_run_needs_a_slot(file: int, pipe: tuple[int, int]) -> None:
    with Context(1) as context:
        read, poll = Operation.read(file, bytearray(1)), context.poll(pipe[0], select.POLLIN)
        with pytest.raises(BlockingIOError):
            context.run(read)
        with pytest.raises(UsageError, match="in flight already"):
            context.run(poll)
        context.cancel(poll)
        assert context.reap() == [poll]
        assert context.run(read) == 1
        read.release()
        with pytest.raises(UsageError, match="was released"):
            context.run(read)


def test_what_the_kernel_cannot_be_given_leaves_nothing_in_flight(context: Context, file: int) -> None:
    reads = [Operation.read(file, bytearray(4), number) for number in range(3)]
    reads[1].offset = 2**63
    with pytest.raises(OverflowError):
        context.start(*reads)
    with pytest.raises(OverflowError):
        context.run(reads[1])
    assert not any(read.in_flight for read in reads)
    assert (context.in_flight, context.free_slots, context.reap()) == (0, 8, [])
    reads[1].offset = 5
    context.start(*reads)
    assert finish(context, *reads) == [4, 4, 4]


def test_lengths_that_can_be_set(context: Context, file: int) -> None:
    buffer = bytearray(8)
    read = Operation.read(file, buffer)
    for length in (3, 0, 8):
        read.length = length
        assert context.run(read) == length
    for wrong in (9, -1):
        with pytest.raises(UsageError, match="room for 0 to 8"):
            read.length = wrong
    with pytest.raises(UsageError, match="no mask"):
        read.mask = select.POLLIN


# ---- buffers ---------------------------------------------------------------------------------------------------------


def test_a_bytearray_keeps_its_size_while_in_flight(context: Context, file: int) -> None:
    buffer = bytearray(100)
    read = context.read(file, buffer)
    with pytest.raises(BufferError):
        buffer.extend(b"x")
    context.submit()
    with pytest.raises(BufferError):
        buffer.clear()
    finish(context, read)
    buffer.extend(b"x")
    assert buffer == CONTENT[:100] + b"x"


def test_memory_cannot_be_closed_while_in_flight(context: Context, file: int) -> None:
    buffer = allocate(100)
    write = context.write(file, buffer)
    context.submit()
    with pytest.raises(BufferError):
        buffer.close()
    finish(context, write)
    buffer.close()


def test_memory_that_nobody_else_holds_stays_until_the_kernel_is_done(context: Context, file: int) -> None:
    finish(context, *(context.write(file, bytes([65 + i]) * 8192, 8192 * i) for i in range(8)))
    assert os.pread(file, 65536, 0) == b"".join(bytes([65 + i]) * 8192 for i in range(8))


def test_nothing_is_read_into_constants(context: Context, file: int) -> None:
    constant = b"constant"
    with pytest.raises(BufferError):
        context.read(file, constant)
    with pytest.raises(BufferError):
        context.read(file, memoryview(constant))
    assert context.free_slots == 8


def test_scattered_memory_is_refused(context: Context, file: int) -> None:
    with pytest.raises((BufferError, ValueError)):
        context.write(file, memoryview(b"abcdef")[::2])
    assert context.free_slots == 8


# ---- slots -----------------------------------------------------------------------------------------------------------


def test_a_time_to_linger_that_cannot_be(context: Context) -> None:
    context.linger = 0
    for seconds in (-0.001, float("nan")):
        with pytest.raises(UsageError, match="in seconds, and 0 is never"):
            context.linger = seconds
    assert context.linger == 0


def test_slots_are_exact(pipe: tuple[int, int]) -> None:
    with Context(3) as context:
        polls = [context.poll(pipe[0], select.POLLIN) for _ in range(3)]
        assert (context.free_slots, context.in_flight) == (0, 3)
        with pytest.raises(BlockingIOError, match="all 3 slots"):
            context.poll(pipe[0], select.POLLIN)
        context.submit()
        with pytest.raises(BlockingIOError):
            context.poll(pipe[0], select.POLLIN)
        os.write(pipe[1], b"x")
        finish(context, *polls)
        assert (context.free_slots, context.in_flight) == (3, 0)
        finish(context, *(context.poll(pipe[0], select.POLLIN) for _ in range(3)))


def test_slots_of_what_is_refused_come_back(context: Context) -> None:
    for _ in range(5):
        assert finish(context, *(context.read(-1, bytearray(1)) for _ in range(8))) == [-errno.EBADF] * 8
        assert context.free_slots == 8


@pytest.mark.parametrize("slots", [0, -1, 65537])
def test_a_number_of_slots_that_cannot_be(slots: int) -> None:
    with pytest.raises(UsageError, match=f"{slots} slots"):
        Context(slots)


def test_more_contexts_than_the_machine_allows_is_explained() -> None:
    limit = int(Path("/proc/sys/fs/aio-max-nr").read_text())

    def open_too_many(stack: ExitStack) -> None:
        for _ in range(limit // 16384 + 1):
            stack.enter_context(Context(16384))

    with ExitStack() as stack:
        with pytest.raises(KernelError, match="aio-max-nr") as caught:
            open_too_many(stack)
        assert caught.value.errno == errno.EAGAIN


# ---- callbacks -------------------------------------------------------------------------------------------------------


def test_a_callback_that_raises_harms_nobody_else(context: Context, file: int) -> None:
    called: list[Operation] = []

    def good(operation: Operation) -> None:
        assert operation.done
        called.append(operation)

    def bad(operation: Operation) -> None:
        raise ZeroDivisionError

    buffers = [bytearray(4) for _ in range(4)]
    reads = [context.read(file, buffer) for buffer in buffers]
    for read, callback in zip(reads, (good, bad, good, good), strict=True):
        read.callback = callback
    context.submit()
    with pytest.raises(ZeroDivisionError):
        context.wait(PATIENCE)
    assert called == [reads[0], reads[2], reads[3]]
    assert [read.result for read in reads] == [4, 4, 4, 4]
    assert context.free_slots == 8
    for buffer in buffers:
        buffer.clear()


def test_several_that_raise_are_raised_together(context: Context, file: int) -> None:
    def interrupted(operation: Operation) -> None:
        raise KeyboardInterrupt

    def bad(operation: Operation) -> None:
        raise ZeroDivisionError

    reads = [context.read(file, bytearray(1)) for _ in range(2)]
    reads[0].callback, reads[1].callback = interrupted, bad
    context.submit()
    with pytest.raises(BaseExceptionGroup) as caught:
        context.wait(PATIENCE)
    assert [type(error) for error in caught.value.exceptions] == [KeyboardInterrupt, ZeroDivisionError]
    assert all(read.done for read in reads)


def test_a_callback_may_submit_the_next_operation(context: Context, file: int) -> None:
    seen: list[int | None] = []

    def again(operation: Operation) -> None:
        seen.append(operation.result)
        if len(seen) < 100:
            context.read(file, bytearray(len(seen))).callback = again
            context.submit()

    context.read(file, bytearray(0)).callback = again
    context.submit()
    wait_for(context, lambda: len(seen) == 100)
    assert seen == list(range(100))


# ---- waiting ---------------------------------------------------------------------------------------------------------


def test_the_descriptor_rings_for_completions_and_for_refusals(context: Context, file: int) -> None:
    def rung() -> bool:
        return bool(select.select([context], [], [], 0)[0])

    for descriptor in (file, -1):
        assert not rung()
        read = context.read(descriptor, bytearray(1))
        assert not rung()
        context.submit()
        assert rung()
        assert context.reap() == [read]
    assert not rung()


def test_looking_and_time_outs(context: Context) -> None:
    assert context.wait(0) == []
    before = time.monotonic()
    assert context.wait(0.05) == []
    assert time.monotonic() - before >= 0.05
    with pytest.raises(UsageError, match="-1 seconds"):
        context.wait(-1)


def test_waits_that_would_not_end(context: Context, file: int, pipe: tuple[int, int]) -> None:
    never, poll = Operation.fsync(file), context.poll(pipe[0], select.POLLIN)
    waits: list[Callable[[], object]] = [lambda: context.wait_all([poll, never]), lambda: context.wait_any([never], 0)]
    for wait in waits:
        with pytest.raises(UsageError, match="not started"):
            wait()
    with pytest.raises(UsageError, match="give it some"):
        context.wait_any([])
    assert context.wait_any([], 0.01) == []
    assert context.wait_all([])


@pytest.mark.parametrize("timeout", [3e6, 1e10, 1e300, float("inf")])
def test_time_outs_as_long_as_may_be(context: Context, file: int, pipe: tuple[int, int], timeout: float) -> None:
    waits: list[Callable[[Operation], object]] = [
        lambda poll: context.wait(timeout),
        lambda poll: context.wait_any([poll], timeout),
    ]
    for wait in waits:
        poll = context.poll(pipe[0], select.POLLIN)
        context.submit()
        writer = threading.Timer(0.05, os.write, (pipe[1], b"x"))
        writer.start()
        assert wait(poll)
        writer.join()
        os.read(pipe[0], 1)
        context.wait_all([poll], PATIENCE)
    with Batch(file, [bytearray(1)]) as batch:
        assert batch.turn([0], 1, timeout) == 1
    raw = syscalls.io_setup(1)
    assert syscalls.io_getevents(raw, 0, 1, timeout) == []
    syscalls.io_destroy(raw)


def test_a_time_out_to_close_with(pipe: tuple[int, int], file: int) -> None:
    context, batch = Context(1), Batch(file, [bytearray(1)])
    poll = context.poll(pipe[0], select.POLLIN)
    context.submit()
    for owner in (context, batch):
        with pytest.raises(UsageError, match="-1 seconds"):
            owner.close(-1)
    assert (poll.done, context.in_flight) == (False, 1), "nothing was cancelled"
    context.close(None)
    batch.close(None)
    assert poll.done


def test_a_ring_for_what_was_fetched_already_does_not_end_a_wait(context: Context, pipe: tuple[int, int]) -> None:
    poll = context.poll(pipe[0], select.POLLIN)
    context.submit()
    # As when an event comes between the read of the eventfd and that of the ring.
    os.eventfd_write(context.fileno(), 1)
    writer = threading.Timer(0.05, os.write, (pipe[1], b"x"))
    writer.start()
    assert context.wait(PATIENCE) == [poll]
    writer.join()


def test_signals_neither_cut_a_wait_short_nor_prolong_it(context: Context) -> None:
    rung: list[int] = []
    previous = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        before = time.monotonic()
        assert context.wait(0.3) == []
        passed = time.monotonic() - before
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert len(rung) > 5
    assert 0.3 <= passed < PATIENCE


def test_a_signal_handler_that_raises_ends_a_wait(context: Context, pipe: tuple[int, int]) -> None:
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    poll = context.poll(pipe[0], select.POLLIN)
    context.submit()
    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            context.wait()
    finally:
        signal.signal(signal.SIGALRM, previous)
    os.write(pipe[1], b"x")
    assert context.wait(PATIENCE) == [poll]


# ---- closing ---------------------------------------------------------------------------------------------------------


def test_closing_cancels_and_drains_and_completes(pipe: tuple[int, int], file: int) -> None:
    context = Context(8)
    polls = [context.poll(pipe[0], select.POLLIN) for _ in range(4)]
    context.submit()
    buffer = bytearray(CONTENT[:4])
    queued = context.write(file, b"late")
    before = time.monotonic()
    context.close(PATIENCE)
    assert time.monotonic() - before < PATIENCE
    assert context.closed
    assert all(poll.done for poll in polls)
    assert queued.result == -errno.ECANCELED
    assert os.pread(file, 4, 0) == buffer
    context.close()


def test_a_closed_context_says_so(pipe: tuple[int, int]) -> None:
    context = Context(1)
    poll = context.poll(pipe[0], select.POLLIN)
    context.close()
    uses: list[Callable[[], object]] = [
        context.fileno,
        context.submit,
        context.reap,
        context.wait,
        lambda: context.in_flight,
        lambda: context.free_slots,
        lambda: context.cancel(poll),
        lambda: context.poll(pipe[0], select.POLLIN),
        lambda: ReadStream(context, pipe[0], 1, 1),
    ]
    for use in uses:
        with pytest.raises(ClosedError):
            use()


def test_a_callback_that_raises_does_not_stop_closing(pipe: tuple[int, int]) -> None:
    context = Context(4)
    polls = [context.poll(pipe[0], select.POLLIN) for _ in range(4)]

    def bad(operation: Operation) -> None:
        raise ZeroDivisionError

    polls[1].callback = bad
    context.submit()
    with pytest.raises(ZeroDivisionError):
        context.close()
    assert context.closed
    assert all(poll.done for poll in polls)


def test_a_callback_cannot_keep_a_context_from_closing(pipe: tuple[int, int]) -> None:
    context = Context(4)
    poll = context.poll(pipe[0], select.POLLIN)

    def again(operation: Operation) -> None:
        context.poll(pipe[0], select.POLLIN)

    poll.callback = again
    context.submit()
    with pytest.raises(ClosedError):
        context.close()
    assert context.closed


def test_what_cannot_be_drained_keeps_its_buffers(pipe: tuple[int, int], file: int) -> None:
    """A read of an empty pipe sleeps inside io_submit, where nothing takes it back."""
    context, buffer, first = Context(4), bytearray(4), bytearray(1)
    context.read(file, first)
    read = context.read(pipe[0], buffer)
    submitter = threading.Thread(target=context.submit)
    submitter.start()
    try:
        # Both were taken by one io_submit, in order: it is at the second now.
        wait_for(context, lambda: context.free_slots == 3)
        before = time.monotonic()
        with pytest.raises(NotDrainedError, match=r"1 operations did not complete within 0\.1 s") as caught:
            context.close(0.1)
        assert time.monotonic() - before < PATIENCE
        assert caught.value.errno == errno.ETIMEDOUT
        with pytest.raises(BufferError):
            buffer.clear()
        with pytest.raises(ClosedError):
            context.read(file, first)
    finally:
        os.write(pipe[1], b"late")
        submitter.join()
    context.close()
    assert read.result == 4
    assert buffer == b"late"
    buffer.clear()


def test_what_the_machine_counts_goes_back() -> None:
    def count() -> int:
        return int(Path("/proc/sys/fs/aio-nr").read_text())

    # Other processes have contexts as well, so only a large one shows.
    before = count()
    with Context(16384):
        assert count() - before > 10000
    assert count() - before < 10000


def run(script: str, *options: str) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, *options, "-c", script]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)


def test_an_idle_context_that_is_dropped_warns_and_goes() -> None:
    context = Context(1)
    with pytest.warns(ResourceWarning, match="was not closed"):
        del context


def test_a_context_in_a_cycle_with_its_stream_can_be_collected() -> None:
    script = """
import gc, os
from gadget.aio import Context, ReadStream
stream = ReadStream(Context(4), os.open("/dev/zero", os.O_RDONLY), 2, 100)
stream.start()
stream.next()
del stream
gc.collect()
"""
    done = run(script, "-W", "default")
    assert done.returncode == 0
    assert "was not closed" in done.stderr


# ---- processes and threads -------------------------------------------------------------------------------------------


def test_a_forked_child_has_no_part_in_it(context: Context, pipe: tuple[int, int], file: int) -> None:
    stream = ReadStream(context, file, 2, 10)
    stream.start()
    poll, read = context.poll(pipe[0], select.POLLIN), context.read(file, bytearray(4))
    context.submit()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            assert context.closed
            for use in (context.reap, context.submit, stream.next):
                with pytest.raises(ClosedError):
                    use()
            stream.close()
            context.close()
            assert not rings()
            with Context(1) as own:
                assert finish(own, own.read(file, bytearray(4))) == [4]
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert context.wait(PATIENCE) == [read]
    os.write(pipe[1], b"x")
    assert context.wait(PATIENCE) == [poll]


def test_threads_that_submit_and_reap_together_see_each_completion_once(file: int) -> None:
    rounds, batch = 1500, 4
    submitted: list[Operation] = []
    reaped: list[Operation] = []
    errors: list[BaseException] = []
    with Context(3 * batch) as context:

        def work() -> None:
            try:
                for number in range(rounds):
                    mine = [context.read(file, bytearray(8), number) for _ in range(batch)]
                    submitted.extend(mine)
                    context.submit()
                    while not all(operation.done for operation in mine):
                        reaped.extend(context.wait(0))
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work) for _ in range(3)]
        previous = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            sys.setswitchinterval(previous)
        assert not errors
        assert context.free_slots == 3 * batch
    assert len(submitted) == len(reaped) == 3 * rounds * batch
    assert set(submitted) == set(reaped)
    assert {operation.result for operation in reaped} == {8}


def test_other_threads_run_while_one_waits(context: Context, pipe: tuple[int, int]) -> None:
    poll = context.poll(pipe[0], select.POLLIN)
    context.submit()
    results: list[list[Operation]] = []
    waiter = threading.Thread(target=lambda: results.append(context.wait(PATIENCE)))
    waiter.start()
    os.write(pipe[1], b"x")
    waiter.join()
    assert results == [[poll]]
