"""The life of a function without endpoints, which needs no kernel; tests/usb has those with endpoints."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import pytest

from gadget import ClosedError, EventType, Function, GadgetError, LinkState
from gadget.aio import AsyncContext
from gadget.functionfs.composite import Composite
from gadget.functionfs.generations import Generations
from gadget.serving import watched

BIND, UNBIND, ENABLE, DISABLE = EventType.BIND, EventType.UNBIND, EventType.ENABLE, EventType.DISABLE


class Slow(Function):
    """Takes its time to end, until it is allowed to."""

    def __init__(self) -> None:
        self.events: list[EventType] = []
        self.running = asyncio.Event()
        self.allowed = asyncio.Event()

    async def run(self) -> None:
        self.running.set()
        try:
            await asyncio.Event().wait()
        finally:
            await self.allowed.wait()

    def on_event(self, event: EventType) -> None:
        self.events.append(event)


@contextlib.asynccontextmanager
async def life(function: Function) -> AsyncIterator[Generations]:
    async with AsyncContext(1) as context:
        yield Generations(function, [], Composite(context))


@pytest.mark.parametrize("event", [UNBIND, DISABLE, ENABLE])
def test_events_that_a_teardown_cut_short_are_told_all_the_same(event: EventType) -> None:
    async def main() -> None:
        function = Slow()
        async with life(function) as generations:
            await generations.report(ENABLE)
            await function.running.wait()
            reporting = asyncio.create_task(generations.report(event))
            await asyncio.sleep(0.01)
            assert function.events == [BIND, ENABLE]
            reporting.cancel()
            await asyncio.wait({reporting})
            function.allowed.set()
            await generations.close()
        assert function.events == [BIND, ENABLE, DISABLE, UNBIND]
        assert function.link is LinkState.UNBOUND

    asyncio.run(main())


def test_who_waits_for_the_link_is_told_of_the_end() -> None:
    async def main() -> None:
        function = Slow()
        function.allowed.set()
        async with life(function) as generations:
            waiting = asyncio.create_task(function.wait_link(LinkState.SUSPENDED))
            await generations.report(ENABLE)
            await generations.close()
            with pytest.raises(ClosedError, match="Slow is not being served any more"):
                await waiting

    asyncio.run(main())


class Failing(Function):
    """Fails when it is told the event."""

    def __init__(self, event: EventType) -> None:
        self.event = event

    def on_event(self, event: EventType) -> None:
        if event is self.event:
            raise ZeroDivisionError(event.name)


def test_a_failure_at_the_teardown_comes_out() -> None:
    async def main() -> None:
        async with life(Failing(UNBIND)) as generations, contextlib.AsyncExitStack() as stack:
            stack.push(generations.settle)
            stack.push_async_callback(generations.close)
            async with watched([generations.failed]):
                await generations.report(ENABLE)

    with pytest.raises(ZeroDivisionError, match="UNBIND"):
        asyncio.run(main())


def test_a_failure_beside_another_error_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with life(Failing(UNBIND)) as generations, contextlib.AsyncExitStack() as stack:
            stack.push(generations.settle)
            stack.push_async_callback(generations.close)
            await generations.report(ENABLE)
            raise LookupError("the body's own")

    with caplog.at_level(logging.ERROR), pytest.raises(LookupError, match="the body's own"):
        asyncio.run(main())
    assert "Failing failed, too" in caplog.text


def test_a_failure_ends_the_body_once_and_bare_and_keeps_its_cause() -> None:
    """Also where the body itself has been told of it."""

    class Wrong(Function):
        async def run(self) -> None:
            raise ValueError("of run") from KeyError("the cause")

    async def main() -> None:
        async with life(Wrong()) as generations:
            try:
                async with watched([generations.failed]):
                    await generations.report(ENABLE)
                    await asyncio.sleep(0)
                    generations.check()
                    await asyncio.Event().wait()
            finally:
                await generations.close()

    with pytest.raises(ValueError, match="of run") as caught:
        asyncio.run(main())
    assert isinstance(caught.value.__cause__, KeyError)


class Confused(Function):
    """Ends with a cancellation that nobody has asked for: it awaits a task that something else has cancelled."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    async def run(self) -> None:
        raise self.error


def test_a_cancellation_that_nobody_asked_for_is_a_failure() -> None:
    async def main() -> None:
        error = asyncio.CancelledError()
        async with life(Confused(error)) as generations:
            await generations.report(ENABLE)
            with pytest.raises(GadgetError, match=r"Confused\.run ended with CancelledError") as caught:
                await generations.failed()
            assert caught.value.__cause__ is error
            await generations.close()

    asyncio.run(main())
