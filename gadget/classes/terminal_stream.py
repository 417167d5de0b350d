"""A terminal as a stream in an event loop: opened anew when its host is back."""

from __future__ import annotations

import asyncio
import os
import select
from contextlib import suppress
from pathlib import Path
from typing import Self

from gadget.classes.byte_stream import ByteStream
from gadget.classes.terminal import Terminal
from gadget.errors import ClosedError, DisconnectedError

_EDGES = select.EPOLLIN | select.EPOLLOUT | select.EPOLLET


class TerminalStream(ByteStream):
    """What comes from the host, and what goes there, through a terminal of the kernel's."""

    _terminal: Terminal | None = None
    _edges: select.epoll | None = None
    _watched = False
    _waiting: set[asyncio.Future[None]]
    _reopening: asyncio.Lock

    def __new__(cls, *arguments: object, **keywords: object) -> Self:
        """Beside what the base class has."""
        self = super().__new__(cls)
        self._waiting = set()
        return self

    def open(self, path: Path, fd: int | None = None) -> None:
        """Opens the terminal.

        Args:
            path: Its node.
            fd: A file that is open already, to be used in its place: the other end of a pseudo-terminal, say. It is
                closed with the stream.

        Raises:
            KernelError: It cannot be opened.
        """
        # Not in __new__: a gadget may be served again in another event loop, and a lock that was waited for is of one.
        self._reopening = asyncio.Lock()
        self._terminal = Terminal(path, fd)
        self._edges = select.epoll()
        self._edges.register(self._terminal.fd, _EDGES)
        self._forget()

    def close(self) -> None:
        """Closes it. Idempotent."""
        if self._edges is not None:
            if self._watched:
                asyncio.get_running_loop().remove_reader(self._edges.fileno())
            self._watched = False
            self._edges.close()
            self._edges = None
        if self._terminal is not None:
            self._terminal.close()
            self._terminal = None
        self._ring()

    async def send_break(self, seconds: float = 0.25) -> None:
        """A break, for the host to see.

        Raises:
            DisconnectedError: The host has gone.
        """
        terminal = self._current()
        terminal.set_break(True)
        try:
            await asyncio.sleep(seconds)
        finally:
            with suppress(DisconnectedError, ClosedError):
                terminal.set_break(False)

    @property
    def is_connected(self) -> bool:
        """Whether the host has configured the device, as far as the kernel shows it: a port that is full looks gone."""
        return self._terminal is not None and self._terminal.is_connected

    async def wait_host(self) -> None:
        """Waits until the host has configured the device; after it has gone, until it is back."""
        while True:
            if self._current().is_hung_up:
                await self._reopen()
            if self._current().is_connected:
                return
            await self._edge()

    async def wait_gone(self) -> None:
        """Waits until the host that is there has gone."""
        terminal = self._current()
        while terminal is self._terminal and not terminal.is_hung_up:
            await self._edge()

    async def _reopen(self) -> None:
        async with self._reopening:
            # Another task may have done it meanwhile.
            if self._current().is_hung_up:
                await self._open_again()

    async def _open_again(self) -> None:
        old, edges = self._current(), self._edges
        assert edges is not None
        fd, path = old.detach(), old.path
        edges.unregister(fd)
        # A host that is back already, and does not read, would keep the close waiting.
        await asyncio.to_thread(os.close, fd)
        if self._terminal is not old:
            raise ClosedError(f"{path} was closed meanwhile")
        self._terminal = Terminal(path)
        edges.register(self._terminal.fd, _EDGES)
        self._forget()

    def _current(self) -> Terminal:
        if self._terminal is None:
            raise ClosedError("this port is in no gadget that is up")
        return self._terminal

    # ---- waiting: one epoll, which tells of every change once, and of the hang-up among them -------------------------

    async def _edge(self) -> None:
        loop = asyncio.get_running_loop()
        if not self._watched and self._edges is not None:
            loop.add_reader(self._edges.fileno(), self._ring)
            self._watched = True
        waiting: asyncio.Future[None] = loop.create_future()
        self._waiting.add(waiting)
        try:
            await waiting
        finally:
            self._waiting.discard(waiting)

    def _ring(self) -> None:
        if self._edges is not None:
            self._edges.poll(0)
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    # ---- data --------------------------------------------------------------------------------------------------------

    async def _receive(self) -> bytes:
        terminal = self._current()
        while not (data := terminal.read()):
            await self._edge()
        return data

    async def _send(self, data: memoryview) -> None:
        terminal = self._current()
        while data:
            written = terminal.write(data)
            data = data[written:]
            if data and not written:
                await self._edge()

    async def _sent(self) -> None:
        terminal = self._current()
        while terminal.unsent:
            await self._edge()
