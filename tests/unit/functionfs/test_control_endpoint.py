"""ep0 with a FIFO in its place, whose writer keeps packets apart; its eventfd is rung by hand."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import struct
import termios
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

import pytest

from gadget.errors import Stall
from gadget.functionfs import control_requests
from gadget.functionfs.control_endpoint import ControlEndpoint
from gadget.functionfs.handlers import Request
from gadget.protocol.constants import Direction, EventType, Recipient, RequestType
from gadget.protocol.functionfs_format import Setup

PATIENCE = 10.0


def event(request_type: int, request: int, length: int) -> bytes:
    return struct.pack("<BBHHHB3x", request_type, request, 0, 0, length, EventType.SETUP)


class Life:
    """Whom the other events concern: here are none."""

    def foresee(self, event: EventType) -> None:
        raise AssertionError(event)

    async def report(self, event: EventType) -> None:
        raise AssertionError(event)

    def resume(self) -> None:
        """No transfer was held back."""


class Device:
    """Requests 1 (in) and 2 (out), whose handlers tell what they have seen."""

    endpoint: ControlEndpoint
    fd: int

    def __init__(self, folder: Path) -> None:
        os.mkfifo(folder / "ep0")
        self.folder = folder
        self.seen: list[object] = []
        self.go_on = asyncio.Event()

    async def answer(self, setup: Setup) -> bytes:
        self.seen.append("asked")
        return b"answered"

    async def late(self, setup: Setup) -> bytes:
        await self.go_on.wait()
        return b"answered late"

    async def refuse(self, setup: Setup) -> bytes:
        raise Stall

    async def take(self, setup: Setup, data: memoryview) -> None:
        self.seen.append(bytes(data))

    async def ponder(self, setup: Setup, data: memoryview) -> None:
        await self.go_on.wait()
        self.seen.append(bytes(data))

    def ring(self, *packets: bytes) -> None:
        for packet in packets:
            os.write(self.fd, packet)
        os.eventfd_write(self.endpoint.eventfd, 1)

    async def has_read(self) -> None:
        """All that was sent to it, by whichever thread."""
        async with asyncio.timeout(PATIENCE):
            while struct.unpack("i", fcntl.ioctl(self.fd, termios.FIONREAD, bytes(4))) != (0,):
                await asyncio.sleep(0)

    async def said(self) -> bytes:
        """What was written to ep0, when what is for it has been read."""
        await turns()
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    return os.read(self.fd, 64)
                except BlockingIOError:
                    await asyncio.sleep(0)


async def turns(count: int = 20) -> None:
    """Lets the loop do whatever it can do."""
    for _ in range(count):
        await asyncio.sleep(0)


def play(
    folder: Path,
    names: Iterable[str],
    scene: Callable[[Device], Coroutine[Any, Any, None]],
) -> Device:
    async def main() -> Device:
        device = Device(folder)
        handlers = {}
        for name in names:
            direction, number = (Direction.OUT, 2) if name in ("take", "ponder") else (Direction.IN, 1)
            handlers[Request(direction, RequestType.VENDOR, Recipient.INTERFACE, number)] = getattr(device, name)
        device.endpoint = endpoint = ControlEndpoint(folder, handlers)
        device.fd = os.open(folder / "ep0", os.O_RDWR | os.O_NONBLOCK)
        fcntl.fcntl(device.fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_DIRECT)  # fs/pipe.c: packets, from this writer
        serving = asyncio.create_task(endpoint.serve(Life()))
        await turns()
        try:
            await scene(device)
            assert not serving.done()
        finally:
            serving.cancel()
            await asyncio.wait({serving})
            await endpoint.close()
            os.close(device.fd)
        return device

    return asyncio.run(main())


def test_a_request_is_answered(tmp_path: Path) -> None:
    async def scene(device: Device) -> None:
        for _ in range(3):
            device.ring(event(0xC1, 1, 64))
            assert await device.said() == b"answered"
        device.ring(event(0xC1, 1, 3))
        assert await device.said() == b"ans", "the host takes no more"

    play(tmp_path, ["answer"], scene)


@pytest.mark.parametrize("name", ["answer", "late", "refuse", "take", "ponder"])
def test_each_request_is_told_once_to_who_listens(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    """Whichever way it goes: as gadget run -vv says it does."""
    caplog.set_level(logging.DEBUG, "gadget")
    is_in = name not in ("take", "ponder")

    async def scene(device: Device) -> None:
        device.go_on.set()
        device.ring(event(0xC1, 1, 8) if is_in else event(0x41, 2, 4), *([] if is_in else [b"data"]))
        await turns()

    play(tmp_path, [name], scene)
    told = [message for message in caplog.messages if message.startswith("control request: ")]
    assert told == [f"control request: {Setup(0xC1, 1, 0, 0, 8) if is_in else Setup(0x41, 2, 0, 0, 4)}"]


def test_requests_that_come_together_are_told_as_well(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "gadget")

    async def scene(device: Device) -> None:
        device.ring(event(0xC1, 1, 8) + event(0xC1, 1, 8))
        await turns()

    play(tmp_path, ["answer"], scene)
    assert "control request: " in caplog.text


def test_one_that_waits_is_answered_when_it_knows(tmp_path: Path) -> None:
    async def scene(device: Device) -> None:
        device.ring(event(0xC1, 1, 64))
        await turns()
        with pytest.raises(BlockingIOError):
            os.read(device.fd, 64)
        device.go_on.set()
        assert await device.said() == b"answered late"

    play(tmp_path, ["late"], scene)


def test_the_data_of_the_host_is_handed_over(tmp_path: Path) -> None:
    async def scene(device: Device) -> None:
        device.ring(event(0x41, 2, 4), b"data")
        await turns()
        assert device.seen == [b"data"]

    play(tmp_path, ["take"], scene)


@pytest.mark.parametrize("length", [4, 400])
def test_data_that_is_cut_short_is_nobodys(tmp_path: Path, length: int) -> None:
    """Not all of it, be it awaited at once or by the thread: half a message would be taken for a message."""

    async def scene(device: Device) -> None:
        device.ring(event(0x41, 2, length), b"dat")
        await device.has_read()
        device.ring(event(0xC1, 1, 64))
        assert await device.said() == b"answered"
        assert device.seen == ["asked"]

    play(tmp_path, ["take", "answer"], scene)


def test_a_request_waits_for_the_handler_before_it(tmp_path: Path) -> None:
    """Its data is acknowledged, so that the kernel has the next request already."""

    async def scene(device: Device) -> None:
        device.ring(event(0x41, 2, 4), b"data")
        await turns()
        device.ring(event(0xC1, 1, 64))
        await turns()
        assert device.seen == []
        device.go_on.set()
        assert await device.said() == b"answered"
        assert device.seen == [b"data", "asked"]

    play(tmp_path, ["ponder", "answer"], scene)


def test_two_rings_for_one_request_are_no_news(tmp_path: Path) -> None:
    """The kernel had replaced an earlier one by it; transfers are not held up while it is decided."""

    async def scene(device: Device) -> None:
        os.eventfd_write(device.endpoint.eventfd, 1)
        device.ring(event(0xC1, 1, 64))
        await turns()
        assert not device.endpoint.gate.closed
        device.go_on.set()
        assert await device.said() == b"answered late"

    play(tmp_path, ["late"], scene)


def test_of_a_request_without_data_nobody_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two rings, one may be for a request that has come since, so that nobody waits for this one's answer."""
    monkeypatch.setattr(control_requests, "IN_DOUBT", 0.01)

    async def scene(device: Device) -> None:
        os.eventfd_write(device.endpoint.eventfd, 1)
        device.ring(event(0x41, 2, 0))
        async with asyncio.timeout(PATIENCE):
            while device.endpoint.gate.closed:
                await asyncio.sleep(0)
        device.ring(event(0xC1, 1, 64))
        assert await device.said() == b"answered"
        assert device.seen == ["asked"]

    play(tmp_path, ["ponder", "answer"], scene)


def test_a_refusal_harms_no_other_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scene(device: Device) -> None:
        device.ring(event(0xC1, 1, 64))  # refused
        device.ring(event(0x41, 9, 0))  # nobody's
        await turns()
        device.ring(event(0x41, 2, 4), b"data")
        await turns()
        assert device.seen == [b"data"]

    play(tmp_path, ["refuse", "take"], scene)
    assert "unhandled request, stalled" in caplog.text


def test_several_at_once_are_served_in_their_order(tmp_path: Path) -> None:
    """The kernel keeps one request, and what it read before is gone: but a read may bring more than one event."""

    async def scene(device: Device) -> None:
        os.write(device.fd, event(0x41, 2, 0) + event(0xC1, 1, 64))
        os.eventfd_write(device.endpoint.eventfd, 2)
        assert await device.said() == b"answered"

    device = play(tmp_path, ["take", "answer"], scene)
    assert device.seen == [b"", "asked"]
