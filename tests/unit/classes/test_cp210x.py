"""The port above its endpoints, which are stood in for here; tests/usb has the kernel's, and a host."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from gadget.classes.cp210x import Cp210x
from gadget.classes.cp210x_values import Cp210xRequest as R, FlowControl, LineError, RtsMode
from gadget.errors import HostNotReadingError, Stall
from gadget.protocol.constants import EventType

ESCAPE = 0xEC


class ToHost:
    """An endpoint with room for two transfers, of which a host takes one at a time."""

    transfer_size, depth = 8, 2

    def __init__(self) -> None:
        self.queued: list[bytes] = []
        self.read = b""
        self._changed = asyncio.Event()

    @property
    def counters(self) -> SimpleNamespace:
        return SimpleNamespace(bytes=len(self.read), in_flight=len(self.queued))

    @property
    def has_room(self) -> bool:
        return len(self.queued) < self.depth

    async def wait_room(self) -> None:
        while not self.has_room:
            self._changed.clear()
            await self._changed.wait()

    async def write(self, data: bytes) -> None:
        assert self.has_room, "who writes would wait here, where a port that is closed is not seen"
        assert len(data) <= self.transfer_size
        self.queued.append(data)

    write_message = write

    async def drain(self) -> None:
        while self.queued:
            self._changed.clear()
            await self._changed.wait()

    async def take_back(self, *, beside_writer: bool) -> None:
        assert beside_writer
        self.queued.clear()
        self._changed.set()

    def take(self) -> None:
        self.read += self.queued.pop(0)
        self._changed.set()


class FromHost:
    def __init__(self) -> None:
        self.packets: asyncio.Queue[bytes] = asyncio.Queue()
        self.counters = SimpleNamespace(bytes=0)

    def send(self, data: bytes) -> None:
        self.packets.put_nowait(data)
        self.counters.bytes += len(data)

    async def read_some(self) -> bytes:
        arrived = await self.packets.get()
        while not self.packets.empty():
            arrived += self.packets.get_nowait()
        return arrived


class Bench:
    """A port with the other side of its endpoints."""

    def __init__(self) -> None:
        self.port, self.tx, self.rx = Cp210x(), ToHost(), FromHost()
        self.port.__dict__.update(tx=self.tx, rx=self.rx)
        self.port.on_event(EventType.ENABLE)

    async def ask(self, request: R, value: int = 0, data: bytes = b"") -> None:
        await self.port._command(request, value, memoryview(data))

    async def open(self) -> None:
        await self.ask(R.IFC_ENABLE, 1)

    async def close(self) -> None:
        """As Linux does it (``cp210x.c``, cp210x_close)."""
        await self.ask(R.PURGE, 0x0F)
        await settle()
        await self.ask(R.IFC_ENABLE, 0)
        await settle()

    async def read_all(self) -> bytes:
        await settle()
        while self.tx.queued:
            self.tx.take()
            await settle()
        return self.tx.read


async def settle() -> None:
    """Every task goes as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


def run(scenario: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(30):
            await scenario(Bench())

    asyncio.run(main())


def test_a_write_waits_for_the_port_to_be_opened() -> None:
    async def scenario(bench: Bench) -> None:
        writing = asyncio.create_task(bench.port.write(b"hello"))
        await settle()
        assert not bench.tx.queued
        await bench.open()
        await writing
        assert await bench.read_all() == b"hello"

    run(scenario)


def test_a_write_that_a_close_has_cut_is_an_error_and_its_rest_is_for_nobody() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.open()
        writing = asyncio.create_task(bench.port.write(b"stale" * 20, timeout=None))
        await settle()
        bench.tx.take()
        await settle()
        await bench.close()
        with pytest.raises(HostNotReadingError, match=r"closed the port after \d+ of 100 bytes"):
            await writing
        await bench.open()
        await bench.port.write(b"fresh")
        assert bench.tx.queued == [b"fresh"]

    run(scenario)


def test_a_write_that_has_not_begun_when_the_port_is_closed_is_for_who_opens_it_next() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.open()
        await bench.port.write(b"stale" * 3)
        writing = asyncio.create_task(bench.port.write(b"fresh"))
        await settle()
        await bench.ask(R.IFC_ENABLE, 0)
        await settle()
        assert not bench.tx.queued
        await bench.open()
        await writing
        assert await bench.read_all() == b"fresh"

    run(scenario)


def test_lines_are_told_between_the_transfers_of_a_task_that_writes() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.open()
        await bench.ask(R.EMBED_EVENTS, ESCAPE)
        data = bytes([ESCAPE]) * 40
        writing = asyncio.create_task(bench.port.write(data))
        await settle()
        telling = asyncio.create_task(bench.port.set_lines(cts=False))
        told = await bench.read_all()
        await asyncio.gather(writing, telling)
        event = bytes([ESCAPE, 3, 0xA1])
        assert event in told
        assert told.replace(event, b"", 1) == bytes([ESCAPE, 0]) * 40

    run(scenario)


def test_an_error_is_told_while_another_task_waits_for_the_host_to_read() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.open()
        await bench.ask(R.EMBED_EVENTS, ESCAPE)
        await bench.port.write(b"a")
        draining = asyncio.create_task(bench.port.drain())
        await settle()
        telling = asyncio.create_task(bench.port.report(LineError.FRAMING, 0x62))
        assert await bench.read_all() == b"a" + bytes([ESCAPE, 1, 0x08, 0x62])
        await asyncio.gather(draining, telling)

    run(scenario)


def test_rts_falls_while_a_write_waits_for_the_host_to_read() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.open()
        flow = FlowControl(replace=RtsMode.RECEIVE_FLOW_CONTROL << 6)
        await bench.ask(R.SET_FLOW, data=flow.to_bytes())
        await bench.port.write(b"12345678" * 2)
        assert bench.port.rts
        writing = asyncio.create_task(bench.port.write(b"more"))
        await settle()
        assert not bench.port.rts
        assert bench.port.wants_silence
        assert await bench.read_all() == b"12345678" * 2 + b"more"
        await writing
        assert bench.port.rts

    run(scenario)


def test_what_flow_control_has_held_back_is_gone_with_who_sent_it() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.open()
        await bench.ask(R.SET_XOFF)
        reading = asyncio.create_task(bench.port.read())
        bench.rx.send(b"held")
        await settle()
        bench.rx.send(b"behind it")
        await bench.close()
        assert bench.port._queues().to_device == 0
        await bench.open()
        bench.rx.send(b"fresh")
        assert await reading == b"fresh"

    run(scenario)


def test_what_was_not_held_back_is_on_the_line_already() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.open()
        bench.rx.send(b"sent")
        await bench.close()
        assert await bench.port.read() == b"sent"

    run(scenario)


def test_a_change_wakes_who_waits_for_it() -> None:
    async def scenario(bench: Bench) -> None:
        waiting = asyncio.create_task(bench.port.wait_change())
        await settle()
        await bench.ask(R.SET_BAUDRATE, data=(9600).to_bytes(4, "little"))
        await waiting
        assert bench.port.baudrate == 9600

    run(scenario)


def test_what_is_refused_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(bench: Bench) -> None:
        for _ in range(3):
            with pytest.raises(Stall):
                await bench.ask(R.SET_LINE_CTL, 0x0900)
        with pytest.raises(Stall):
            await bench.ask(R.SET_CHARS, data=b"short")

    run(scenario)
    told = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert [message.split(" is refused")[0] for message in told] == ["Cp210x: SET_LINE_CTL", "Cp210x: SET_CHARS"]


def test_a_host_that_goes_has_closed_the_port() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.open()
        waiting = asyncio.create_task(bench.port.wait_closed())
        await settle()
        bench.port.on_event(EventType.DISABLE)
        await waiting

    run(scenario)
