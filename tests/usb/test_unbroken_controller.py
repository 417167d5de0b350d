"""A controller that never gives a cancelled transfer back: no close waits for ever, and each says what is left."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gadget import BulkIn, BulkOut, Function, Gadget, LinkState, NotDrainedError
from gadget.aio import ReadStream, WriteStream
from gadget.aio.context import undrained_contexts
from gadget.functionfs.endpoint import Endpoint
from gadget.functionfs.in_endpoint import InEndpoint
from gadget.functionfs.out_endpoint import OutEndpoint
from gadget.testing import BenchController, wait_for
from tests.usb.stuck import StuckFile

pytestmark = pytest.mark.usb

#: Seconds: two for the endpoint, two for the AIO context, and what taking the rest down takes under emulation.
BOUND = 20.0


class Pair(Function):
    rx = BulkOut(transfer_size=4096, depth=3)
    tx = BulkIn(transfer_size=4096, depth=2)

    async def run(self) -> None:
        await self.tx.write(bytes(8192))
        async for _ in self.rx:
            pass


@pytest.fixture
def stuck(tmp_path: Path) -> Iterator[StuckFile]:
    subprocess.run(["modprobe", "fuse"], check=True)
    with StuckFile(tmp_path / "stuck") as file:
        yield file


class Bench:
    """A gadget on a controller that keeps the transfers of one direction.

    Attributes:
        endpoint: The endpoint whose transfers are kept.
        count: How many there are.
    """

    def __init__(self, udc: BenchController, stuck: StuckFile, name: str, count: int) -> None:
        self._udc, self._stuck = udc, stuck
        self.function = Pair()
        self.gadget = Gadget(self.function)
        self.name, self.count = name, count

    @property
    def endpoint(self) -> Endpoint:
        found: Endpoint = getattr(self.function, self.name)
        return found

    async def wait_kept(self) -> None:
        """Waits until the host has configured it, and its transfers are in flight."""
        self._udc.connection.plug()
        await self.gadget.wait_configured()
        await asyncio.to_thread(wait_for, lambda: self._stuck.kept == self.count, "transfers to be in flight")

    def give_back(self) -> None:
        """The controller gives everything back after all: then everything can be closed."""
        self._stuck.allow()
        for context in undrained_contexts():
            context.close()
        self.endpoint._close_stream()


@pytest.fixture(params=[(OutEndpoint, "rx", 3), (InEndpoint, "tx", 2)], ids=["OUT", "IN"])
def bench(
    udc: BenchController, stuck: StuckFile, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    """The transfers of one direction go to the stuck file; everything else is the kernel's own."""
    direction, name, count = request.param
    open_stream = direction._open_stream

    def on_the_stuck_file(self: Endpoint, size: int) -> ReadStream | WriteStream:
        own, self._fd = self._fd, stuck.fd
        try:
            stream: ReadStream | WriteStream = open_stream(self, size)
            return stream
        finally:
            self._fd = own

    monkeypatch.setattr(direction, "_open_stream", on_the_stuck_file)
    made = Bench(udc, stuck, name, count)
    yield made
    made.give_back()
    assert undrained_contexts() == ()


def test_taking_it_down_is_bounded_and_says_what_is_left(udc: BenchController, bench: Bench) -> None:
    """Everything else of the gadget goes; the buffers stay, as the controller may still write to them."""
    begun = 0.0

    async def serve() -> None:
        nonlocal begun
        async with bench.gadget.up(udc.name):
            await bench.wait_kept()
            begun = time.monotonic()

    with pytest.raises(NotDrainedError) as caught:
        asyncio.run(serve())
    assert time.monotonic() - begun < BOUND
    message = f"Pair.{bench.name} cannot be closed: {udc.name} kept {bench.count} transfers for 2.0 s; the buffers stay"
    assert message in str(caught.value)
    assert udc.sysfs.holder is None
    assert not bench.gadget.path.exists()
    (context,) = undrained_contexts()
    assert context.in_flight == bench.count


def test_taking_transfers_back_is_bounded(udc: BenchController, bench: Bench) -> None:
    """The endpoint says that it cannot be halted, or emptied; the gadget lives on meanwhile."""
    said: list[str] = []

    async def serve() -> None:
        async with bench.gadget.up(udc.name):
            await bench.wait_kept()
            try:
                await bench.endpoint._take_back("emptied")
            except NotDrainedError as error:
                said.append(str(error))
            assert bench.function.link is LinkState.ENABLED

    with pytest.raises(NotDrainedError):
        asyncio.run(serve())
    assert f"Pair.{bench.name} cannot be emptied: {udc.name} kept {bench.count} transfers" in said[0]
