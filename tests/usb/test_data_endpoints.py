"""The contract of the data path: transfers, packets, messages, exact reads; write, drain; one task a direction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import usb.core

from gadget import (
    PACKET,
    BulkIn,
    BulkOut,
    DisconnectedError,
    EndpointBusyError,
    Function,
    Gadget,
    InEndpoint,
    InterruptIn,
    InterruptOut,
    MessageTooLongError,
    OutEndpoint,
    OutOfEndpointsError,
    UsageError,
)
from gadget.functionfs.control_endpoint import ControlEndpoint
from gadget.testing import Faults, ServedGadget, wait_for

pytestmark = pytest.mark.usb(controller=["dummy_hcd", "usbip-vudc"])

# Where the size of a packet matters: 64, 512 or 1024 bytes.
every_speed = pytest.mark.usb(speed=["full", "high", "super"])

TIMEOUT_MS = 10_000


class Pair(Function):
    """Does nothing by itself: the tests use its endpoints."""

    rx = BulkOut(transfer_size=4096, depth=4)
    tx = BulkIn(transfer_size=4096, depth=4)
    event = InterruptIn(interval=0.001)
    command = InterruptOut(interval=0.001)


class Packets(Function):
    """As Pair, handing over packets."""

    rx = BulkOut(transfer_size=PACKET, depth=4)
    tx = BulkIn(transfer_size=PACKET, depth=4)


@pytest.fixture
def function() -> Pair:
    return Pair()


@pytest.fixture
def served(serve: Callable[..., ServedGadget], function: Pair) -> ServedGadget:
    return serve(Gadget(function))


async def take(endpoint: OutEndpoint, count: int) -> list[bytes]:
    """The next transfers, copied."""
    return [bytes(await anext(endpoint)) for _ in range(count)]


async def take_until_short(endpoint: OutEndpoint, count: int) -> list[list[int]]:
    """How long what was handed over is, up to what a short packet has ended, and so on."""
    found: list[list[int]] = [[]]
    while True:
        found[-1].append(len(await anext(endpoint)))
        if endpoint.was_short:
            if len(found) == count:
                return found
            found.append([])


@every_speed
def test_a_transfer_ends_with_a_short_packet_or_when_it_is_full(
    served: ServedGadget, function: Pair, usb_device: Any
) -> None:
    """Full ones may come with what follows them; what a short one has ended, never."""
    taken = served.begin(take_until_short(function.rx, 4))
    for length in (9000, 1, 4096):
        usb_device.write(function.rx.address, bytes(length), TIMEOUT_MS)
    usb_device.write(function.rx.address, b"", TIMEOUT_MS)
    usb_device.write(function.rx.address, b"", TIMEOUT_MS)
    lengths = taken.result(30)
    assert [sum(parts) for parts in lengths] == [9000, 1, 4096, 0]
    assert all(part % 4096 == 0 for parts in lengths for part in parts[:-1])


def test_a_task_that_is_slower_than_the_host_gets_several_at_once(
    served: ServedGadget, function: Pair, usb_device: Any
) -> None:
    """At most half of the depth, which is 4, so that the host finds room for more."""
    usb_device.write(function.rx.address, bytes(4 * 4096), TIMEOUT_MS)

    async def look() -> list[int]:
        while function.rx.counters.transfers < 4:
            await asyncio.sleep(0)
        return [len(data) for data in [await anext(function.rx), await anext(function.rx)]]

    assert served.call(look()) == [2 * 4096, 2 * 4096]


def test_a_long_write_is_no_news_on_ep0(serve: Callable[..., ServedGadget], monkeypatch: pytest.MonkeyPatch) -> None:
    """FunctionFS rings the eventfd of ep0 for a transfer that has none of its own (f_fs.c, ffs_user_copy_worker)."""
    rings, ring = [], ControlEndpoint._ring

    def counted(control: ControlEndpoint) -> None:
        rings.append(control)
        ring(control)

    monkeypatch.setattr(ControlEndpoint, "_ring", counted)
    function = Pair()
    served = serve(Gadget(function))
    with served.pyusb() as device:
        before = len(rings)
        written = served.begin(function.tx.write(bytes(16 * 4096)))
        assert len(device.read(function.tx.address, 16 * 4096, TIMEOUT_MS)) == 16 * 4096
        written.result(30)
        served.call(function.tx.drain())
        assert (len(rings), function.tx.counters.transfers) == (before, 16)
    assert rings, "they are seen here"


def test_a_transfer_stays_invisible_until_it_ends(served: ServedGadget, function: Pair, usb_device: Any) -> None:
    taken = served.begin(take(function.rx, 1))
    whole = 2 * function.rx.packet_size
    usb_device.write(function.rx.address, bytes(whole), TIMEOUT_MS)
    with pytest.raises(TimeoutError):
        taken.result(0.5)
    usb_device.write(function.rx.address, b"", TIMEOUT_MS)
    assert taken.result(30) == [bytes(whole)]


@every_speed
def test_packets_are_handed_over_at_once(serve: Callable[..., ServedGadget]) -> None:
    function = Packets()
    served = serve(Gadget(function))
    packet = function.rx.packet_size
    with served.pyusb() as device:
        taken = served.begin(take(function.rx, 3))
        device.write(function.rx.address, bytes(2 * packet + 7), TIMEOUT_MS)
        assert [len(data) for data in taken.result(30)] == [packet, packet, 7]
        served.call(function.tx.write(bytes(3 * packet)))
        assert len(device.read(function.tx.address, 3 * packet, TIMEOUT_MS)) == 3 * packet
        served.call(function.tx.drain())
        assert function.tx.counters.transfers == 3


@every_speed
def test_a_stream_of_bytes_is_taken_as_it_comes(serve: Callable[..., ServedGadget]) -> None:
    """All packets that have arrived at once, in their order, with what an exact read has left before them."""
    function = Packets()
    served = serve(Gadget(function))

    async def read_all(size: int) -> list[bytes]:
        while function.rx.counters.transfers < 4:
            await asyncio.sleep(0)
        parts = [await function.rx.read(2)]
        while len(b"".join(parts)) < size:
            parts.append(await function.rx.read_some())
        return parts

    with served.pyusb() as device:
        data = bytes(i % 251 for i in range(3 * function.rx.packet_size + 5))
        device.write(function.rx.address, data, TIMEOUT_MS)
        assert served.call(read_all(len(data))) == [
            data[:2],
            data[2 : function.rx.packet_size],
            data[function.rx.packet_size :],
        ]
        waiting = served.begin(function.rx.read_some())
        device.write(function.rx.address, b"", TIMEOUT_MS)
        device.write(function.rx.address, b"later", TIMEOUT_MS)
        assert waiting.result(30) == b"later", "a zero-length packet has no bytes"


def test_reading_some_ends_with_the_connection(served: ServedGadget, function: Pair, faults: Faults) -> None:
    waiting = served.begin(function.rx.read_some())
    faults.reset()
    with pytest.raises(DisconnectedError):
        waiting.result(30)


async def collect(endpoint: OutEndpoint, count: int, limit: int = 1 << 20) -> list[bytes]:
    found = []
    async for message in endpoint.messages(limit):
        found.append(message)
        if len(found) == count:
            break
    return found


@every_speed
def test_messages_join_transfers(served: ServedGadget, function: Pair, usb_device: Any) -> None:
    sent = [b"a" * 10_000, b"", b"b" * 8192, b"c" * function.rx.packet_size, b"d"]
    collected = served.begin(collect(function.rx, len(sent)))
    for message in sent:
        if message:
            usb_device.write(function.rx.address, message, TIMEOUT_MS)
        if len(message) % function.rx.packet_size == 0:
            usb_device.write(function.rx.address, b"", TIMEOUT_MS)
    assert collected.result(30) == sent


def test_a_host_cannot_make_a_message_longer_than_the_limit(
    served: ServedGadget, function: Pair, usb_device: Any
) -> None:
    collected = served.begin(collect(function.rx, 1, limit=8191))
    usb_device.write(function.rx.address, bytes(12_000), TIMEOUT_MS)
    with pytest.raises(MessageTooLongError, match="more than 8191 bytes"):
        collected.result(30)
    usb_device.write(function.rx.address, b"next", TIMEOUT_MS)
    assert served.call(collect(function.rx, 1)) == [b"next"], "the end of the long message is no message"


def test_messages_can_be_left_and_taken_up_again(served: ServedGadget, function: Pair, usb_device: Any) -> None:

    async def hello_then_all() -> list[bytes]:
        rest = []
        async for message in function.rx.messages():
            rest.append(message)
            break
        async for message in function.rx.messages():
            rest.append(message)
            if len(rest) == 3:
                break
        return rest

    taken = served.begin(hello_then_all())
    for message in (b"hello", b"one", b"two"):
        usb_device.write(function.rx.address, message, TIMEOUT_MS)
    assert taken.result(30) == [b"hello", b"one", b"two"]


async def cancelled(waiting: Coroutine[Any, Any, Any], begun: Callable[[], bool]) -> bool:
    """Cancels what waits for more, once it has what there is, and says whether it was."""
    task = asyncio.ensure_future(waiting)
    while not begun():
        await asyncio.sleep(0)
    for _ in range(3):  # It is told in a later step of the loop than the counters.
        await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    await asyncio.wait({task})
    return task.cancelled()


def test_a_cancelled_message_is_complete_in_the_next(served: ServedGadget, function: Pair, usb_device: Any) -> None:
    cancelling = served.begin(cancelled(collect(function.rx, 1), lambda: function.rx.counters.transfers == 1))
    usb_device.write(function.rx.address, b"a" * 4096, TIMEOUT_MS)
    assert cancelling.result(30)
    usb_device.write(function.rx.address, b"b", TIMEOUT_MS)
    assert served.call(collect(function.rx, 1)) == [b"a" * 4096 + b"b"]


def test_a_lent_buffer_is_not_taken_back_by_another_task(served: ServedGadget, function: Pair, usb_device: Any) -> None:

    async def two_readers() -> bytes:
        lent = await anext(function.rx)
        with pytest.raises(EndpointBusyError, match=r"Pair\.rx"):
            await asyncio.ensure_future(anext(function.rx))
        return bytes(lent)

    for text in (b"first", b"second"):
        usb_device.write(function.rx.address, text, TIMEOUT_MS)
    assert served.call(two_readers()) == b"first"


def test_exact_reads_across_transfers(served: ServedGadget, function: Pair, usb_device: Any) -> None:
    data = bytes(i % 251 for i in range(9001))
    usb_device.write(function.rx.address, data, TIMEOUT_MS)
    parts = [served.call(function.rx.read(size)) for size in (1, 4096, 0, 904, 4000)]
    assert b"".join(parts) == data
    assert [len(part) for part in parts] == [1, 4096, 0, 904, 4000]


@every_speed
def test_a_message_ends_with_a_short_packet(served: ServedGadget, function: Pair, usb_device: Any) -> None:
    packet = function.tx.packet_size
    for length in (0, 1, packet - 1, packet, packet + 1, 4095, 4096, 4097, 8192, 100_000):
        data = bytes(i % 253 for i in range(length))
        written = served.begin(function.tx.write_message(data))
        room = (length // packet + 1) * packet
        assert bytes(usb_device.read(function.tx.address, room, TIMEOUT_MS)) == data, f"{length} bytes"
        written.result(30)


def test_write_returns_before_the_host_reads_and_drain_after(
    served: ServedGadget, function: Pair, usb_device: Any
) -> None:
    buffer = bytearray(b"x" * 4096)
    served.call(function.tx.write(buffer))
    buffer[:] = b"y" * 4096  # the kernel has its copy
    drained = served.begin(function.tx.drain())
    with pytest.raises(TimeoutError):
        drained.result(0.3)
    assert bytes(usb_device.read(function.tx.address, 4096, TIMEOUT_MS)) == b"x" * 4096
    drained.result(30)


@pytest.mark.usb(needs="completion when read")
def test_drain_waits_for_a_short_transfer_too(served: ServedGadget, function: Pair, usb_device: Any) -> None:
    served.call(function.tx.write(b"short"))
    drained = served.begin(function.tx.drain())
    with pytest.raises(TimeoutError):
        drained.result(0.3)
    assert bytes(usb_device.read(function.tx.address, 64, TIMEOUT_MS)) == b"short"
    drained.result(30)


def test_write_waits_only_while_depth_is_in_flight(served: ServedGadget, function: Pair, usb_device: Any) -> None:
    written = served.begin(function.tx.write(bytes(6 * 4096)))
    wait_for(lambda: function.tx.counters.in_flight == 4, "four transfers in flight")
    with pytest.raises(TimeoutError):
        written.result(0.3)
    usb_device.read(function.tx.address, 2 * 4096, TIMEOUT_MS)
    written.result(30)
    usb_device.read(function.tx.address, 4 * 4096, TIMEOUT_MS)
    served.call(function.tx.drain())


def test_interrupt_in(served: ServedGadget, function: Pair, usb_device: Any) -> None:
    served.call(function.event.write(b"event"))
    assert bytes(usb_device.read(function.event.address, 64, TIMEOUT_MS)) == b"event"
    assert (function.event.address & 0x80, function.event.packet_size) == (0x80, 64)


def test_interrupt_out(served: ServedGadget, function: Pair, usb_device: Any) -> None:
    usb_device.write(function.command.address, b"c" * 100, TIMEOUT_MS)
    assert [len(data) for data in served.call(take(function.command, 2))] == [64, 36]
    assert (function.command.address & 0x80, function.command.packet_size) == (0, 64)


def test_two_tasks_on_one_direction(served: ServedGadget, function: Pair) -> None:

    async def both(first: Any, second: Any) -> BaseException | None:
        waiting = asyncio.ensure_future(first)
        await asyncio.sleep(0)
        try:
            await second
        except EndpointBusyError as error:
            return error
        finally:
            waiting.cancel()
            await asyncio.wait({waiting})
        return None

    rx, tx = function.rx, function.tx
    assert "Pair.rx" in str(served.call(both(rx.read(1), rx.read(1))))
    assert "Pair.rx" in str(served.call(both(anext(rx), anext(rx))))
    assert "Pair.rx" in str(served.call(both(rx.read_some(), anext(rx))))
    assert "Pair.rx" in str(served.call(both(rx.read(1), rx.read_some())))
    assert "Pair.tx" in str(served.call(both(tx.write(bytes(1 << 20)), tx.write(b"x"))))


def test_cancelling_a_read_loses_nothing(served: ServedGadget, function: Pair, usb_device: Any) -> None:
    assert served.call(cancelled(function.rx.read(10), lambda: True))
    usb_device.write(function.rx.address, b"0123456789", TIMEOUT_MS)
    assert served.call(function.rx.read(10)) == b"0123456789"
    assert served.call(cancelled(function.rx.read_some(), lambda: True))
    usb_device.write(function.rx.address, b"abc", TIMEOUT_MS)
    assert served.call(function.rx.read_some()) == b"abc"


OLD, NEW = b"\xaa" * 4096, b"\x55" * 100


async def in_time(seconds: float, what: Coroutine[Any, Any, Any]) -> Any:
    async with asyncio.timeout(seconds):
        return await what


@every_speed
def test_a_write_whose_time_is_up_is_taken_back(served: ServedGadget, function: Pair, usb_device: Any) -> None:
    served.call(function.tx.write(OLD))
    with pytest.raises(TimeoutError):
        served.call(in_time(0.2, function.tx.write(bytes(4096) * 6)))
    served.call(function.tx.write(NEW))
    # What was written before stays, and is followed by what was written after.
    assert [bytes(usb_device.read(function.tx.address, 4096, TIMEOUT_MS)) for _ in range(2)] == [OLD, NEW]
    served.call(function.tx.drain())
    counters = function.tx.counters
    assert (counters.transfers, counters.withdrawn, counters.errors, counters.in_flight) == (2, 3, 0, 0)


def test_a_message_whose_time_is_up_is_taken_back_whole(served: ServedGadget, function: Pair, usb_device: Any) -> None:
    """Also when only its zero-length packet still had to be queued."""
    with pytest.raises(TimeoutError):
        served.call(in_time(0.2, function.tx.write_message(bytes(4 * 4096))))
    served.call(function.tx.write(NEW))
    assert bytes(usb_device.read(function.tx.address, 4096, TIMEOUT_MS)) == NEW
    assert function.tx.counters.withdrawn == 4


@every_speed
def test_what_has_grown_old_is_taken_back(served: ServedGadget, function: Pair, usb_device: Any) -> None:
    served.call(function.tx.write(OLD * 3))
    with pytest.raises(TimeoutError):
        served.call(in_time(0.2, function.tx.drain()))
    assert served.call(function.tx.take_back()) == 3
    assert served.call(function.tx.take_back()) == 0
    served.call(function.tx.drain())
    served.call(function.tx.write(NEW))
    assert bytes(usb_device.read(function.tx.address, 4096, TIMEOUT_MS)) == NEW


def test_a_read_whose_time_is_up_loses_nothing(served: ServedGadget, function: Pair, usb_device: Any) -> None:
    for part in (b"abc", b"de"):
        usb_device.write(function.rx.address, part, TIMEOUT_MS)
        with pytest.raises(TimeoutError):
            served.call(in_time(0.2, function.rx.read(9)))
    usb_device.write(function.rx.address, b"fghijk", TIMEOUT_MS)
    assert served.call(function.rx.read(9)) == b"abcdefghi"
    # What an exact read leaves of a transfer is the iteration's, and ends a message where the transfer did.
    assert served.call(take(function.rx, 1)) == [b"jk"]


def test_the_rest_of_a_full_transfer_does_not_end_a_message(
    served: ServedGadget, function: Pair, usb_device: Any
) -> None:
    usb_device.write(function.rx.address, bytes(4096) + b"end", TIMEOUT_MS)
    assert served.call(function.rx.read(4000)) == bytes(4000)
    assert served.call(collect(function.rx, 1)) == [bytes(96) + b"end"]


def test_a_buffer_that_is_detached_stays_as_it_is(served: ServedGadget, function: Pair, usb_device: Any) -> None:
    """Ten times the depth of the endpoint, so that each of its buffers would have been used again."""

    async def keep(count: int) -> list[memoryview]:
        kept = []
        for _ in range(count):
            await anext(function.rx)
            kept.append(function.rx.detach())
        return kept

    kept = served.begin(keep(40))
    sent = [bytes([number]) * (4095 - number) for number in range(40)]  # short, so that each comes by itself
    for data in sent:
        usb_device.write(function.rx.address, data, TIMEOUT_MS)
    views = kept.result(30)
    assert [bytes(view) for view in views] == sent
    views[0][:2] = b"ok"
    with pytest.raises(UsageError, match="nothing to detach"):
        function.rx.detach()


@every_speed
def test_an_endpoint_knows_the_descriptor_that_the_host_has(
    served: ServedGadget, function: Pair, usb_device: Any
) -> None:
    known = {endpoint.address: endpoint.descriptor for endpoint in function._endpoints()}
    found = list(usb_device.get_active_configuration()[(0, 0)])
    assert sorted(known) == sorted(endpoint.bEndpointAddress for endpoint in found)
    for endpoint in found:
        descriptor = known[endpoint.bEndpointAddress]
        assert descriptor is not None
        assert (descriptor.attributes, descriptor.max_packet_size, descriptor.interval) == (
            endpoint.bmAttributes,
            endpoint.wMaxPacketSize,
            endpoint.bInterval,
        )


def test_what_a_host_sends_and_nobody_reads_takes_no_memory(
    served: ServedGadget, function: Pair, usb_device: Any
) -> None:
    """The endpoint holds depth times transfer_size; then the host waits, whatever it wants to send."""
    for _ in range(4):
        usb_device.write(function.rx.address, bytes(4096), TIMEOUT_MS)
    for _ in range(3):
        with pytest.raises(usb.core.USBTimeoutError):
            usb_device.write(function.rx.address, bytes(4096), 200)
    assert function.rx.counters.started == 4


def test_what_waits_when_the_host_leaves_is_told(served: ServedGadget, function: Pair) -> None:
    endpoints: list[OutEndpoint | InEndpoint] = [function.rx, function.tx]
    reading, writing = served.begin(function.rx.read(1)), served.begin(function.tx.write(bytes(1 << 20)))
    wait_for(lambda: all(endpoint.counters.in_flight == 4 for endpoint in endpoints), "transfers in flight")
    served.device.reset()
    for waiting in (reading, writing):
        with pytest.raises(DisconnectedError):
            waiting.result(30)
    served.wait_generation(2)
    wait_for(lambda: all(endpoint.counters.stale == 0 for endpoint in endpoints), "the old transfers")


def test_the_same_gadget_can_be_served_again(serve: Callable[..., ServedGadget]) -> None:
    function = Packets()
    gadget = Gadget(function)
    for _ in range(2):
        served = serve(gadget)
        with served.pyusb() as device:
            device.write(function.rx.address, b"x", TIMEOUT_MS)
            assert served.call(function.rx.read(1)) == b"x"
        served.stop()


class Second(Function):
    """Another interface."""

    interface_string = "Second"
    tx = BulkIn()


def test_two_functions_in_one_gadget(serve: Callable[..., ServedGadget]) -> None:
    first, second = Packets(), Second()
    served = serve(Gadget(first, second))
    with served.pyusb() as device:
        interfaces = list(device.get_active_configuration())
        assert [interface.bInterfaceNumber for interface in interfaces] == [0, 1]
        assert len({first.rx.address, first.tx.address, second.tx.address}) == 3
        served.call(second.tx.write(b"second"))
        assert bytes(device.read(second.tx.address, 64, TIMEOUT_MS)) == b"second"
        device.write(first.rx.address, b"first", TIMEOUT_MS)
        assert served.call(first.rx.read(5)) == b"first"


def greedy(pairs: int, besides: Function | None = None) -> Gadget:
    """A gadget with so many bulk pairs, and another function."""
    endpoints: dict[str, Any] = {f"rx{number}": BulkOut(depth=1) for number in range(pairs)}
    endpoints |= {f"tx{number}": BulkIn(depth=1) for number in range(pairs)}
    others = [besides] if besides is not None else []
    return Gadget(type("Greedy", (Function,), endpoints)(), *others)


@pytest.mark.usb(needs="many endpoints")
def test_fifteen_bulk_pairs_work(serve: Callable[..., ServedGadget]) -> None:
    function = serve(greedy(15)).function
    addresses = {getattr(function, name).address for name in function.declared_endpoints()}
    assert addresses == {*range(0x01, 0x10), *range(0x81, 0x90)}


def test_a_controller_with_too_few_endpoints_says_so(serve: Callable[..., ServedGadget]) -> None:
    with pytest.raises(OutOfEndpointsError, match="endpoint"):
        serve(greedy(15, besides=Second()))


@pytest.mark.usb(controller="dummy_hcd")
def test_two_endpoints_of_one_address_are_noticed(serve: Callable[..., ServedGadget]) -> None:
    """dummy_hcd binds a fifth pair, under an address that another endpoint has."""
    with pytest.raises(OutOfEndpointsError, match=r"gave address 0x.. to both Greedy\.\wx\d and Greedy\.\wx\d"):
        serve(greedy(5))


def test_four_bulk_pairs_work(serve: Callable[..., ServedGadget]) -> None:
    function = serve(greedy(4)).function
    addresses = {getattr(function, name).address for name in function.declared_endpoints()}
    assert len(addresses) == 8
