"""python-libaio: blocks that are submitted, cancelled and reaped."""

from __future__ import annotations

import errno
import os
import select
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gadget.aio import Context, Operation, allocate, syscalls
from gadget.errors import UsageError

from ..conftest import CONTENT, HeldFile

PATIENCE = 20.0


def finish(context: Context, *operations: Operation) -> list[int | None]:
    context.start(*operations)
    context.submit()
    assert context.wait_all(operations, PATIENCE)
    return [operation.result for operation in operations]


def test_vectored_read_into_several_buffers(context: Context, file: int) -> None:
    buffers = [bytearray(size) for size in (3, 0, 5, 300)]
    assert finish(context, Operation.readv(file, buffers, 7)) == [308]
    assert b"".join(buffers) == CONTENT[7:315]


def test_vectored_write_from_several_buffers(context: Context, file: int) -> None:
    assert finish(context, Operation.writev(file, [b"one", bytearray(b"two"), memoryview(b"three")], 9)) == [11]
    assert os.pread(file, 13, 8) == CONTENT[8:9] + b"onetwothree" + CONTENT[20:21]


def test_getters_and_setters_and_a_block_that_is_used_again(context: Context, file: int) -> None:
    buffer = bytearray(4)
    read = Operation.read(file, buffer, 3, flags=0, priority=0)
    assert (read.opcode.name, read.file, read.offset, read.flags, read.priority) == ("PREAD", file, 3, 0, 0)
    assert (read.callback, read.eventfd, read.user_data, read.result, read.moved) == (None, -1, None, None, 0)
    read.user_data = "mine"
    for offset in (0, 100, 200):
        read.offset = offset
        assert finish(context, read) == [4]
        assert buffer == CONTENT[offset : offset + 4]
    assert (read.user_data, read.moved) == ("mine", 12)
    read.length = 2
    assert (finish(context, read), read.length) == ([2], 2)


def test_what_is_set_is_what_the_next_flight_does(context: Context, file: int, pipe: tuple[int, int]) -> None:
    """All but the buffers, which are pinned from the beginning: others are another operation's."""
    write = Operation.write(file, b"end")
    assert finish(context, write) == [3]
    write.flags = os.RWF_APPEND
    assert finish(context, write) == [3]
    assert os.pread(file, 4, len(CONTENT)) == b"end"
    write.flags, write.priority = 0, -1
    assert finish(context, write) == [-errno.EINVAL]
    write.priority, write.file, write.offset = 0, pipe[1], 0
    assert finish(context, write) == [3]
    assert os.read(pipe[0], 4) == b"end"


def test_the_same_block_twice_is_refused_and_the_whole_submit_undone(context: Context, file: int) -> None:
    one, two = Operation.read(file, bytearray(1)), Operation.read(file, bytearray(1))
    with pytest.raises(UsageError, match="the same operation twice"):
        context.start(one, two, one)
    assert (context.in_flight, context.free_slots, one.in_flight, two.in_flight) == (0, 8, False, False)
    context.start(one)
    with pytest.raises(UsageError, match="in flight already"):
        context.start(two, one)
    assert (context.in_flight, two.in_flight) == (1, False)
    context.submit()
    assert context.wait_all([one], PATIENCE)
    assert finish(context, one, two) == [1, 1]


def test_more_blocks_than_slots_are_refused_and_the_whole_submit_undone(context: Context, file: int) -> None:
    reads = [Operation.read(file, bytearray(1)) for _ in range(9)]
    with pytest.raises(BlockingIOError, match="all 8 slots"):
        context.start(*reads)
    assert context.free_slots == 8
    assert finish(context, *reads[:8]) == [1] * 8


def test_fsync_and_fdsync(context: Context, file: int, pipe: tuple[int, int]) -> None:
    assert finish(context, Operation.fsync(file), Operation.fdsync(file)) == [0, 0]
    assert finish(context, Operation.fsync(pipe[0]), Operation.fdsync(pipe[0])) == [-errno.EINVAL] * 2


def test_poll_with_an_event_mask(context: Context, pipe: tuple[int, int]) -> None:
    poll = Operation.poll(pipe[0], select.POLLIN | select.POLLPRI)
    context.start(poll)
    context.submit()
    assert not context.wait_any([poll], 0.01)
    os.write(pipe[1], b"x")
    assert context.wait_any([poll], PATIENCE) == [poll]
    assert poll.check() & select.POLLIN
    assert poll.moved == 0, "a mask is no count"


def test_res_and_res2_untouched(context: Context, file: int) -> None:
    good, bad, late = Operation.read(file, bytearray(4)), Operation.read(file, bytearray(4), -1), Operation.fsync(-1)
    assert finish(context, good, bad, late) == [4, -errno.EINVAL, -errno.EBADF]
    assert [good.result2, bad.result2, late.result2] == [0, 0, 0]
    with pytest.raises(OSError, match="Bad file descriptor"):
        late.check()


def test_an_eventfd_for_each_block(context: Context, file: int, pipe: tuple[int, int]) -> None:
    eventfds = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2)]
    try:
        poll, read = Operation.poll(pipe[0], select.POLLIN), Operation.read(file, bytearray(1))
        poll.eventfd, read.eventfd = eventfds
        context.start(poll, read)
        context.submit()
        assert os.eventfd_read(eventfds[1]) == 1
        assert not select.select([context], [], [], 0)[0], "it rings its own, and only that"
        with pytest.raises(BlockingIOError):
            os.eventfd_read(eventfds[0])
        os.write(pipe[1], b"x")
        assert context.wait_all([poll, read], PATIENCE)
        assert os.eventfd_read(eventfds[0]) == 1, "waiting leaves it to its user"
    finally:
        for eventfd in eventfds:
            os.close(eventfd)


def test_an_eventfd_of_its_own_rings_for_a_refusal(context: Context, pipe: tuple[int, int]) -> None:
    eventfd = os.eventfd(0, os.EFD_NONBLOCK)
    try:
        read = Operation.read(-1, bytearray(1))
        read.eventfd = eventfd
        assert finish(context, read) == [-errno.EBADF]
        assert os.eventfd_read(eventfd) == 1
    finally:
        os.close(eventfd)


@pytest.fixture
def eventfd() -> Iterator[int]:
    descriptor = os.eventfd(0, os.EFD_NONBLOCK)
    yield descriptor
    os.close(descriptor)


def test_an_eventfd_of_its_own_rings_for_what_is_not_submitted(context: Context, file: int, eventfd: int) -> None:
    read = Operation.read(file, bytearray(1))
    read.eventfd = eventfd
    context.start(read)
    assert context.cancel(read)
    assert os.eventfd_read(eventfd) == 1
    assert context.reap() == [read]


def test_an_eventfd_of_its_own_rings_for_what_is_run(
    context: Context, file: int, pipe: tuple[int, int], eventfd: int
) -> None:
    """Cached data is there at once, the poll is waited for, and the last one is refused."""
    read, poll = Operation.read(file, bytearray(1)), Operation.poll(pipe[0], select.POLLIN)
    read.eventfd = poll.eventfd = eventfd
    assert context.run(read) == 1
    assert os.eventfd_read(eventfd) == 1
    assert not select.select([context], [], [], 0)[0], "it rings its own, and only that"
    timer = threading.Timer(0.05, os.write, (pipe[1], b"x"))
    timer.start()
    assert context.run(poll) & select.POLLIN
    timer.join()
    assert os.eventfd_read(eventfd) == 1
    read.file = -1
    with pytest.raises(OSError, match="Bad file descriptor"):
        context.run(read)
    assert os.eventfd_read(eventfd) == 1


@pytest.fixture
def no_eventfds(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """A file, and a full pipe that blocks who writes to it."""
    reader, writer = os.pipe2(os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    regular = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    yield regular, writer
    for descriptor in (regular, reader, writer):
        os.close(descriptor)


def test_what_is_no_eventfd_is_not_written_to(context: Context, file: int, no_eventfds: tuple[int, int]) -> None:
    """As when it was closed, and its descriptor is another file's by now."""
    for descriptor in no_eventfds:
        read = Operation.read(file, bytearray(1))
        read.eventfd = descriptor
        assert finish(context, read) == [-errno.EINVAL]
        with pytest.raises(OSError, match="Invalid argument"):
            context.run(read)
        context.start(read)
        context.cancel(read)
        assert context.reap() == [read]
        assert read.result == -errno.ECANCELED
    assert os.fstat(no_eventfds[0]).st_size == 0


def test_a_wait_for_an_eventfd_that_has_rung_before_sleeps(context: Context, pipe: tuple[int, int]) -> None:
    eventfd = os.eventfd(1, os.EFD_NONBLOCK)
    try:
        poll = Operation.poll(pipe[0], select.POLLIN)
        poll.eventfd = eventfd
        context.start(poll)
        context.submit()
        before = os.times()
        assert not context.wait_all([poll], 0.5)
        after = os.times()
        assert after.user + after.system - before.user - before.system < 0.4
        os.write(pipe[1], b"x")
        assert context.wait_all([poll], PATIENCE)
    finally:
        os.close(eventfd)


def test_a_callback_for_each_block(context: Context, file: int) -> None:
    told: list[Operation] = []
    reads = [Operation.read(file, bytearray(1)) for _ in range(3)]
    for read in reads:
        read.callback = told.append
    finish(context, *reads)
    assert told == reads


def test_rw_flags(context: Context, file: int) -> None:
    append, bad = Operation.write(file, b"end", flags=os.RWF_APPEND), Operation.write(file, b"x", flags=1 << 30)
    assert finish(context, append, bad) == [3, -errno.EOPNOTSUPP]
    assert os.pread(file, 10, len(CONTENT)) == b"end"


def test_an_io_priority(context: Context, file: int) -> None:
    best_effort = syscalls.priority(syscalls.PriorityClass.BEST_EFFORT, 7)
    good = Operation.read(file, bytearray(1), priority=best_effort)
    bad = Operation.read(file, bytearray(1), priority=-1)
    assert finish(context, good, bad) == [1, -errno.EINVAL]


@pytest.mark.parametrize("priority", [1 << 16, 1 << 15, -(1 << 15) - 1])
def test_an_io_priority_that_has_no_room(context: Context, file: int, priority: int) -> None:
    """The kernel has 16 bits for it; what does not fit is not made another one."""
    read = Operation.read(file, bytearray(1), priority=priority)
    for start in (context.start, context.run):
        with pytest.raises(OverflowError):
            start(read)
    with pytest.raises(OverflowError):
        context.read(file, bytearray(1), priority=priority)
    assert not read.in_flight
    assert context.free_slots == 8


def test_cancel_and_cancel_all(context: Context, pipe: tuple[int, int]) -> None:
    polls = [Operation.poll(pipe[0], select.POLLIN) for _ in range(4)]
    context.start(*polls)
    context.submit()
    assert context.cancel(polls[1])
    assert context.wait_all([polls[1]], PATIENCE)
    assert polls[1].result == 0
    assert not polls[0].done
    assert context.cancel_all() == 3
    assert context.wait_all(polls, PATIENCE)
    assert context.free_slots == 8


def test_closing_waits(held_file: HeldFile) -> None:
    """With what cannot be cancelled, which a read of a file is."""
    with held_file.opened() as file:
        context, memory = Context(2), allocate(4096)
        read = context.read(file, memory)
        context.submit()
        held_file.wait_asked(1)
        assert not context.cancel(read)
        start = time.monotonic()
        threading.Timer(0.1, held_file.answer).start()
        context.close(PATIENCE)
        assert time.monotonic() - start >= 0.1
        assert read.result == 4096
        assert memory[:256] == HeldFile.CONTENT
        memory.close()
