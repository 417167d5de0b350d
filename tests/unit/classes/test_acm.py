"""A program beside a terminal, which here is a pseudo-terminal in the place of the kernel's."""

from __future__ import annotations

import asyncio
import os
import pty
import tty
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gadget.classes.acm import AcmPort, GserPort
from gadget.errors import ClosedError, DisconnectedError, GadgetError, KernelError
from gadget.kernel_functions import Acm
from gadget.kernel_functions.kernel_function import Place


class Echo(AcmPort):
    """Lines come back, and one of them is too much."""

    ended = False

    async def run(self) -> None:
        try:
            async for line in self.reader:
                if line == b"fail\n":
                    raise ZeroDivisionError
                await self.writer.write(line)
        finally:
            self.ended = True


@pytest.fixture
def ends() -> Iterator[list[int]]:
    ends = [*pty.openpty()]
    yield ends
    for fd in ends:
        os.close(fd)


@pytest.fixture
def place(ends: list[int]) -> Place:
    path = Path(os.ttyname(ends[1]))
    return cast(Place, SimpleNamespace(terminal=lambda: path))


async def attended(port: AcmPort, place: Place, body: Any) -> None:
    port.placed(place)
    attending = asyncio.ensure_future(port.attend())
    try:
        async with asyncio.timeout(30):
            await body(attending)
    finally:
        attending.cancel()
        await asyncio.wait({attending})
        port.placed(None)


def test_it_is_a_function_of_the_kernel_like_any_other() -> None:
    assert AcmPort(instance="one", attributes={"x": 1}) == AcmPort(instance="one", attributes={"x": 1})
    assert (AcmPort().family, GserPort().family) == (Acm().family, "gser")
    assert AcmPort().reader is not AcmPort().reader


def test_the_program_runs_while_the_host_is_there(place: Place, ends: list[int]) -> None:
    port = Echo()

    async def use(attending: asyncio.Future[None]) -> None:
        os.write(ends[0], b"to and fro\n")
        assert await asyncio.to_thread(os.read, ends[0], 100) == b"to and fro\n"
        assert port.is_placed
        for fd in ends:
            os.close(fd)
        ends.clear()
        # A pseudo-terminal does not come back; the kernel's does.
        with pytest.raises(KernelError, match="cannot open"):
            await attending
        assert port.ended

    asyncio.run(attended(port, place, use))
    with pytest.raises(ClosedError):
        asyncio.run(port.reader.read())


def test_a_host_that_comes_back_finds_the_program_started_anew(tmp_path: Path) -> None:
    class Counted(Echo):
        """Two of its tasks wait for the host, and learn that it has gone."""

        runs = 0

        async def run(self) -> None:
            self.runs += 1
            async with asyncio.TaskGroup() as group:
                group.create_task(super().run())
                group.create_task(self.tell())

        async def tell(self) -> None:
            await self.stream.wait_gone()
            raise DisconnectedError("told")

    link, port = tmp_path / "terminal", Counted()
    first, second = pty.openpty(), pty.openpty()
    link.symlink_to(os.ttyname(first[1]))
    tty.setraw(second[1])  # A terminal of the kernel's keeps that from one time to the next (tty_save_termios).

    async def use(attending: asyncio.Future[None]) -> None:
        os.write(first[0], b"one\nhalf a li")
        assert await asyncio.to_thread(os.read, first[0], 100) == b"one\n"
        link.unlink()
        link.symlink_to(os.ttyname(second[1]))
        for fd in first:
            os.close(fd)
        os.write(second[0], b"two\n")
        assert await asyncio.to_thread(os.read, second[0], 100) == b"two\n"
        assert port.runs == 2

    asyncio.run(attended(port, cast(Place, SimpleNamespace(terminal=lambda: link)), use))
    for fd in second:
        os.close(fd)


def test_two_that_wait_for_the_host_reopen_once(tmp_path: Path) -> None:
    link, stream = tmp_path / "terminal", AcmPort().stream
    first, second = pty.openpty(), pty.openpty()
    link.symlink_to(os.ttyname(first[1]))

    async def use() -> None:
        stream.open(link)
        link.unlink()
        link.symlink_to(os.ttyname(second[1]))
        for fd in first:
            os.close(fd)
        await asyncio.gather(stream.wait_gone(), stream.wait_host(), stream.wait_host())
        await stream.write(b"back")
        assert os.read(second[0], 4) == b"back"
        stream.close()

    asyncio.run(asyncio.wait_for(use(), 30))
    for fd in second:
        os.close(fd)


def test_its_failure_comes_out_at_once(place: Place, ends: list[int]) -> None:
    async def use(attending: asyncio.Future[None]) -> None:
        os.write(ends[0], b"fail\n")
        with pytest.raises(ZeroDivisionError):
            await attending

    asyncio.run(attended(Echo(), place, use))


def test_a_cancellation_that_nobody_asked_for_is_a_failure(place: Place) -> None:
    class Waits(AcmPort):
        async def run(self) -> None:
            helper = asyncio.ensure_future(asyncio.Event().wait())
            asyncio.get_running_loop().call_soon(helper.cancel)
            await helper

    async def use(attending: asyncio.Future[None]) -> None:
        with pytest.raises(GadgetError, match=r"Waits\.run ended with CancelledError, and it was not cancelled"):
            await attending

    asyncio.run(attended(Waits(), place, use))


def test_it_ends_with_the_gadget(place: Place) -> None:
    port = Echo()

    async def use(attending: asyncio.Future[None]) -> None:
        await asyncio.sleep(0.01)
        attending.cancel()
        await asyncio.wait({attending})
        assert port.ended

    asyncio.run(attended(port, place, use))


def test_a_terminal_that_cannot_be_opened_leaves_it_where_it_was() -> None:
    port = AcmPort()
    with pytest.raises(KernelError, match="cannot open /dev/none"):
        port.placed(cast(Place, SimpleNamespace(terminal=lambda: Path("/dev/none"))))
    assert not port.is_placed
