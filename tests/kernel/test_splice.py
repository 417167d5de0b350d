"""Splices on sockets that keep packets apart, as in ``test_streams.py``, and on files, pipes and stream sockets.

Once the sending end is closed, a stream receives transfers without bytes for ever, so what ends these splices is the
number of bytes that they move."""

from __future__ import annotations

import errno
import os
import pty
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gadget.aio import Context, Gate, ReadStream, WriteStream
from gadget.aio.splice import OwnFile, RunningSplice, _abandoned
from gadget.errors import EndpointBusyError, NotDrainedError, UsageError
from gadget.testing.waiting import wait_for

PATIENCE = 10.0
SIZE = 64

#: More than any packets here: room for all of them.
LONG = 1 << 20


@pytest.fixture
def context() -> Iterator[Context]:
    with Context(64) as opened:
        yield opened


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    """Closed at the end."""
    opened: list[socket.socket] = []
    yield opened
    for each in opened:
        each.close()


def packets(sockets: list[socket.socket]) -> tuple[socket.socket, socket.socket]:
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pair[1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LONG)
    pair[1].settimeout(PATIENCE)  # not the stream's end, which would not block either
    sockets += pair
    return pair


def source_of(
    context: Context, sockets: list[socket.socket], sent: list[bytes], size: int = SIZE, depth: int = 3
) -> ReadStream:
    """A stream that receives these transfers, and no more bytes after them."""
    ours, theirs = packets(sockets)
    for data in sent:
        theirs.send(data)
    theirs.close()
    stream = ReadStream(context, ours.fileno(), depth, size)
    stream.start()
    return stream


def target_of(
    context: Context, sockets: list[socket.socket], size: int = SIZE, depth: int = 3
) -> tuple[WriteStream, socket.socket]:
    """A stream, and the socket that has what it sends."""
    ours, theirs = packets(sockets)
    stream = WriteStream(context, ours.fileno(), depth, size)
    stream.start()
    return stream, theirs


def begin(
    context: Context,
    source: ReadStream | int,
    target: WriteStream | int,
    count: int | None = None,
    first: bytes = b"",
) -> RunningSplice:
    eventfd = context._take_eventfd()
    try:
        return RunningSplice(
            source if isinstance(source, ReadStream) else OwnFile.of(source),
            target if isinstance(target, WriteStream) else OwnFile.of(target, writing=True),
            eventfd,
            first,
            count,
        )
    except BaseException:
        context._give_eventfd(eventfd)
        raise


def wait_until(condition: Callable[[], bool]) -> None:
    wait_for(condition, "the splice's thread", PATIENCE)


def wait_ended(context: Context, running: RunningSplice) -> tuple[int, str, int]:
    """Waits as an event loop does: how it ended, on which side, and after how many bytes."""
    deadline = time.monotonic() + PATIENCE
    while not running.ended:
        assert time.monotonic() < deadline, "it does not end"
        context.wait(PATIENCE)
    state = running.state
    running.close()
    context._give_eventfd(running.eventfd)
    return state.error, "source" if state.at_source else "target", state.bytes


def pattern(length: int) -> bytes:
    return bytes(number * 7 % 251 for number in range(length))


def wait_asleep() -> None:
    """Waits until every thread of a splice sleeps: it has seen what there was."""

    def asleep(thread: str) -> bool:
        fields = Path(f"/proc/self/task/{thread}/stat").read_text().rpartition(")")
        return not fields[0].endswith("(gadget-splice") or fields[2].split()[0] == "S"

    wait_until(lambda: len(threads()) > 1 and all(asleep(thread) for thread in threads()))


def all_of(fd: int, length: int) -> bytes:
    data = b""
    while len(data) < length and (part := os.read(fd, length - len(data))):
        data += part
    return data


def take(context: Context, stream: ReadStream) -> bytes:
    while isinstance(result := stream.next(), int):
        assert result == -errno.EAGAIN
        context.wait(PATIENCE)
    return bytes(result)


# ---- stream to stream ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 16])
def test_transfers_pass_as_they_are(context: Context, sockets: list[socket.socket], depth: int) -> None:
    sent = [b"", b"a", pattern(SIZE - 1), b"", b"", pattern(SIZE)] * 10
    source = source_of(context, sockets, sent)
    target, seen = target_of(context, sockets, depth=depth)
    running = begin(context, source, target, sum(map(len, sent)))
    assert [seen.recv(SIZE) for _ in sent] == sent
    assert wait_ended(context, running) == (0, "target", sum(map(len, sent)))
    assert running.state.transfers == len(sent)
    target.await_change()
    context.wait(PATIENCE)  # what was in flight at the end rings the eventfd of the splice
    assert target.counters.transfers == len(sent)


def test_what_the_count_leaves_of_a_transfer_is_the_rest(context: Context, sockets: list[socket.socket]) -> None:
    source = source_of(context, sockets, [b"0123456789", b"abc"])
    target, seen = target_of(context, sockets)
    running = begin(context, source, target, 4)
    assert wait_ended(context, running) == (0, "target", 4)
    assert seen.recv(SIZE) == b"0123"
    state = running.state
    assert bytes(source.lent(state.piece, state.offset, state.offset + state.rest)) == b"456789"
    assert take(context, source) == b"abc"


def test_the_devices_of_the_kernel_that_never_block(context: Context, sockets: list[socket.socket]) -> None:
    target, seen = target_of(context, sockets)
    with Path("/dev/zero").open("rb", buffering=0) as zero, Path("/dev/null").open("wb", buffering=0) as null:
        assert wait_ended(context, begin(context, zero.fileno(), target, 100)) == (0, "target", 100)
        assert seen.recv(SIZE) + seen.recv(SIZE) == bytes(100)
        source = source_of(context, sockets, [b"abc"])
        assert wait_ended(context, begin(context, source, null.fileno(), 3)) == (0, "target", 3)


def test_what_comes_first_is_taken_apart(context: Context, sockets: list[socket.socket]) -> None:
    source = source_of(context, sockets, [b"x"])
    target, seen = target_of(context, sockets)
    running = begin(context, source, target, 151, first=pattern(150))
    assert [seen.recv(SIZE) for _ in range(4)] == [
        pattern(150)[:64],
        pattern(150)[64:128],
        pattern(150)[128:],
        b"x",
    ]
    assert wait_ended(context, running) == (0, "target", 151)


def test_what_was_lent_before_goes_back_to_the_kernel(context: Context, sockets: list[socket.socket]) -> None:
    """It is the only one that there is."""
    sent = [b"%d" % number for number in range(10)]
    source = source_of(context, sockets, sent, depth=1)
    assert take(context, source) == b"0"
    target, seen = target_of(context, sockets)
    running = begin(context, source, target, 9)
    assert [seen.recv(SIZE) for _ in range(9)] == sent[1:]
    assert wait_ended(context, running) == (0, "target", 9)


# ---- stream to file --------------------------------------------------------------------------------------------------


def test_to_a_file(context: Context, sockets: list[socket.socket], tmp_path: Path) -> None:
    sent = [pattern(SIZE), b"", b"short", pattern(SIZE)] * 10
    whole = b"".join(sent)
    with (tmp_path / "file").open("wb", buffering=0) as file:
        file.write(b"before ")
        running = begin(context, source_of(context, sockets, sent), file.fileno(), len(whole))
        assert wait_ended(context, running) == (0, "target", len(whole))
        assert file.tell() == 7 + len(whole)
    assert (tmp_path / "file").read_bytes() == b"before " + whole
    assert running.state.transfers == len(sent)


def pipe_pair() -> tuple[int, int]:
    reading, writing = os.pipe()
    return reading, writing


def socket_pair() -> tuple[int, int]:
    one, other = socket.socketpair()
    other.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SIZE)
    return one.detach(), other.detach()


@pytest.mark.parametrize("make", [pipe_pair, socket_pair])
def test_to_a_reader_that_is_slow(
    context: Context, sockets: list[socket.socket], make: Callable[[], tuple[int, int]]
) -> None:
    """It waits for the reader, and nothing is lost. The flags of the user's file are what they were."""
    size = 40_000
    sent = [pattern(size), pattern(12_345), pattern(size), pattern(size)]
    whole = b"".join(sent)
    reading, writing = make()
    try:
        running = begin(context, source_of(context, sockets, sent, size), writing, len(whole))
        first = os.read(reading, 1)
        assert os.get_blocking(writing)
        assert first + all_of(reading, len(whole) - 1) == whole
        assert wait_ended(context, running) == (0, "target", len(whole))
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize("make", [pipe_pair, socket_pair])
def test_stopped_while_the_reader_sleeps_it_keeps_the_rest(
    context: Context, sockets: list[socket.socket], make: Callable[[], tuple[int, int]]
) -> None:
    size = 40_000
    sent = [pattern(size)[number:] for number in range(4)]
    source = source_of(context, sockets, sent, size)
    reading, writing = make()
    try:
        filler, was_blocking = pattern(1000), os.get_blocking(writing)
        os.set_blocking(writing, False)
        filled = 0
        try:
            while True:
                filled += os.write(writing, filler)
        except BlockingIOError:
            pass
        os.set_blocking(writing, was_blocking)
        room = len(os.read(reading, 30_000))
        filled -= room
        running = begin(context, source, writing)
        wait_until(lambda: running.state.bytes >= 4096)
        running.stop()
        error, _, moved = wait_ended(context, running)
        assert error == 0
        os.close(writing)
        writing = -1
        assert all_of(reading, 1 << 30)[filled:] == b"".join(sent)[:moved]
        state = running.state
        kept = bytes(source.lent(state.piece, state.offset, state.offset + state.rest))
        while len(kept) < len(b"".join(sent)) - moved:
            kept += take(context, source)
        assert b"".join(sent)[moved:] == kept
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)


def test_a_reader_that_has_gone(context: Context, sockets: list[socket.socket]) -> None:
    for make in (pipe_pair, socket_pair):
        source = source_of(context, sockets, [b"abc", b"def"])
        reading, writing = make()
        os.close(reading)
        running = begin(context, source, writing)
        assert wait_ended(context, running) == (errno.EPIPE, "target", 0)
        state = running.state
        assert bytes(source.lent(state.piece, state.offset, state.offset + state.rest)) == b"abc"
        assert take(context, source) == b"def"
        os.close(writing)


def test_a_full_device(context: Context, sockets: list[socket.socket]) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        running = begin(context, source_of(context, sockets, [b"abc"]), full.fileno())
        assert wait_ended(context, running) == (errno.ENOSPC, "target", 0)


def test_a_named_pipe_without_a_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    both = os.open(tmp_path / "pipe", os.O_RDWR)
    only = os.open(tmp_path / "pipe", os.O_WRONLY)
    os.close(both)
    with pytest.raises(BrokenPipeError):
        OwnFile.of(only, writing=True)
    os.close(only)


def test_a_terminal_must_not_block() -> None:
    leader, follower = pty.openpty()
    with pytest.raises(UsageError, match="O_NONBLOCK"):
        OwnFile.of(follower)
    with Path("/dev/random").open("rb") as random, pytest.raises(UsageError, match="O_NONBLOCK"):
        OwnFile.of(random)
    os.set_blocking(follower, False)
    os.close(OwnFile.of(follower).fd)
    os.close(leader)
    os.close(follower)


# ---- file to stream --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "size"), [(1, SIZE), (3, SIZE), (16, 1000), (2, 150_000)])
@pytest.mark.parametrize("length", [0, 1, SIZE - 1, SIZE, 10 * SIZE, 5000, 400_000])
def test_from_a_file(
    context: Context, sockets: list[socket.socket], tmp_path: Path, depth: int, size: int, length: int
) -> None:
    """In whole transfers; the last one is short, and is there only if there are bytes for it."""
    data = pattern(length)
    (tmp_path / "file").write_bytes(data)
    target, seen = target_of(context, sockets, size, depth)
    with (tmp_path / "file").open("rb", buffering=0) as file:
        running = begin(context, file.fileno(), target)
        received = [seen.recv(size) for _ in range(-(-length // size))]
        assert wait_ended(context, running) == (0, "target", length)
    assert b"".join(received) == data
    assert {len(part) for part in received[:-1]} <= {size}
    assert running.state.transfers == target.counters.transfers == len(received)


def test_a_part_of_a_file(context: Context, sockets: list[socket.socket], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(pattern(1000))
    target, seen = target_of(context, sockets)
    with (tmp_path / "file").open("rb", buffering=0) as file:
        file.seek(100)
        running = begin(context, file.fileno(), target, 70)
        assert [seen.recv(SIZE), seen.recv(SIZE)] == [pattern(1000)[100:164], pattern(1000)[164:170]]
        assert wait_ended(context, running) == (0, "target", 70)
        assert file.tell() == 170


@pytest.mark.parametrize("make", [pipe_pair, socket_pair])
def test_what_a_pipe_has_is_not_kept_back(
    context: Context, sockets: list[socket.socket], make: Callable[[], tuple[int, int]]
) -> None:
    target, seen = target_of(context, sockets)
    reading, writing = make()
    running = begin(context, reading, target)
    for data in (b"a", pattern(SIZE), b"bc"):
        os.write(writing, data)
        assert seen.recv(SIZE) == data
    os.close(writing)
    assert wait_ended(context, running) == (0, "target", SIZE + 3)
    os.close(reading)


@pytest.mark.parametrize("make", [pipe_pair, socket_pair])
def test_stopped_while_there_is_nothing(
    context: Context, sockets: list[socket.socket], make: Callable[[], tuple[int, int]]
) -> None:
    target, _ = target_of(context, sockets)
    reading, writing = make()
    running = begin(context, reading, target)
    wait_asleep()
    running.stop()
    assert wait_ended(context, running) == (0, "target", 0)
    os.write(writing, b"later")
    assert os.read(reading, 10) == b"later"
    os.close(reading)
    os.close(writing)


def test_a_source_that_fails(context: Context, sockets: list[socket.socket]) -> None:
    target, _ = target_of(context, sockets)
    directory = os.open("/", os.O_RDONLY | os.O_NONBLOCK)
    assert wait_ended(context, begin(context, directory, target)) == (errno.EISDIR, "source", 0)
    os.close(directory)


# ---- generations, the gate, the end ----------------------------------------------------------------------------------


def test_the_end_of_the_generation_ends_it(context: Context, sockets: list[socket.socket]) -> None:
    """On the side whose stream was stopped; also if the next one has begun before the thread sees it."""
    reading, writing = os.pipe()
    target, _ = target_of(context, sockets)
    running = begin(context, reading, target)
    wait_asleep()
    target.stop()
    target.start()
    assert wait_ended(context, running) == (errno.ESHUTDOWN, "target", 0)
    source = source_of(context, sockets, [])
    source.hold(True)
    running = begin(context, source, writing)
    wait_asleep()
    source.stop()
    assert wait_ended(context, running) == (errno.ESHUTDOWN, "source", 0)
    os.close(reading)
    os.close(writing)


def test_a_file_is_where_its_data_was_passed_on(context: Context, sockets: list[socket.socket], tmp_path: Path) -> None:
    """What was read and could not be submitted is read again the next time."""
    (tmp_path / "file").write_bytes(pattern(1000))
    target, _ = target_of(context, sockets)
    target.hold(True)
    with (tmp_path / "file").open("rb", buffering=0) as file:
        running = begin(context, file.fileno(), target)
        wait_until(lambda: file.tell() > 0)
        wait_asleep()
        target.stop()
        assert wait_ended(context, running) == (errno.ESHUTDOWN, "target", 0)
        assert file.tell() == 0


def test_nothing_is_submitted_while_there_is_news(context: Context, sockets: list[socket.socket]) -> None:
    """Neither read nor written; it goes on when the gate opens, and what a pipe has given is sent before it stops."""
    gate = Gate(os.eventfd(1, os.EFD_NONBLOCK))
    source, (target, seen) = source_of(context, sockets, [b"x"]), target_of(context, sockets)
    for stream in (source, target):
        stream.set_gate(gate)
    running = begin(context, source, target, 1)
    reading, writing = os.pipe()
    os.write(writing, b"from the pipe")
    other, also_seen = target_of(context, sockets)
    other.hold(True)
    waiting = begin(context, reading, other)
    wait_until(lambda: not readable(reading))
    wait_until(lambda: bool(gate._pointer.refused))
    wait_asleep()
    waiting.stop()
    wait_asleep()
    assert not running.ended
    assert not waiting.ended
    assert source.counters.started == target.counters.started == other.counters.started == 0
    assert gate.silence() == 1
    assert gate.release(), "it was asked"
    source.resume()
    other.hold(False)
    assert wait_ended(context, running) == (0, "target", 1)
    assert wait_ended(context, waiting) == (0, "target", 13)
    assert (seen.recv(SIZE), also_seen.recv(SIZE)) == (b"x", b"from the pipe")
    for fd in (gate.eventfd, reading, writing):
        os.close(fd)


def readable(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


def test_a_stream_is_spliced_once(context: Context, sockets: list[socket.socket]) -> None:
    reading, writing = os.pipe()
    target, _ = target_of(context, sockets)
    running = begin(context, reading, target)
    with pytest.raises(EndpointBusyError):
        begin(context, reading, target)
    with pytest.raises(NotDrainedError):
        target.close()
    running.stop()
    wait_ended(context, running)
    target.close()
    os.close(reading)
    os.close(writing)


def test_closing_the_context_ends_it(sockets: list[socket.socket]) -> None:
    reading, writing = os.pipe()
    with Context(8) as context:
        running = begin(context, reading, target_of(context, sockets)[0])
        wait_asleep()
        assert context.in_flight == 1
    assert running.ended
    assert running.state.error == errno.ESHUTDOWN
    running.close()
    context._give_eventfd(running.eventfd)
    os.close(reading)
    os.close(writing)


def test_other_operations_of_the_context_go_on(context: Context, sockets: list[socket.socket]) -> None:
    reading, writing = os.pipe()
    target, seen = target_of(context, sockets)
    running = begin(context, reading, target)
    other_reading, other_writing = os.pipe()
    operation = context.poll(other_reading, select.POLLIN)
    context.submit()
    os.write(writing, b"spliced")
    assert seen.recv(SIZE) == b"spliced"
    os.write(other_writing, b"x")
    assert context.wait(PATIENCE) == [operation]
    running.stop()
    wait_ended(context, running)
    for fd in (reading, writing, other_reading, other_writing):
        os.close(fd)


def descriptors() -> set[int]:
    return {int(path.name) for path in Path("/proc/self/fd").iterdir() if path.exists()}


def test_nothing_is_left(context: Context, sockets: list[socket.socket], tmp_path: Path) -> None:
    """One eventfd is kept for the next splice, and goes with the context."""
    (tmp_path / "file").write_bytes(b"data")
    file = os.open(tmp_path / "file", os.O_RDWR)
    target, _ = target_of(context, sockets)
    before, alive = descriptors(), threads()
    for _ in range(5):
        running = begin(context, file, target)
        wait_ended(context, running)
    wait_until(lambda: threads() == alive)
    assert descriptors() == before | {running.eventfd}
    context.close()
    assert running.eventfd not in descriptors()
    os.close(file)


def threads() -> set[str]:
    return {path.name for path in Path("/proc/self/task").iterdir()}


def test_a_forked_child_has_no_part_in_it(context: Context, sockets: list[socket.socket]) -> None:
    reading, writing = os.pipe()
    target, seen = target_of(context, sockets)
    running = begin(context, reading, target)
    child = os.fork()
    if child == 0:
        running.stop()
        running.close()
        os._exit(0 if running.state.bytes == 0 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.write(writing, b"x")
    assert seen.recv(SIZE) == b"x"
    running.stop()
    wait_ended(context, running)
    os.close(reading)
    os.close(writing)


def test_one_that_was_forgotten_ends_by_itself(context: Context, sockets: list[socket.socket]) -> None:
    reading, writing = os.pipe()
    alive = threads()
    running = begin(context, reading, target_of(context, sockets)[0])
    assert not running.close()
    assert running in _abandoned
    wait_until(lambda: threads() == alive)
    second = begin(context, reading, target_of(context, sockets)[0])
    assert running not in _abandoned
    assert running.close()
    context._give_eventfd(running.eventfd)  # which its owner had to keep until then
    second.stop()
    wait_ended(context, second)
    os.close(reading)
    os.close(writing)


def test_its_thread_has_a_name_and_gets_no_signals(context: Context, sockets: list[socket.socket]) -> None:
    reading, writing = os.pipe()
    target, _ = target_of(context, sockets)
    before, of_python = threads(), threading.active_count()
    running = begin(context, reading, target)
    (thread,) = threads() - before
    wait_until(lambda: Path(f"/proc/self/task/{thread}/comm").read_text() == "gadget-splice\n")
    status = Path(f"/proc/self/task/{thread}/status").read_text()
    blocked = int(next(line for line in status.splitlines() if line.startswith("SigBlk")).split()[1], 16)
    # All but those that cannot be blocked: SIGKILL, SIGSTOP, and two that the C library keeps to itself.
    assert bin(~blocked & (2**64 - 1)).count("1") <= 4
    running.stop()
    wait_ended(context, running)
    os.close(reading)
    os.close(writing)
    assert threading.active_count() == of_python
