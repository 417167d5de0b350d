"""What a task steps over, on sockets that keep packets apart: see test_streams.

Each transfer is waited for, since it is in flight until it is reaped.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.util import module_from_spec, spec_from_file_location

import pytest

from gadget.aio import AsyncContext, Context, ReadStream, Wakeup, _aio
from gadget.aio.steps import Steps
from gadget.errors import EndpointBusyError

PATIENCE = 10.0
SIZE = 64


class UncommonError(Exception):
    """How the test's coroutine of an uncommon step ends."""


class Stepping:
    """A reader that is stepped over."""

    def __init__(self, context: Context, file: socket.socket, depth: int) -> None:
        self.wakeup = Wakeup("Echo.rx")
        self.answers = list[int]()  # of the stream, that uncommon steps were told
        self.steps = Steps(self.wakeup, self.uncommon)
        self.reader = ReadStream(context, file.fileno(), depth, SIZE)
        self.reader.on_change = self.wakeup.notify
        self.reader._step_by(self.steps, asyncio.get_running_loop())
        self.reader.start(joined=False)
        self.steps.task = asyncio.current_task()

    async def uncommon(self, answer: int) -> memoryview:
        self.answers.append(answer)
        await asyncio.sleep(0)
        raise UncommonError

    async def close(self, context: AsyncContext) -> None:
        self.reader.stop()
        await context.aclose()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


@asynccontextmanager
async def stepping(
    pair: tuple[socket.socket, socket.socket], *packets: bytes, depth: int = 4
) -> AsyncIterator[Stepping]:
    """A reader that finds these packets, and then empty ones without end."""
    ours, theirs = pair
    for packet in packets:
        theirs.send(packet)
    theirs.close()
    async with asyncio.timeout(PATIENCE), AsyncContext(16) as context:
        made = Stepping(context.context, ours, depth)
        yield made
        await made.close(context)


def numbered(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


@pytest.mark.parametrize("depth", [1, 2, 3, 16])
def test_steps_hand_over_transfers_in_their_order(pair: tuple[socket.socket, socket.socket], depth: int) -> None:
    async def main() -> None:
        seen = list[bytes]()
        async with stepping(pair, *numbered(100), depth=depth) as made:
            async for data in made.steps:
                assert made.steps.lent == len(data)
                assert made.steps.is_whole
                if not data:
                    break
                seen.append(bytes(data))
        assert seen == numbered(100)

    asyncio.run(main())


def test_a_view_outlives_what_has_lent_it(pair: tuple[socket.socket, socket.socket]) -> None:
    async def main() -> memoryview:
        async with stepping(pair, b"data") as made:
            return await anext(made.steps)
        raise AssertionError

    data = asyncio.run(main())
    gc.collect()
    data[:] = b"mine"
    assert bytes(data) == b"mine"


def test_the_step_of_another_task_is_uncommon(pair: tuple[socket.socket, socket.socket]) -> None:
    async def main() -> None:
        async with stepping(pair, *numbered(3)) as made:
            assert bytes(await anext(made.steps)) == b"0"

            async def other() -> memoryview:
                return await anext(made.steps)

            with pytest.raises(UncommonError):
                await asyncio.create_task(other())
            assert bytes(await anext(made.steps)) == b"1"
            made.steps.task = None
            with pytest.raises(UncommonError):
                await anext(made.steps)
            assert made.answers == [0, 0]

    asyncio.run(main())


def test_an_error_is_uncommon_and_told_to_it(pair: tuple[socket.socket, socket.socket]) -> None:
    async def main() -> None:
        async with stepping(pair, *numbered(3)) as made:
            assert bytes(await anext(made.steps)) == b"0"
            made.reader.stop()
            with pytest.raises(UncommonError):
                await anext(made.steps)
            assert made.answers == [-errno.ESHUTDOWN]

    asyncio.run(main())


def test_a_stream_that_goes_while_a_step_waits(pair: tuple[socket.socket, socket.socket]) -> None:
    """With its context, as when a gadget is taken down beside a task that has been left behind."""

    async def main() -> None:
        ours, theirs = pair
        theirs.close()
        context = AsyncContext(16)
        made = Stepping(context.context, ours, 4)

        async def step() -> memoryview:
            made.steps.task = asyncio.current_task()
            return await anext(made.steps)

        task = asyncio.create_task(step())
        await asyncio.sleep(0)
        assert made.wakeup.waiting
        made.reader.on_change = lambda: None  # it is not told
        await made.close(context)
        made.wakeup.notify()
        with pytest.raises(UncommonError):
            await task
        with pytest.raises(UncommonError):
            await anext(made.steps)
        assert made.answers == [0, 0]

    asyncio.run(main())


def test_a_step_that_is_cancelled_has_taken_nothing(pair: tuple[socket.socket, socket.socket]) -> None:
    async def main() -> None:
        async with stepping(pair, *numbered(20), depth=2) as made:
            seen = list[bytes]()
            while len(seen) < 20:

                async def step() -> bytes:
                    made.steps.task = asyncio.current_task()
                    return bytes(await anext(made.steps))

                task = asyncio.create_task(step())
                await asyncio.sleep(0)
                if made.wakeup.waiting:
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task
                    assert not made.wakeup.waiting
                    await asyncio.sleep(0.01)
                    task = asyncio.create_task(step())
                seen.append(await task)
            assert seen == numbered(20)

    asyncio.run(main())


def test_an_uncommon_step_is_cancelled_closed_and_thrown_into(pair: tuple[socket.socket, socket.socket]) -> None:
    async def main() -> None:
        async with stepping(pair) as made:
            told = list[BaseException]()

            async def uncommon(answer: int) -> memoryview:
                try:
                    await asyncio.sleep(PATIENCE)
                except BaseException as error:
                    told.append(error)
                    raise
                raise AssertionError(answer)

            steps = Steps(made.wakeup, uncommon)

            async def step() -> memoryview:
                return await anext(steps)

            for end in ("cancel", "close"):
                task = asyncio.create_task(step())
                await asyncio.sleep(0)
                if end == "cancel":
                    task.cancel("why")
                    with pytest.raises(asyncio.CancelledError, match="why"):
                        await task
                else:
                    coroutine = task.get_coro()
                    assert coroutine is not None
                    coroutine.close()
                    task.cancel()
            assert [type(error) for error in told] == [asyncio.CancelledError, GeneratorExit]

    asyncio.run(main())


def test_a_step_is_awaited_once(pair: tuple[socket.socket, socket.socket]) -> None:
    async def main() -> None:
        async with stepping(pair, *numbered(3)) as made:
            step = anext(made.steps)
            assert bytes(await step) == b"0"
            with pytest.raises(RuntimeError, match="already awaited"):
                await step

    asyncio.run(main())


def test_a_step_that_waits_is_not_taken_over_by_a_second_task(pair: tuple[socket.socket, socket.socket]) -> None:
    async def main() -> None:
        async with stepping(pair, *numbered(3)) as made:
            step = aiter(made.steps).__anext__()

            async def take() -> bytes:
                made.steps.task = asyncio.current_task()
                return bytes(await step)

            first = asyncio.create_task(take())
            await asyncio.sleep(0)
            assert made.wakeup.waiting
            with pytest.raises(RuntimeError, match="being awaited"):
                await take()
            assert await first == b"0"

    asyncio.run(main())


def test_what_is_thrown_into_a_step_that_waits_ends_it(pair: tuple[socket.socket, socket.socket]) -> None:
    async def main() -> None:
        async with stepping(pair, *numbered(3)) as made:
            for thrown in ((ValueError("bad"),), (ValueError,), (ValueError, "bad")):
                step = aiter(made.steps).__anext__().__await__()
                assert next(step) is made.wakeup
                assert made.wakeup.waiting
                with pytest.raises(ValueError):
                    step.throw(*thrown)
                assert not made.wakeup.waiting
                with pytest.raises(RuntimeError, match="already awaited"):
                    next(step)
            step = aiter(made.steps).__anext__().__await__()
            with pytest.raises(TypeError, match="has to be an exception"):
                step.throw(5)  # type: ignore[call-overload] # that is what is tested
            assert bytes(await anext(made.steps)) == b"0"

    asyncio.run(main())


def test_a_second_task_does_not_disturb_the_one_that_waits(pair: tuple[socket.socket, socket.socket]) -> None:
    async def main() -> None:
        async with stepping(pair, *numbered(3)) as made:
            first = aiter(made.steps).__anext__().__await__()
            assert next(first) is made.wakeup
            with pytest.raises(EndpointBusyError, match=r"Echo\.rx: another task"):
                await anext(made.steps)
            assert made.wakeup.waiting
            first.close()
            assert not made.wakeup.waiting

    asyncio.run(main())


def test_a_stream_that_goes_late_does_not_end_the_steps_of_the_next(pair: tuple[socket.socket, socket.socket]) -> None:
    """What a controller does not give back outlives its gadget, which may be served anew meanwhile."""

    async def main() -> None:
        pair[1].close()
        old, new = AsyncContext(16), AsyncContext(16)
        made = Stepping(old.context, pair[0], 4)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            theirs.send(b"new")
            theirs.close()
            reader = ReadStream(new.context, ours.fileno(), 1, SIZE)
            reader.on_change = made.wakeup.notify
            reader._step_by(made.steps, asyncio.get_running_loop())
            made.steps.task = asyncio.current_task()
            reader.start()
            await made.close(old)
            assert bytes(await anext(made.steps)) == b"new"
            reader.stop()
            await new.aclose()
        with pytest.raises(UncommonError):
            await anext(made.steps)
        assert made.answers == [0]

    asyncio.run(main())


def test_another_interpreter_that_loads_the_types_does_not_disturb_this_one() -> None:
    """Each has its own; here, of one interpreter, as importlib.reload makes them."""

    async def uncommon(answer: int) -> memoryview:
        raise AssertionError(answer)

    async def main() -> None:
        wakeup = Wakeup("Echo.rx")
        spec = spec_from_file_location("gadget.aio._steps", _aio.__file__)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        with pytest.raises(TypeError):
            Steps(module.Wakeup("Echo.rx"), uncommon)
        asyncio.get_running_loop().call_soon(wakeup.notify)
        await wakeup
        del module
        gc.collect()
        asyncio.get_running_loop().call_soon(wakeup.notify)
        await wakeup

    asyncio.run(main())


def test_what_is_no_wakeup_or_stream_is_refused() -> None:
    async def uncommon(answer: int) -> memoryview:
        raise AssertionError(answer)

    with pytest.raises(TypeError):
        Steps("a wakeup", uncommon)  # type: ignore[arg-type] # that is what is tested
    steps = Steps(Wakeup("Echo.rx"), uncommon)
    loop = asyncio.new_event_loop()
    loop.close()
    with pytest.raises(TypeError):
        steps.open("a stream", [], loop)  # type: ignore[arg-type] # that is what is tested
    with pytest.raises(TypeError):
        steps.open(1, "places", loop)  # type: ignore[arg-type] # that is what is tested


def test_steps_keep_no_reference_that_they_do_not_need(pair: tuple[socket.socket, socket.socket]) -> None:
    async def main() -> None:
        async with stepping(pair, depth=2) as made:
            made.steps.task = asyncio.current_task()

            async def other() -> None:
                await anext(made.steps)

            async def each_way() -> None:
                await anext(made.steps)
                task = asyncio.create_task(other())
                with pytest.raises(UncommonError):
                    await task
                waiting = asyncio.create_task(wait_for(made.wakeup))
                await asyncio.sleep(0)
                waiting.cancel()
                await asyncio.wait([waiting])

            def counts() -> list[int]:
                gc.collect()
                held = (made.wakeup, made.steps, asyncio.current_task(), made.reader._places)
                return [sys.getrefcount(each) for each in held]

            await each_way()
            before = counts()
            for _ in range(100):
                await each_way()
            assert counts() == before

    asyncio.run(main())


async def wait_for(wakeup: Wakeup) -> None:
    await wakeup
