"""On sockets that keep packets apart (SOCK_SEQPACKET), as an endpoint does: one packet a transfer, no bytes for a
zero-length one. Their AIO completes inside io_submit; a transfer is in flight until it is reaped. Once the other end is
closed, a read that finds nothing ends with no bytes instead of sleeping."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import select
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from gadget.aio import Context, Counters, Gate, ReadStream, WriteStream
from gadget.errors import ClosedError, NotDrainedError, UsageError

PATIENCE = 10.0

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def context() -> Iterator[Context]:
    with Context(16) as opened:
        yield opened


def fill(pair: Pair, *packets: bytes) -> int:
    """Sends packets and closes the sending end; returns the other."""
    ours, theirs = pair
    for packet in packets:
        theirs.send(packet)
    theirs.close()
    return ours.fileno()


def take(context: Context, stream: ReadStream) -> bytes | int:
    deadline = time.monotonic() + PATIENCE
    while (result := stream.next()) == -errno.EAGAIN:
        assert time.monotonic() < deadline, "it does not come"
        context.wait(PATIENCE)
    return result if isinstance(result, int) else bytes(result)


def settle(context: Context, stream: ReadStream | WriteStream) -> None:
    """Waits until nothing of it is in flight."""
    deadline = time.monotonic() + PATIENCE
    while stream.counters.in_flight:
        assert time.monotonic() < deadline, "it does not end"
        stream.await_change()
        context.wait(1)


def numbered(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


# ---- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 3, 16])
def test_transfers_come_in_their_order(context: Context, pair: Pair, depth: int) -> None:
    packets = numbered(100)
    stream = ReadStream(context, fill(pair, *packets), depth, 64)
    stream.start()
    assert [take(context, stream) for _ in packets] == packets


def test_a_transfer_without_bytes_is_one(context: Context, pair: Pair) -> None:
    stream = ReadStream(context, fill(pair, b"", b"x", b"", b""), 3, 64)
    stream.start()
    assert [take(context, stream) for _ in range(4)] == [b"", b"x", b"", b""]


def test_nothing_is_read_before_somebody_asks(context: Context, pair: Pair) -> None:
    ours, theirs = pair
    theirs.send(b"x")
    stream = ReadStream(context, ours.fileno(), 1, 64)
    stream.start()
    assert stream.counters.submits == 0
    assert ours.recv(10) == b"x"


def test_arming_makes_room_before_somebody_asks(context: Context, pair: Pair) -> None:
    packets = numbered(10)
    stream = ReadStream(context, fill(pair, *packets), 4, 64)
    stream.arm()
    assert stream.counters.submits == 0, "there is no generation yet"
    stream.start()
    stream.arm()
    stream.arm()
    assert (stream.counters.in_flight, stream.counters.submits) == (4, 1)
    assert [take(context, stream) for _ in packets] == packets


def test_a_view_is_lent_until_the_next_one(context: Context, pair: Pair) -> None:
    stream = ReadStream(context, fill(pair, b"one", b"two"), 1, 64)
    stream.start()
    assert stream.next() == -errno.EAGAIN
    context.wait(PATIENCE)
    view = stream.next()
    assert isinstance(view, memoryview)
    context.reap()
    assert bytes(view) == b"one"
    # No copy is made: asking for the next gives the buffer back, and the next transfer goes there.
    assert stream.next() == -errno.EAGAIN
    assert bytes(view) == b"two"


def joined(context: Context, pair: Pair, depth: int, packets: list[bytes], size: int = 4) -> Iterator[bytes]:
    """What a stream with transfers of 4 bytes hands over when all has arrived that there is room for."""
    stream = ReadStream(context, fill(pair, *packets), depth, size)
    stream.start(4, joined=True)
    taken = 0
    while taken < len(b"".join(packets)):
        stream.arm()
        settle(context, stream)
        result = stream.next()
        if not isinstance(result, int):
            yield bytes(result)
            taken += len(result)


@pytest.mark.parametrize(
    ("packets", "handed_over"),
    [
        ([b"abcd", b"efgh", b"ijkl"], [b"abcdefghijkl"]),
        ([b"abcd", b"ef", b"ghij", b"kl"], [b"abcdef", b"ghijkl"]),
        ([b"ab", b"cd", b"efgh"], [b"ab", b"cd", b"efgh"]),
        ([b"abcd", b"efgh", b"", b"ijkl"], [b"abcdefgh", b"", b"ijkl"]),
        ([b"abcd"] * 5, [b"abcd" * 4, b"abcd"]),
    ],
)
def test_full_transfers_come_together_with_what_follows_them(
    context: Context, pair: Pair, packets: list[bytes], handed_over: list[bytes]
) -> None:
    """Nothing is joined to what is not full, or to what has no bytes, which are ends of messages."""
    assert list(joined(context, pair, 8, packets)) == handed_over


def test_only_half_of_what_is_kept_in_flight_is_lent_at_once(context: Context, pair: Pair) -> None:
    assert list(joined(context, pair, 4, [b"abcd"] * 4)) == [b"abcd" * 2] * 2


def test_what_does_not_lie_side_by_side_comes_apart(context: Context, pair: Pair) -> None:
    """Transfers that leave a part of their room unused, as where packets are smaller than at another speed."""
    assert list(joined(context, pair, 8, [b"abcd", b"efgh"], size=5)) == [b"abcd", b"efgh"]


def test_pieces_are_used_in_turn_so_that_what_follows_lies_side_by_side(context: Context, pair: Pair) -> None:
    chance, depth, size = random.Random(5), 8, 4
    packets = [b"abcd" if chance.random() < 0.8 else b"ab" for _ in range(200)]
    stream = ReadStream(context, fill(pair, *packets), depth, size)
    stream.start(joined=True)
    places: list[int] = []
    taken = 0
    while taken < len(packets):
        result = stream.next()
        if not isinstance(result, int):
            places.append(ctypes.addressof(ctypes.c_char.from_buffer(result)) - taken % depth * size)
            taken += -(-len(result) // size)
        context.reap()
    assert places == places[:1] * len(places)


@pytest.mark.parametrize("depth", [1, 2, 3, 7, 16])
def test_joined_or_not_it_is_the_same_data(context: Context, pair: Pair, depth: int) -> None:
    chance = random.Random(depth)
    packets = [chance.randbytes(chance.choice((1, 3, 4, 4, 4, 4, 4))) for _ in range(60)]
    stream = ReadStream(context, fill(pair, *packets), depth, 4)
    stream.start(joined=True)
    kept: list[tuple[memoryview, bytes]] = []
    seen, data = 0, b"".join(packets)
    while seen < len(data):
        result = take(context, stream)
        assert isinstance(result, bytes)
        assert result == data[seen : seen + len(result)]
        if chance.random() < 0.3:
            # The memory of several transfers at once, and what replaces it joins as well.
            kept.append((stream.detach()[: len(result)], result))
        seen += len(result)
    assert all(view == copy for view, copy in kept)


def test_a_lent_buffer_is_not_used_while_it_is_lent(context: Context, pair: Pair) -> None:
    packets = numbered(40)
    stream = ReadStream(context, fill(pair, *packets), 4, 64)
    stream.start()
    seen: list[bytes] = []
    while len(seen) < len(packets):
        result = stream.next()
        context.reap()  # whatever else has arrived arrives now
        if not isinstance(result, int):
            seen.append(bytes(result))
    assert seen == packets


def test_buffers_are_rearmed_in_batches(context: Context, pair: Pair) -> None:
    packets = numbered(80)
    stream = ReadStream(context, fill(pair, *packets), 8, 64)
    stream.start()
    assert [take(context, stream) for _ in packets] == packets
    # Eight at first, then four at a time.
    assert 10 <= stream.counters.submits <= 1 + 80 // 4


def test_what_a_reader_counts(context: Context, pair: Pair) -> None:
    stream = ReadStream(context, fill(pair, b"123", b"4567"), 2, 64)
    assert stream.counters == Counters()
    stream.start()
    assert stream.next() == -errno.EAGAIN
    assert stream.counters == Counters(started=2, submits=1, in_flight=2)
    assert context.in_flight == 2
    context.wait(PATIENCE)
    assert stream.counters == Counters(transfers=2, bytes=7, started=2, submits=1)


def test_a_generation_may_have_shorter_transfers(context: Context, pair: Pair) -> None:
    stream = ReadStream(context, fill(pair, b"0123456789", b"abcdefghij"), 1, 64)
    stream.start(4)
    # A packet socket drops what does not fit, as FunctionFS does.
    assert take(context, stream) == b"0123"
    stream.stop()
    stream.start()
    assert take(context, stream) == b"abcdefghij"
    for length in (0, -1, 65):
        with pytest.raises(UsageError, match="room for 1 to 64"):
            stream.start(length)


def copied(context: Context, stream: ReadStream) -> bytes | int:
    """All that has arrived, when nothing more is in flight."""
    stream.arm()
    settle(context, stream)
    return stream.copy()


def test_all_that_has_arrived_is_copied_together(context: Context, pair: Pair) -> None:
    """Whichever transfers it came in; those without bytes are none for who wants bytes."""
    stream = ReadStream(context, fill(pair, b"", b"one", b"", b"two", b"", b"", b"three"), 4, 64)
    stream.start()
    assert [copied(context, stream) for _ in range(2)] == [b"onetwo", b"three"]
    assert stream.counters.transfers >= 7


def test_what_is_copied_is_not_lent(context: Context, pair: Pair) -> None:
    stream = ReadStream(context, fill(pair, b"one", b"two"), 2, 64)
    stream.start()
    result = copied(context, stream)
    assert result == b"onetwo"
    with pytest.raises(UsageError, match="nothing to detach"):
        stream.detach()


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 3, 7, 16])
def test_copied_or_lent_it_is_the_same_data(context: Context, pair: Pair, depth: int, joined: bool) -> None:
    chance = random.Random(depth)
    packets = [chance.randbytes(chance.choice((0, 1, 3, 4, 4, 4))) for _ in range(200)]
    data, seen = b"".join(packets), b""
    stream = ReadStream(context, fill(pair, *packets), depth, 4)
    stream.start(joined=joined)
    deadline = time.monotonic() + PATIENCE
    while seen != data:
        assert time.monotonic() < deadline, "it does not come"
        result = stream.copy() if chance.random() < 0.7 else stream.next()
        if isinstance(result, int):
            assert result == -errno.EAGAIN
            context.wait(PATIENCE)
        else:
            seen += result
            assert data.startswith(seen)


def test_no_more_is_copied_than_there_is_room_for(context: Context, pair: Pair) -> None:
    """A half of what is kept in flight, where that is more than 64 KiB; the rest is for the next time."""
    size = 40_000
    pair[1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    packets = [bytes([number]) * size for number in range(4)]
    stream = ReadStream(context, fill(pair, *packets), 4, size)
    stream.start()
    assert [copied(context, stream) for _ in range(2)] == [packets[0] + packets[1], packets[2] + packets[3]]


def test_what_has_failed_is_told_behind_what_came_before_it(context: Context, pair: Pair) -> None:
    stream = ReadStream(context, fill(pair, *numbered(4)), 4, 64)
    stream.start()
    stream.arm()
    assert take(context, stream) == b"0"
    # What is armed from now on is refused, behind what is there already.
    reader, writer = os.pipe()
    os.dup2(writer, pair[0].fileno())
    os.close(reader)
    os.close(writer)
    assert [take(context, stream), take(context, stream)] == [b"1", b"2"]
    settle(context, stream)
    stream.hold(True)  # so that there are these two, and no more
    assert [stream.copy() for _ in range(4)] == [b"3", -errno.EBADF, -errno.EBADF, -errno.EAGAIN]


# ---- generations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arrived", [False, True])
def test_what_an_earlier_generation_left_is_never_handed_over(context: Context, pair: Pair, arrived: bool) -> None:
    packets = numbered(10)
    stream = ReadStream(context, fill(pair, *packets), 4, 64)
    stream.start()
    assert stream.next() == -errno.EAGAIN
    if arrived:
        context.wait(PATIENCE)
    stream.stop()
    stream.start()
    assert stream.counters.stale == (0 if arrived else 4)
    assert [take(context, stream) for _ in range(6)] == packets[4:]
    assert stream.counters.stale == 0


def test_what_was_lent_goes_back_with_its_generation(context: Context, pair: Pair) -> None:
    packets = numbered(20)
    stream = ReadStream(context, fill(pair, *packets), 4, 64)
    for _ in range(3):
        stream.start()
        take(context, stream)
        stream.stop()
    stream.start()
    assert take(context, stream) == packets[12]
    assert [take(context, stream) for _ in range(7)] == packets[13:]


def test_outside_of_a_generation_there_is_nothing(context: Context, pair: Pair) -> None:
    ours, _ = pair
    reader, writer = ReadStream(context, ours.fileno(), 2, 64), WriteStream(context, ours.fileno(), 2, 64)
    assert (reader.next(), writer.put(b"x")) == (-errno.ESHUTDOWN, -errno.ESHUTDOWN)
    writer.start()
    writer.stop()
    assert writer.put(b"x") == -errno.ESHUTDOWN
    assert context.in_flight == 0


def test_an_error_ends_the_generation_and_stays(context: Context, pair: Pair) -> None:
    pair[0].send(b"never read")
    # Closing with something unread resets: the first read fails, and only then come the packets.
    stream = ReadStream(context, fill(pair, b"one", b"two"), 4, 64)
    stream.start()
    assert take(context, stream) == -errno.ECONNRESET
    assert [stream.next() for _ in range(3)] == [-errno.ECONNRESET] * 3
    assert stream.counters == Counters(transfers=3, bytes=6, errors=1, started=4, submits=1, error=errno.ECONNRESET)
    stream.start()
    assert stream.counters.error == 0
    assert take(context, stream) == b""


def test_a_refusal_at_submission_is_an_error_like_any_other(context: Context) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    stream = ReadStream(context, reader, 4, 64)
    stream.start()
    assert take(context, stream) == -errno.EBADF
    assert stream.counters == Counters(errors=4, started=4, submits=1)


def test_a_transfer_that_fails_is_told_once_and_the_generation_goes_on(context: Context) -> None:
    # Reading what is open for writing is refused; what is put in its place then is not.
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as readable, os.fdopen(os.dup(writer), "wb") as other:
        os.dup2(writer, other.fileno())
        stream = ReadStream(context, other.fileno(), 1, 64)
        stream.start()
        assert take(context, stream) == -errno.EBADF
        assert stream.counters.error == 0
        os.dup2(readable.fileno(), other.fileno())
        os.write(writer, b"after it")
        os.close(writer)
        # One more was submitted while the refusal was handed over.
        assert [take(context, stream), take(context, stream)] == [-errno.EBADF, b"after it"]


def test_a_file_that_is_not_ready_ends_the_generation_instead_of_looking_like_patience(
    context: Context, pair: Pair
) -> None:
    ours, _ = pair
    ours.setblocking(False)
    stream = ReadStream(context, ours.fileno(), 2, 64)
    stream.start()
    assert take(context, stream) == -errno.ESHUTDOWN


# ---- writing ---------------------------------------------------------------------------------------------------------


def received(theirs: socket.socket, count: int) -> list[bytes]:
    return [theirs.recv(1000) for _ in range(count)]


def test_data_is_taken_apart(context: Context, pair: Pair) -> None:
    ours, theirs = pair
    stream = WriteStream(context, ours.fileno(), 4, 4)
    stream.start()
    assert stream.put(b"0123456789") == 0
    assert received(theirs, 3) == [b"0123", b"4567", b"89"]
    assert stream.counters.submits == 1


def test_no_data_is_one_transfer_without_bytes(context: Context, pair: Pair) -> None:
    ours, theirs = pair
    stream = WriteStream(context, ours.fileno(), 4, 4)
    stream.start()
    assert [stream.put(part) for part in (b"", b"x", b"")] == [0, 0, 0]
    assert received(theirs, 3) == [b"", b"x", b""]


def test_no_more_is_taken_than_fits_in_flight(context: Context, pair: Pair) -> None:
    ours, theirs = pair
    stream = WriteStream(context, ours.fileno(), 2, 4)
    stream.start()
    assert stream.put(b"0123456789") == 2
    assert stream.put(b"89") == -errno.EAGAIN
    assert stream.put(b"") == -errno.EAGAIN
    context.wait(PATIENCE)
    assert stream.put(b"89") == 0
    assert received(theirs, 3) == [b"0123", b"4567", b"89"]
    settle(context, stream)
    assert stream.counters == Counters(transfers=3, bytes=10, started=3, submits=2)


def test_who_has_something_left_is_told_of_room(context: Context, pair: Pair) -> None:
    """Without asking once more, to be told that there is none."""
    told: list[None] = []
    stream = WriteStream(context, pair[0].fileno(), 2, 4)
    stream.on_change = lambda: told.append(None)
    stream.start()
    assert stream.put(b"0123456789ab") == 4
    context.reap()
    assert told == [None]


def test_much_data_arrives_in_order(context: Context, pair: Pair) -> None:
    ours, theirs = pair
    stream = WriteStream(context, ours.fileno(), 3, 7)
    stream.start()
    data, rest, arrived = os.urandom(1000), b"", b""
    rest = data
    while rest:
        left = stream.put(rest)
        if left == -errno.EAGAIN:
            context.wait(PATIENCE)
        else:
            taken = len(rest) - left
            rest = rest[taken:]
            arrived += b"".join(received(theirs, -(-taken // 7)))
    assert arrived == data


def test_the_callers_buffer_is_free_at_once(context: Context, pair: Pair) -> None:
    ours, theirs = pair
    stream = WriteStream(context, ours.fileno(), 4, 64)
    stream.start()
    buffer = bytearray(b"before")
    for given in (buffer, memoryview(buffer), memoryview(buffer).cast("H")):
        assert stream.put(given) == 0
        buffer[:] = b"after!"
        assert received(theirs, 1) == [b"before"]
        buffer[:] = b"before"


def test_a_write_that_fails_is_told_at_the_next(context: Context, pair: Pair) -> None:
    ours, theirs = pair
    theirs.close()
    stream = WriteStream(context, ours.fileno(), 4, 64)
    stream.start()
    assert stream.put(b"x") == 0
    settle(context, stream)
    assert stream.counters.error == errno.EPIPE
    # Told once; the next one is tried, and fails by itself.
    assert [stream.put(b"x"), stream.put(b"yz")] == [-errno.EPIPE, 0]
    settle(context, stream)
    assert [stream.take_error(), stream.take_error(), stream.put(b"")] == [errno.EPIPE, 0, 0]
    settle(context, stream)
    assert stream.counters == Counters(errors=3, started=3, submits=3, error=errno.EPIPE)


def test_an_error_of_an_earlier_generation_is_not_this_ones(context: Context, pair: Pair) -> None:
    ours, theirs = pair
    theirs.close()
    stream = WriteStream(context, ours.fileno(), 4, 64)
    stream.start()
    stream.put(b"x")
    stream.stop()
    stream.start()
    settle(context, stream)
    assert stream.counters == Counters(errors=1, started=1, submits=1)


# ---- the gate --------------------------------------------------------------------------------------------------------


def test_nothing_is_submitted_while_the_gate_is_closed(context: Context, pair: Pair) -> None:
    """By the eventfd, by hand, or for one stream alone."""
    ours, theirs = pair
    eventfd = os.eventfd(2, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    gate = Gate(eventfd)
    writer, reader = WriteStream(context, ours.fileno(), 2, 64), ReadStream(context, ours.fileno(), 2, 64)
    theirs.send(b"to us")
    theirs.send(b"to us, too")
    for stream in (writer, reader):
        stream.set_gate(gate)
        stream.start()
    assert not gate.release(), "nobody has tried"
    reader.arm()
    assert (writer.put(b"x"), reader.next(), context.in_flight) == (-errno.EAGAIN, -errno.EAGAIN, 0)
    gate.hold()
    assert (gate.silence(), gate.silence(), gate.held) == (2, 0, True)
    assert (writer.put(b"x"), reader.next(), context.in_flight) == (-errno.EAGAIN, -errno.EAGAIN, 0)
    assert [gate.release(), gate.release(), gate.held] == [True, False, False]
    for stream in (writer, reader):
        stream.hold(True)
    assert (writer.put(b"x"), reader.next(), context.in_flight) == (-errno.EAGAIN, -errno.EAGAIN, 0)
    for stream in (writer, reader):
        stream.hold(False)
    assert writer.put(b"x") == 0
    assert take(context, reader) == b"to us"
    assert received(theirs, 1) == [b"x"]
    os.close(eventfd)


def test_whoever_asks_a_closed_gate_is_told_when_it_opens() -> None:
    eventfd = os.eventfd(1, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    gate = Gate(eventfd)
    assert (gate.held, gate.closed) == (False, True)
    gate.hold()
    assert gate.silence() == 1
    assert gate.closed
    assert [gate.release(), gate.closed, gate.release()] == [True, False, False]
    os.close(eventfd)


def test_a_closed_gate_keeps_nothing_back_that_has_arrived(context: Context, pair: Pair) -> None:
    stream = ReadStream(context, fill(pair, *numbered(6)), 4, 64)
    stream.start()
    stream.arm()
    stream.hold(True)
    settle(context, stream)
    assert [take(context, stream) for _ in range(4)] == numbered(4)
    assert stream.next() == -errno.EAGAIN
    stream.hold(False)
    assert [take(context, stream) for _ in range(2)] == numbered(6)[4:]


def test_nobody_takes_so_much_that_all_others_wait(context: Context, pair: Pair) -> None:
    """Where completions are fetched by somebody else, too: after twice the depth the context has to be looked at."""
    packets = numbered(200)
    stream = ReadStream(context, fill(pair, *packets), 4, 64)
    stream.start()
    taken: list[bytes] = []
    runs = [0]
    while len(taken) < len(packets):
        stream.arm()
        stream.collect()
        result = stream.next()
        if isinstance(result, int):
            assert result == -errno.EAGAIN
            assert select.select([context.fileno()], [], [], PATIENCE)[0], "it says that there is something"
            told: list[int] = []
            stream.on_change = lambda: told.append(1)  # noqa: B023
            context.reap()
            assert told == [1]
            runs.append(0)
        else:
            taken.append(bytes(result))
            runs[-1] += 1
    assert taken == packets
    assert max(runs) <= 8


def test_nor_writes_so_much(context: Context, pair: Pair) -> None:
    ours, theirs = pair
    stream = WriteStream(context, ours.fileno(), 4, 64)
    stream.start()
    count = 0
    while stream.put(b"x") != -errno.EAGAIN:
        stream.collect()
        assert theirs.recv(1) == b"x"
        count += 1
    assert count == 8
    assert select.select([context.fileno()], [], [], PATIENCE)[0]
    context.reap()
    assert stream.put(b"x") == 0
    settle(context, stream)


# ---- taking back, handing over ---------------------------------------------------------------------------------------


def test_what_is_complete_is_not_taken_back(context: Context, pair: Pair) -> None:
    # Nothing but USB gadgets can take a read or write back, so this is the half that can be shown here.
    stream = ReadStream(context, fill(pair, b"one", b"two"), 2, 64)
    stream.start()
    stream.arm()
    assert stream.withdraw() == 0
    assert [take(context, stream), take(context, stream)] == [b"one", b"two"]
    assert stream.counters.withdrawn == 0


def test_a_piece_that_is_detached_is_never_written_to_again(context: Context, pair: Pair) -> None:
    packets = numbered(40)
    stream = ReadStream(context, fill(pair, *packets), 2, 64)
    with pytest.raises(UsageError, match="nothing to detach"):
        stream.detach()
    stream.start()
    kept = []
    for packet in packets:
        result = take(context, stream)
        assert result == packet
        if packet.endswith(b"3"):
            whole = stream.detach()
            assert len(whole) == 64
            kept.append((packet, whole[: len(packet)]))
            with pytest.raises(UsageError, match="nothing to detach"):
                stream.detach()
    assert len(kept) == 4
    assert all(view == packet for packet, view in kept)


# ---- slots, closing, being told --------------------------------------------------------------------------------------


def test_a_stream_reserves_its_slots_until_it_is_closed(context: Context, pair: Pair) -> None:
    ours, _ = pair
    reader, writer = ReadStream(context, ours.fileno(), 10, 64), WriteStream(context, ours.fileno(), 4, 64)
    assert context.free_slots == 2
    with pytest.raises(UsageError, match="2 free slots, too few"):
        ReadStream(context, ours.fileno(), 3, 64)
    reader.close()
    reader.close()
    assert context.free_slots == 12
    with pytest.raises(ClosedError):
        reader.next()
    again = ReadStream(context, ours.fileno(), 12, 64)
    assert context.free_slots == 0
    again.close()
    writer.close()
    assert context.free_slots == 16


def test_a_stream_in_flight_is_not_closed(context: Context, pair: Pair) -> None:
    ours, _ = pair
    stream = WriteStream(context, ours.fileno(), 4, 64)
    stream.start()
    stream.put(b"x")
    stream.await_change()
    with pytest.raises(NotDrainedError, match="1 transfers are still in flight"):
        stream.close()
    context.wait(PATIENCE)
    stream.close()
    assert context.free_slots == 16


def test_streams_that_cannot_be(context: Context, pair: Pair) -> None:
    opened: list[Callable[[Context, int, int, int], object]] = [ReadStream, WriteStream]
    for stream in opened:
        for depth, size in ((0, 64), (4, 0)):
            with pytest.raises(UsageError, match="both must be at least 1"):
                stream(context, pair[0].fileno(), depth, size)
    assert context.free_slots == 16


def test_closing_the_context_closes_its_streams(pair: Pair) -> None:
    ours, _ = pair
    context = Context(8)
    reader, writer = ReadStream(context, fill(pair, b"one"), 2, 64), WriteStream(context, ours.fileno(), 2, 64)
    told: list[bytes | int] = []

    def ask() -> None:
        result = reader.next()
        told.append(result if isinstance(result, int) else bytes(result))

    reader.on_change = ask
    reader.start()
    writer.start()
    assert reader.next() == -errno.EAGAIN
    context.close()
    # It was told, and could not start anew.
    assert told == [-errno.ESHUTDOWN]
    uses: list[Callable[[], object]] = [
        reader.next,
        reader.start,
        writer.stop,
        lambda: writer.put(b"x"),
        lambda: writer.counters,
    ]
    for use in uses:
        with pytest.raises(ClosedError):
            use()
    reader.close()
    writer.close()


def test_on_change_is_called_once_a_reap_where_something_changed_that_is_waited_for(
    context: Context, pair: Pair
) -> None:
    ours, theirs = pair
    told: list[str] = []
    reader, writer = ReadStream(context, ours.fileno(), 1, 64), WriteStream(context, ours.fileno(), 4, 4)
    reader.on_change = lambda: told.append("reader")
    writer.on_change = lambda: told.append("writer")
    reader.start()
    writer.start()
    writer.put(b"0123456789")
    assert (context.wait(0), told) == ([], []), "nobody waits for it"
    writer.await_change()
    context.reap()
    assert told == ["writer"], "what has changed before is told, too"
    writer.put(b"01")
    context.reap()
    assert told == ["writer"], "it was asked for once"
    reader.await_change()
    reader.stop()
    context.wait(PATIENCE)
    assert told == ["writer", "reader"]
    assert reader.next() == -errno.ESHUTDOWN
    reader.start()
    theirs.send(b"x")
    assert reader.next() == -errno.EAGAIN
    context.wait(PATIENCE)
    assert told == ["writer", "reader", "reader"], "after -EAGAIN it comes without asking"


def test_a_stream_whose_callback_raises_harms_nobody(context: Context, pair: Pair) -> None:
    def bad() -> None:
        raise ZeroDivisionError

    ours, _ = pair
    stream = WriteStream(context, ours.fileno(), 4, 4)
    stream.on_change = bad
    stream.start()
    operation = context.write(ours, b"x")
    context.submit()
    stream.put(b"0123456789")
    stream.await_change()
    with pytest.raises(ZeroDivisionError):
        context.wait(PATIENCE)
    assert operation.result == 1
    assert stream.counters.in_flight == 0
    stream.on_change = lambda: None
