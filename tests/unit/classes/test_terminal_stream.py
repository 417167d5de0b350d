"""The stream on a terminal, with a pseudo-terminal in the place of the kernel's serial function."""

from __future__ import annotations

import asyncio
import os
import pty
import select
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from gadget.classes.terminal import Terminal, TerminalFile
from gadget.classes.terminal_stream import TerminalStream
from gadget.errors import (
    ClosedError,
    DisconnectedError,
    EndpointBusyError,
    GadgetError,
    HostNotReadingError,
    KernelError,
    MessageTooLongError,
)

EVERY_BYTE = bytes(range(256))


class Host:
    """The other end."""

    def __init__(self) -> None:
        self.fd, self._other = pty.openpty()
        self.path = Path(os.ttyname(self._other))

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            assert select.select([self.fd], [], [], 30)[0], data
            data += os.read(self.fd, size - len(data))
        return data

    def write(self, data: bytes) -> None:
        os.write(self.fd, data)

    def leave(self) -> None:
        for fd in (self.fd, self._other):
            if fd >= 0:
                os.close(fd)
        self.fd = self._other = -1


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.leave()


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 30))


@pytest.fixture
def stream(host: Host) -> Iterator[TerminalStream]:
    stream = TerminalStream()
    stream.open(host.path)
    yield stream
    stream._watched = False  # Its loop is gone by now.
    stream.close()


def test_every_byte_passes_as_it_is(host: Host, stream: TerminalStream) -> None:
    async def pass_on() -> None:
        host.write(EVERY_BYTE)
        assert await stream.readexactly(256) == EVERY_BYTE
        await stream.write(EVERY_BYTE)
        assert host.read(256) == EVERY_BYTE

    run(pass_on())


def test_reads_are_those_of_asyncio(host: Host, stream: TerminalStream) -> None:
    async def read() -> None:
        host.write(b"one\ntwo\nthree;rest")
        assert await stream.readline() == b"one\n"
        assert await anext(stream) == b"two\n"
        assert await stream.readuntil(b";") == b"three;"
        assert await stream.readexactly(2) == b"re"
        assert await stream.read(1) == b"s"
        assert await stream.read() == b"t"
        assert await stream.read(0) == b""

    run(read())


def test_cancelling_a_read_loses_nothing(host: Host, stream: TerminalStream) -> None:
    async def cancel() -> None:
        host.write(b"half a ")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await stream.readline()
        host.write(b"line\n")
        assert await stream.readline() == b"half a line\n"

    run(cancel())


def test_a_line_has_a_limit(host: Host, stream: TerminalStream) -> None:
    async def read() -> None:
        stream.limit = 100
        host.write(bytes(200))
        with pytest.raises(MessageTooLongError, match="within 100 bytes"):
            await stream.readline()
        host.write(b"fine\n")
        assert (await stream.readline()).endswith(b"fine\n")

    run(read())


def test_a_write_that_nobody_takes_ends_in_time(stream: TerminalStream) -> None:
    async def write() -> None:
        with pytest.raises(HostNotReadingError, match=r"within 0\.05 s"):
            await stream.write(bytes(1 << 20), timeout=0.05)
        stream.write_timeout = 0.05
        with pytest.raises(TimeoutError):
            await stream.write(bytes(1 << 20))

    run(write())


def test_one_task_in_each_direction(stream: TerminalStream) -> None:
    async def use() -> None:
        reading = asyncio.ensure_future(stream.read())
        await asyncio.sleep(0)
        with pytest.raises(EndpointBusyError):
            await stream.read()
        reading.cancel()
        await asyncio.wait({reading})

    run(use())


def test_a_host_that_goes_ends_what_waits(host: Host, stream: TerminalStream) -> None:
    async def leave() -> None:
        assert stream.is_connected
        gone = asyncio.ensure_future(stream.wait_gone())
        reading = asyncio.ensure_future(stream.read())
        writing = asyncio.ensure_future(stream.write(bytes(1 << 20)))
        await asyncio.sleep(0)
        host.leave()
        await gone
        for waiting in (reading, writing):
            with pytest.raises(DisconnectedError, match="the host has gone"):
                await waiting
        assert not stream.is_connected

    run(leave())


def test_what_is_closed_says_so() -> None:
    async def use() -> None:
        stream = TerminalStream()
        assert not stream.is_connected
        with pytest.raises(ClosedError):
            await stream.read()
        with pytest.raises(ClosedError):
            await stream.wait_host()
        stream.close()

    run(use())


def test_a_terminal_that_is_not_there() -> None:
    with pytest.raises(KernelError, match="cannot open /dev/none"):
        Terminal(Path("/dev/none"))


def test_a_plain_file(host: Host) -> None:
    with TerminalFile(host.path, timeout=0.05) as file:
        assert file.is_connected
        file.wait_host()
        file.write(EVERY_BYTE)
        assert host.read(256) == EVERY_BYTE
        host.write(b"back")
        assert file.read() == b"back"
        assert file.read() == b""
        with pytest.raises(HostNotReadingError, match="bytes within"):
            file.write(bytes(1 << 20))
        host.leave()
        for use in (file.read, lambda: file.write(b"x")):
            with pytest.raises(DisconnectedError):
                use()
    with pytest.raises(GadgetError, match="was closed"):
        file.read()
