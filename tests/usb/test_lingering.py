"""Where data flows, a step waits for more within the extension, and for no longer than nothing else happens.

The time it may take is long here, so that what ends it is what the test is about.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from gadget import BulkIn, BulkOut, DisconnectedError, Function, Gadget, OutEndpoint, vendor_in
from gadget.aio.table import Table
from gadget.protocol.functionfs_format import Setup
from gadget.testing import Faults, ServedGadget

pytestmark = pytest.mark.usb

TIMEOUT_MS = 10_000
SIZE = 4096
#: Longer than any of these tests waits for anything.
FOREVER = 600.0


class Pairs(Function):
    """Does nothing by itself: the tests use its endpoints."""

    rx = BulkOut(transfer_size=SIZE, depth=4)
    tx = BulkIn(transfer_size=SIZE, depth=4)
    other_rx = BulkOut(transfer_size=SIZE, depth=4)

    @vendor_in(request=1)
    async def version(self, setup: Setup) -> bytes:
        return b"1.0"


class Asked(Function):
    """A second function, which answers one request."""

    tx = BulkIn()

    @vendor_in(request=1)
    async def version(self, setup: Setup) -> bytes:
        return b"2.0"


@pytest.fixture
def function() -> Pairs:
    return Pairs()


@pytest.fixture
def served(serve: Callable[..., ServedGadget], function: Pairs) -> ServedGadget:
    return serve(Gadget(function, Asked(), linger=FOREVER))


@pytest.fixture
def reaps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One item for each time that the event loop has looked at the context."""
    seen, reap = [], Table._reap

    def counted(table: Table, eventfd: int) -> object:
        seen.append(eventfd)
        return reap(table, eventfd)

    monkeypatch.setattr(Table, "_reap", counted)
    return seen


def linger(function: Pairs, seconds: float) -> None:
    """Sets for how long its streams may linger."""
    function.rx._composite.context.context.linger = seconds


async def flowing(endpoint: OutEndpoint) -> None:
    """Takes two full transfers at once, which were sent before: more is on its way."""
    while endpoint.counters.transfers < 2:
        await asyncio.sleep(0)
    assert len(await anext(endpoint)) == 2 * SIZE


async def length_of_next(endpoint: OutEndpoint) -> int:
    return len(await anext(endpoint))


@pytest.fixture
def next_one(served: ServedGadget, function: Pairs, usb_device: Any) -> Future[int]:
    """The length of what comes next on rx, where data flows: the step lingers, or is just about to."""
    begun = threading.Event()

    async def take() -> int:
        await flowing(function.rx)
        begun.set()
        return await length_of_next(function.rx)

    usb_device.write(function.rx.address, bytes(2 * SIZE), TIMEOUT_MS)
    taken = served.begin(take())
    assert begun.wait(30)
    return taken


def test_a_step_takes_half_of_what_is_in_flight(next_one: Future[int], function: Pairs, usb_device: Any) -> None:
    for _ in range(2):
        usb_device.write(function.rx.address, bytes(SIZE), TIMEOUT_MS)
    assert next_one.result(30) == 2 * SIZE


def test_the_end_of_a_message_ends_it(next_one: Future[int], function: Pairs, usb_device: Any) -> None:
    usb_device.write(function.rx.address, bytes(10), TIMEOUT_MS)
    assert next_one.result(30) == 10


def test_after_the_end_of_a_message_nobody_lingers(served: ServedGadget, function: Pairs, usb_device: Any) -> None:
    usb_device.write(function.rx.address, bytes(SIZE + 10), TIMEOUT_MS)

    async def take() -> list[int]:
        while function.rx.counters.transfers < 2:
            await asyncio.sleep(0)
        return [await length_of_next(function.rx), await length_of_next(function.rx)]

    taken = served.begin(take())
    served.call(asyncio.sleep(0))  # the loop goes round
    usb_device.write(function.rx.address, bytes(SIZE), TIMEOUT_MS)
    assert taken.result(30) == [SIZE + 10, SIZE]


def test_what_another_endpoint_has_ends_it(
    served: ServedGadget, function: Pairs, usb_device: Any, request: pytest.FixtureRequest
) -> None:
    other = served.begin(length_of_next(function.other_rx))
    lingering: Future[int] = request.getfixturevalue("next_one")
    usb_device.write(function.other_rx.address, bytes(20), TIMEOUT_MS)
    assert other.result(30) == 20
    usb_device.write(function.rx.address, bytes(10), TIMEOUT_MS)
    assert lingering.result(30) == 10


def test_a_write_that_gets_room_ends_it(
    served: ServedGadget, function: Pairs, usb_device: Any, request: pytest.FixtureRequest
) -> None:
    written = served.begin(function.tx.write(bytes(5 * SIZE)))
    served.call(asyncio.sleep(0))
    lingering: Future[int] = request.getfixturevalue("next_one")
    assert len(usb_device.read(function.tx.address, 5 * SIZE, TIMEOUT_MS)) == 5 * SIZE
    written.result(30)
    usb_device.write(function.rx.address, bytes(10), TIMEOUT_MS)
    assert lingering.result(30) == 10


def test_a_control_request_ends_it(next_one: Future[int], function: Pairs, usb_device: Any) -> None:
    answers = [bytes(usb_device.ctrl_transfer(0xC1, 1, 0, interface, 8, TIMEOUT_MS)) for interface in (1, 0, 1)]
    assert answers == [b"2.0", b"1.0", b"2.0"]
    usb_device.write(function.rx.address, bytes(10), TIMEOUT_MS)
    assert next_one.result(30) == 10


def test_the_end_of_the_generation_ends_it(next_one: Future[int], faults: Faults) -> None:
    faults.reset()
    with pytest.raises(DisconnectedError):
        next_one.result(30)


def test_its_time_is_limited(served: ServedGadget, function: Pairs, request: pytest.FixtureRequest) -> None:
    linger(function, 0.2)
    lingering: Future[int] = request.getfixturevalue("next_one")
    served.call(asyncio.sleep(0.3))  # the loop goes round, and its timers run
    assert not lingering.done()
    lingering.cancel()


def test_it_can_be_turned_off(
    served: ServedGadget, function: Pairs, usb_device: Any, request: pytest.FixtureRequest
) -> None:
    linger(function, 0)
    lingering: Future[int] = request.getfixturevalue("next_one")
    usb_device.write(function.rx.address, bytes(SIZE), TIMEOUT_MS)
    assert lingering.result(30) == SIZE


def test_a_long_write_waits_within(served: ServedGadget, function: Pairs, usb_device: Any, reaps: list[int]) -> None:
    """The first time by the event loop, which finds room soon."""
    before = len(reaps)
    written = served.begin(function.tx.write(bytes(32 * SIZE)))
    assert len(usb_device.read(function.tx.address, 32 * SIZE, TIMEOUT_MS)) == 32 * SIZE
    written.result(30)
    assert len(reaps) - before <= 3, "32 transfers, 2 or more at a time"
    served.call(function.tx.drain())
    assert function.tx.counters.transfers == 32


def test_what_an_endpoint_has_ends_the_wait_of_a_write(served: ServedGadget, function: Pairs, usb_device: Any) -> None:
    other = served.begin(length_of_next(function.other_rx))
    written = served.begin(function.tx.write(bytes(64 * SIZE)))
    # Now it waits within, for the host, which reads no more.
    assert len(usb_device.read(function.tx.address, 32 * SIZE, TIMEOUT_MS)) == 32 * SIZE
    usb_device.write(function.other_rx.address, bytes(20), TIMEOUT_MS)
    assert other.result(30) == 20
    assert not written.done()
    assert len(usb_device.read(function.tx.address, 32 * SIZE, TIMEOUT_MS)) == 32 * SIZE
    written.result(30)


@pytest.mark.parametrize("seconds", [0.002, 0.2, FOREVER])
def test_nothing_is_lost(served: ServedGadget, function: Pairs, usb_device: Any, seconds: float) -> None:
    """Both ways at once, in pieces that end everywhere, for as long as it may linger."""
    linger(function, seconds)
    sizes = [SIZE, 2 * SIZE, 4 * SIZE, 10, SIZE + 1, 8 * SIZE, 3 * SIZE] * 8
    data = [bytes((number + place) & 0xFF for place in range(size)) for number, size in enumerate(sizes)]

    async def echo(total: int) -> None:
        while total:
            piece = bytes(await anext(function.rx))
            total -= len(piece)
            await function.tx.write(piece)

    echoed = served.begin(echo(sum(sizes)))
    read = bytearray()

    def take_all() -> None:
        while len(read) < sum(sizes):
            read.extend(usb_device.read(function.tx.address, SIZE, TIMEOUT_MS))

    reader = threading.Thread(target=take_all)
    reader.start()
    for piece in data:
        usb_device.write(function.rx.address, piece, TIMEOUT_MS)
    usb_device.write(function.rx.address, b"", TIMEOUT_MS)
    reader.join(60)
    echoed.result(30)
    assert read == b"".join(data)
