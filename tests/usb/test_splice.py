"""Data that Python does not see: endpoint to endpoint, endpoint to file and back, in a thread of the extension."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import usb.core

from gadget import (
    BulkIn,
    BulkOut,
    ClosedError,
    DisabledError,
    DisconnectedError,
    EndpointBusyError,
    Function,
    Gadget,
    Setup,
    Splice,
    SupersededError,
    UnboundError,
    UsageError,
    splice,
    vendor_in,
)
from gadget.testing import ServedGadget, wait_for
from tests.usb.devices import do

pytestmark = pytest.mark.usb

#: Where it matters how the controller gives transfers back, and when.
every_controller = pytest.mark.usb(controller=["dummy_hcd", "usbip-vudc"])
every_speed = pytest.mark.usb(speed=["full", "high", "super"])

TIMEOUT_MS = 10_000
SIZE = 4096
DEPTH = 4


class Pair(Function):
    """Does nothing by itself: the tests use its endpoints."""

    rx = BulkOut(transfer_size=SIZE, depth=DEPTH)
    tx = BulkIn(transfer_size=SIZE, depth=DEPTH)

    @vendor_in(request=1)
    async def version(self, setup: Setup) -> bytes:
        return b"1.0"


class Loopback(Pair):
    """Sends back what arrives, as it arrives."""

    def __init__(self) -> None:
        self.splice: Splice | None = None
        self.ended: list[type[BaseException]] = []

    async def run(self) -> None:
        self.splice = splice(self.rx, self.tx)
        try:
            await self.splice
        except BaseException as error:
            self.ended.append(type(error))
            raise


@pytest.fixture
def function() -> Pair:
    return Pair()


@pytest.fixture
def served(serve: Callable[..., ServedGadget], function: Pair) -> ServedGadget:
    return serve(Gadget(function))


@pytest.fixture
def loopback() -> Loopback:
    return Loopback()


@pytest.fixture
def looping(serve: Callable[..., ServedGadget], loopback: Loopback) -> ServedGadget:
    return serve(Gadget(loopback))


def pattern(length: int, seed: int = 0) -> bytes:
    """No two packets or buffers of it are alike: 251 is prime."""
    period = bytes((number * 7 + seed) % 251 for number in range(251))
    return (period * (length // 251 + 1))[:length]


def begin(served: ServedGadget, moving: Splice) -> Future[int]:
    """Starts it; returns when its thread has it."""
    future = served.begin(moving)
    wait_for(lambda: future.done() or moving._running is not None, "the splice to begin")
    return future


def cancel(moving: Future[int], served: ServedGadget) -> None:
    """Cancels it, and waits until its task has ended."""
    moving.cancel()

    async def only_this_task() -> None:
        while len(tasks := [task for task in asyncio.all_tasks() if "Splice" in repr(task)]):
            await asyncio.wait(tasks)

    served.call(only_this_task())


def has_moved(moving: Splice, count: int) -> bool:
    return moving.moved == count


def receive(device: Any, function: Pair, length: int) -> bytes:
    """So many bytes, transfer by transfer."""
    data = b""
    while len(data) < length:
        data += bytes(device.read(function.tx.address, SIZE, TIMEOUT_MS))
    return data


def echoed(device: Any, function: Pair, data: bytes) -> bool:
    device.write(function.rx.address, data, TIMEOUT_MS)
    return bytes(device.read(function.tx.address, SIZE, TIMEOUT_MS)) == data


# ---- endpoint to endpoint --------------------------------------------------------------------------------------------


@every_controller
@every_speed
def test_loopback_keeps_transfers_as_they_are(looping: ServedGadget, loopback: Loopback, usb_device: Any) -> None:
    packet = loopback.rx.packet_size
    lengths = [0, 1, packet - 1, packet + 1, SIZE - packet - 1, SIZE - 1, SIZE, 0, 1, 0, 0]
    for seed, length in enumerate(lengths):
        assert echoed(usb_device, loopback, pattern(length, seed)), f"{length} bytes"
    wait_for(lambda: loopback.tx.counters.transfers == len(lengths), "as many transfers")
    assert loopback.splice is not None
    assert (loopback.splice.transfers, loopback.splice.moved) == (len(lengths), sum(lengths))


@every_controller
@every_speed
def test_loopback_streams(looping: ServedGadget, loopback: Loopback, usb_device: Any) -> None:
    """Much more than is in flight, in both directions at once."""
    data = pattern(25 * SIZE + 100)
    with ThreadPoolExecutor(1) as host:
        sent = host.submit(usb_device.write, loopback.rx.address, data, TIMEOUT_MS)
        assert receive(usb_device, loopback, len(data)) == data
        assert sent.result(30) == len(data)
    assert loopback.tx.counters.submits <= loopback.tx.counters.started


def test_the_event_loop_sleeps(looping: ServedGadget, loopback: Loopback, usb_device: Any) -> None:
    """Only what was armed before the splice began has the loop's eventfd."""
    reaped = 0
    context = loopback._endpoints()[0]._composite.context.context
    reap = context.reap

    def counted() -> Any:
        nonlocal reaped
        reaped += 1
        return reap()

    for number in range(DEPTH):
        assert echoed(usb_device, loopback, pattern(100, number))
    context.reap = counted  # type: ignore[method-assign]
    for number in range(3 * DEPTH):
        assert echoed(usb_device, loopback, pattern(100, number))
    assert reaped == 0


def test_a_handler_answers_meanwhile(looping: ServedGadget, loopback: Loopback, usb_device: Any) -> None:
    for number in range(10):
        usb_device.write(loopback.rx.address, pattern(100, number), TIMEOUT_MS)
        assert bytes(usb_device.ctrl_transfer(0xC1, 1, 0, 0, 8)) == b"1.0"
        assert bytes(usb_device.read(loopback.tx.address, SIZE, TIMEOUT_MS)) == pattern(100, number)


def test_endpoints_are_busy(looping: ServedGadget, loopback: Loopback, usb_device: Any) -> None:
    assert echoed(usb_device, loopback, b"begun")
    rx, tx = loopback.rx, loopback.tx

    async def detached() -> None:
        rx.detach()

    for other in (rx.read(1), anext(rx), anext(rx.messages()), tx.write(b"x"), tx.drain(), tx.take_back(), detached()):
        with pytest.raises(EndpointBusyError, match=r"Loopback\.[rt]x"):
            looping.call(other)
    for second in (splice(rx, 1), splice(0, tx), splice(rx, tx)):
        with pytest.raises(EndpointBusyError, match=r"Loopback\.[rt]x"):
            looping.call(second)
    assert echoed(usb_device, loopback, b"goes on")


def test_a_splice_of_an_endpoint_that_is_read(served: ServedGadget, function: Pair) -> None:
    async def splicing() -> None:
        reading = asyncio.ensure_future(anext(function.rx))
        await asyncio.sleep(0)
        try:
            await splice(function.rx, function.tx)
        finally:
            reading.cancel()
            await asyncio.wait({reading})

    with pytest.raises(EndpointBusyError, match=r"Pair\.rx"):
        served.call(splicing())


async def awaited(moving: Splice) -> int:
    return await moving


def test_it_is_awaited_once(served: ServedGadget, function: Pair) -> None:
    moving = splice(function.rx, function.tx, count=0)
    assert served.call(moving) == 0
    with pytest.raises(UsageError, match="awaited before"):
        served.call(awaited(moving))


class Unequal(Function):
    rx = BulkOut(transfer_size=2 * SIZE)
    tx = BulkIn(transfer_size=SIZE)


def test_a_transfer_must_fit_into_one(serve: Callable[..., ServedGadget]) -> None:
    function = Unequal()
    served = serve(Gadget(function))
    with pytest.raises(UsageError, match=r"Unequal\.rx and Unequal\.tx have transfers of 8192 and 4096 bytes"):
        served.call(splice(function.rx, function.tx))


@pytest.mark.usb(controllers=2, controller="dummy_hcd")
def test_endpoints_of_two_gadgets(serve: Callable[..., ServedGadget]) -> None:
    one, other = Pair(), Pair()
    served, _ = serve(Gadget(one, name="one")), serve(Gadget(other, name="other"))
    with pytest.raises(UsageError, match="of two gadgets"):
        served.call(splice(one.rx, other.tx))


@every_controller
@every_speed
def test_cancelled_loopback_loses_nothing(served: ServedGadget, function: Pair, usb_device: Any) -> None:
    """What the host does not fetch fills the IN endpoint; the rest is to be read, and the next splice works as well."""
    moving = begin(served, splice(function.rx, function.tx))
    sent = [pattern(SIZE - 1, number) for number in range(2 * DEPTH)]
    for data in sent:
        usb_device.write(function.rx.address, data, TIMEOUT_MS)
    wait_for(lambda: function.rx.counters.transfers == 2 * DEPTH, "everything to arrive")
    cancel(moving, served)
    fetched = [bytes(usb_device.read(function.tx.address, SIZE, TIMEOUT_MS)) for _ in range(DEPTH)]

    async def read_and_drain() -> list[bytes]:
        await function.tx.drain()
        return [bytes(await anext(function.rx)) for _ in range(DEPTH)]

    assert fetched + served.call(read_and_drain()) == sent
    for number in range(3 * DEPTH):  # until nothing is in flight any more that was submitted by the splice
        usb_device.write(function.rx.address, pattern(50, number), TIMEOUT_MS)
        assert served.call(function.rx.read(50)) == pattern(50, number)
    again = begin(served, splice(function.rx, function.tx))
    assert echoed(usb_device, function, b"again")
    cancel(again, served)


@every_controller
def test_halt_in_the_middle(looping: ServedGadget, loopback: Loopback, usb_device: Any) -> None:
    """Either endpoint; it goes on when the host has cleared it."""
    for endpoint in (loopback.tx, loopback.rx):
        assert echoed(usb_device, loopback, b"before")
        looping.call(endpoint.halt())
        use = usb_device.read if endpoint is loopback.tx else usb_device.write
        with pytest.raises(usb.core.USBError) as refused:
            use(endpoint.address, b"x" if endpoint is loopback.rx else SIZE, TIMEOUT_MS)
        assert refused.value.errno == errno.EPIPE
        usb_device.clear_halt(endpoint.address)
        assert echoed(usb_device, loopback, b"after")


@every_controller
def test_halt_takes_back_what_is_in_flight(looping: ServedGadget, loopback: Loopback, usb_device: Any) -> None:
    """The event loop, which waits for it, is told of what comes back, although the splice has the endpoint."""
    for number in range(DEPTH):
        usb_device.write(loopback.rx.address, pattern(1000, number), TIMEOUT_MS)
    wait_for(lambda: loopback.tx.counters.in_flight == DEPTH, "all of it in flight")
    looping.call(loopback.tx.halt())
    assert loopback.tx.counters.withdrawn == DEPTH
    usb_device.clear_halt(loopback.tx.address)
    assert echoed(usb_device, loopback, b"after")


# ---- endpoint to file ------------------------------------------------------------------------------------------------


@every_speed
def test_to_a_file(served: ServedGadget, function: Pair, usb_device: Any, tmp_path: Path) -> None:
    whole = b""
    with (tmp_path / "file").open("wb", buffering=0) as file:
        lengths = [1, SIZE, 0, function.rx.packet_size + 1, 3 * SIZE + 5]
        moving = splice(function.rx, file, count=sum(lengths))
        done = begin(served, moving)
        for number, length in enumerate(lengths):
            usb_device.write(function.rx.address, pattern(length, number), TIMEOUT_MS)
            whole += pattern(length, number)
            wait_for(partial(has_moved, moving, len(whole)), f"{len(whole)} bytes")
        assert done.result(30) == len(whole)
    assert (tmp_path / "file").read_bytes() == whole
    assert moving.transfers == 8


class Ends:
    """Of a pipe or a pair of sockets, with little room in between: what is read, and what is written."""

    def __init__(self, reading: int, writing: int) -> None:
        self.reading, self.writing = reading, writing

    def close_reading(self) -> None:
        self.reading = self._close(self.reading)

    def close_writing(self) -> None:
        self.writing = self._close(self.writing)

    def _close(self, fd: int) -> int:
        if fd >= 0:
            os.close(fd)
        return -1

    def read(self, length: int) -> bytes:
        """So many bytes, or what there is until the other end is closed."""
        data = b""
        while len(data) < length and (part := os.read(self.reading, length - len(data))):
            data += part
        return data


@pytest.fixture(params=["pipe", "socket"])
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    if request.param == "pipe":
        made = Ends(*os.pipe())
    else:
        one, other = socket.socketpair()
        other.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        made = Ends(one.detach(), other.detach())
    yield made
    made.close_reading()
    made.close_writing()


def write_until_full(device: Any, function: Pair) -> bytes:
    """Sends transfers until the device takes no more: what it has taken."""
    taken = b""
    for number in range(1000):
        data = pattern(SIZE, number)
        try:
            device.write(function.rx.address, data, 500)
        except usb.core.USBTimeoutError:
            return taken
        taken += data
    raise AssertionError("it takes everything")


def test_a_slow_reader_makes_the_host_wait(served: ServedGadget, function: Pair, usb_device: Any, ends: Ends) -> None:
    moving = begin(served, splice(function.rx, ends.writing))
    taken = write_until_full(usb_device, function)
    assert ends.read(len(taken)) == taken
    usb_device.write(function.rx.address, b"more", TIMEOUT_MS)
    assert ends.read(4) == b"more"
    cancel(moving, served)


def test_cancelled_it_leaves_the_rest_to_read(
    served: ServedGadget, function: Pair, usb_device: Any, ends: Ends
) -> None:
    """In the middle of a transfer, too: a pipe with room for less is full."""
    moving = splice(function.rx, ends.writing)
    future = begin(served, moving)
    usb_device.write(function.rx.address, b"odd", TIMEOUT_MS)
    taken = b"odd" + write_until_full(usb_device, function)
    cancel(future, served)
    ends.close_writing()
    passed = ends.read(len(taken))
    assert len(passed) == moving.moved
    rest = served.call(function.rx.read(len(taken) - len(passed)))
    assert passed + rest == taken


def test_what_read_has_left_comes_first(served: ServedGadget, function: Pair, usb_device: Any) -> None:
    usb_device.write(function.rx.address, b"head, then body", TIMEOUT_MS)
    assert served.call(function.rx.read(6)) == b"head, "
    moving = begin(served, splice(function.rx, function.tx))
    assert bytes(usb_device.read(function.tx.address, SIZE, TIMEOUT_MS)) == b"then body"
    assert echoed(usb_device, function, b"next")
    cancel(moving, served)


def test_what_the_count_leaves_is_to_read(served: ServedGadget, function: Pair, usb_device: Any) -> None:
    moving = begin(served, splice(function.rx, function.tx, count=4))
    usb_device.write(function.rx.address, b"head, then body", TIMEOUT_MS)
    assert moving.result(30) == 4
    assert bytes(usb_device.read(function.tx.address, SIZE, TIMEOUT_MS)) == b"head"
    assert bytes(served.call(anext(function.rx))) == b", then body"


def test_the_reader_has_gone(served: ServedGadget, function: Pair, usb_device: Any, ends: Ends) -> None:
    """That is the file's error, not the endpoint's, and the data is still there."""
    ends.close_reading()
    moving = begin(served, splice(function.rx, ends.writing))
    usb_device.write(function.rx.address, b"for nobody", TIMEOUT_MS)
    with pytest.raises(BrokenPipeError) as raised:
        moving.result(30)
    assert not isinstance(raised.value, DisconnectedError)
    assert served.call(function.rx.read(10)) == b"for nobody"


def test_a_full_device_is_told_by_its_name(served: ServedGadget, function: Pair, usb_device: Any) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        moving = begin(served, splice(function.rx, full))
        usb_device.write(function.rx.address, b"x", TIMEOUT_MS)
        with pytest.raises(OSError, match="/dev/full") as raised:
            moving.result(30)
    assert raised.value.errno == errno.ENOSPC


# ---- file to endpoint ------------------------------------------------------------------------------------------------


@every_speed
@pytest.mark.parametrize("length", [0, 1, SIZE, 10_000, 20 * SIZE])
def test_from_a_file(served: ServedGadget, function: Pair, usb_device: Any, tmp_path: Path, length: int) -> None:
    """In full transfers, and a short one if there is a rest; a zero-length packet is the user's to write."""
    (tmp_path / "file").write_bytes(pattern(length))

    async def send_it() -> int:
        with (tmp_path / "file").open("rb") as file:
            moved = await splice(file, function.tx)
        await function.tx.write(b"")
        await function.tx.drain()
        return moved

    done = served.begin(send_it())
    expected = [SIZE] * (length // SIZE) + [length % SIZE] * (length % SIZE > 0) + [0]
    got = [bytes(usb_device.read(function.tx.address, SIZE, TIMEOUT_MS)) for _ in expected]
    assert [len(data) for data in got] == expected
    assert b"".join(got) == pattern(length)
    assert done.result(30) == length


def test_from_a_pipe(served: ServedGadget, function: Pair, usb_device: Any, ends: Ends) -> None:
    """What is there is sent, without waiting for a full transfer; a cancelled splice takes nothing more."""
    moving = begin(served, splice(ends.reading, function.tx))
    for data in (b"a", b"", pattern(1000), b"bc"):
        os.write(ends.writing, data)
        assert not data or bytes(usb_device.read(function.tx.address, SIZE, TIMEOUT_MS)) == data
    cancel(moving, served)
    os.write(ends.writing, b"later")
    assert ends.read(5) == b"later"
    again = begin(served, splice(ends.reading, function.tx))
    os.write(ends.writing, b"last")
    ends.close_writing()
    assert bytes(usb_device.read(function.tx.address, SIZE, TIMEOUT_MS)) == b"last"
    assert again.result(30) == 4


@every_controller
def test_a_host_that_does_not_read_stops_the_writer(
    served: ServedGadget, function: Pair, usb_device: Any, ends: Ends
) -> None:
    moving = splice(ends.reading, function.tx)
    future = begin(served, moving)
    os.set_blocking(ends.writing, False)
    written = 0
    while True:
        try:
            written += os.write(ends.writing, pattern(51 * 251)[written % 251 :][: 50 * 251])
        except BlockingIOError:
            if function.tx.counters.in_flight == DEPTH:
                break
    before = moving.moved
    assert before <= DEPTH * SIZE
    ends.close_writing()
    assert receive(usb_device, function, written) == pattern(written)
    assert future.result(30) == written


def test_both_ways_at_once(served: ServedGadget, function: Pair, usb_device: Any) -> None:
    """As a bridge to a network does; the host's data comes back through an echo of the socket's."""
    ours, theirs = socket.socketpair()

    async def bridge() -> tuple[int, int]:
        async with asyncio.TaskGroup() as group:
            up = group.create_task(splice(function.rx, ours, count=6))
            down = group.create_task(splice(ours, function.tx, count=5))
        return up.result(), down.result()

    with ours, theirs:
        both = served.begin(bridge())
        usb_device.write(function.rx.address, b"to you", TIMEOUT_MS)
        assert theirs.recv(100) == b"to you"
        theirs.send(b"to me")
        assert bytes(usb_device.read(function.tx.address, SIZE, TIMEOUT_MS)) == b"to me"
        assert both.result(30) == (6, 5)
        assert ours.getblocking()


#: What ends at a reset: usbip-vudc configures the device again before its function can see that it was reset.
RESET = {DisabledError, SupersededError}


@pytest.mark.parametrize("rest", [0, 1])
def test_onto_an_endpoint_that_is_full(
    served: ServedGadget, function: Pair, usb_device: Any, tmp_path: Path, rest: int
) -> None:
    """Nobody has waited for what fills it, so nobody listens. (dummy_hcd takes 64 bytes and less at once.)"""
    path = tmp_path / "file"
    path.write_bytes(pattern(3 * SIZE))
    for number in range(DEPTH - rest):
        served.call(function.tx.write(pattern(1000, number)))
    with path.open("rb", buffering=0) as file:
        moving = splice(file, function.tx)
        future = begin(served, moving)
        for number in range(DEPTH - rest):
            assert bytes(usb_device.read(function.tx.address, SIZE, TIMEOUT_MS)) == pattern(1000, number)
        assert receive(usb_device, function, 3 * SIZE) == pattern(3 * SIZE)
        assert future.result(30) == 3 * SIZE


def test_one_that_nobody_waits_for_leaves_its_endpoints_usable(
    served: ServedGadget, function: Pair, usb_device: Any
) -> None:
    """Again and again: what each has left in flight rings an eventfd that goes on being heard."""

    async def begin_and_drop() -> None:
        moving = splice(function.rx, function.tx)
        moving.send(None)  # until it waits, in this task
        moving.close()

    async def echo(length: int) -> None:
        await function.tx.write(await function.rx.read(length))

    for number in range(2 * DEPTH):
        served.call(begin_and_drop())
        wait_for(lambda: not function.rx._is_spliced() and not function.tx._is_spliced(), "its thread to end")
        data = b"number %d" % number
        future = served.begin(echo(len(data)))
        assert echoed(usb_device, function, data)
        assert future.result(30) is None


# ---- how it ends -----------------------------------------------------------------------------------------------------


@every_controller
def test_it_ends_with_the_reason(looping: ServedGadget, loopback: Loopback, usb_device: Any) -> None:
    """At a reset, unbound, and when this program closes the gadget; the next generation has one of its own."""
    assert echoed(usb_device, loopback, b"first")
    looping.device.reset()
    looping.wait_generation(2)
    assert loopback.ended[0] in RESET
    with looping.pyusb() as device:
        assert echoed(device, loopback, b"second")
    # From within the loop, which then learns at once that the host is gone and why; otherwise it may end as disabled.
    looping.call(do(looping.gadget.unbind))
    wait_for(lambda: loopback.ended[1:], "the splice to end")
    assert loopback.ended[1:] == [UnboundError]
    looping.controller.connection.unplug()
    looping.call(do(lambda: looping.gadget.bind(looping.controller.name)))
    looping.controller.connection.plug()
    looping.wait_generation(3)
    with looping.pyusb() as device:
        assert echoed(device, loopback, b"third")
    looping.stop()
    assert loopback.ended[2:] == [ClosedError]


@every_controller
def test_the_host_leaves_while_data_flows(looping: ServedGadget, loopback: Loopback) -> None:
    """Again and again, with transfers in flight both ways."""
    for generation in range(2, 6):
        with looping.pyusb() as device:
            for number in range(DEPTH + 2):
                device.write(loopback.rx.address, pattern(SIZE, number), TIMEOUT_MS)
        looping.device.reset()
        looping.wait_generation(generation)
        with looping.pyusb() as device:
            assert echoed(device, loopback, b"of this generation")
    assert set(loopback.ended) <= RESET
    for endpoint in (loopback.rx, loopback.tx):
        wait_for(lambda: endpoint.counters.stale == 0, "the old transfers")  # noqa: B023


@contextmanager
def as_before() -> Iterator[None]:
    """No thread and no descriptor more than before."""

    def threads() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    def descriptors() -> int:
        return len([path for path in Path("/proc/self/fd").iterdir() if path.exists() or path.is_symlink()])

    before = threads(), descriptors()
    yield
    wait_for(lambda: (threads(), descriptors()) == before, f"as many threads and descriptors as before: {before}")


@every_controller
def test_nothing_is_left(serve: Callable[..., ServedGadget], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"data")
    with as_before():
        function = Pair()
        served = serve(Gadget(function))
        with served.pyusb() as device:
            for _ in range(3):
                moving = begin(served, splice(function.rx, function.tx))
                assert echoed(device, function, b"x")
                cancel(moving, served)
                with (tmp_path / "file").open("rb") as file:
                    assert served.call(splice(file, function.tx)) == 4
                    assert bytes(device.read(function.tx.address, SIZE, TIMEOUT_MS)) == b"data"
        served.stop()


def test_a_file_is_needed_no_longer_than_the_start(
    served: ServedGadget, function: Pair, usb_device: Any, ends: Ends
) -> None:
    """The splice has its own descriptor, so that closing the user's cannot make it write to another file."""
    moving = begin(served, splice(function.rx, ends.writing, count=1))
    ends.close_writing()
    usb_device.write(function.rx.address, b"x", TIMEOUT_MS)
    assert ends.read(1) == b"x"
    assert moving.result(30) == 1
    assert ends.read(1) == b"", "its descriptor is closed, too"
