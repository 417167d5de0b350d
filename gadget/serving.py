"""A gadget as a program: up until it is told to end, and gone in order then."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any


async def serve_until_signalled(up: AbstractAsyncContextManager[object], begun: Callable[[], Awaitable[None]]) -> None:
    """Stays in the scope until SIGINT or SIGTERM. A second SIGINT gives up waiting for the scope to end.

    Args:
        up: The scope.
        begun: Started inside it, and cancelled at its end. What it raises ends the scope.
    """
    with _stopped_by_signals() as stop:
        async with up:
            beginning, stopped = asyncio.ensure_future(begun()), asyncio.ensure_future(stop.wait())
            try:
                await asyncio.wait({beginning, stopped}, return_when=asyncio.FIRST_COMPLETED)
                if not stopped.done():
                    beginning.result()
                    await stopped
            finally:
                beginning.cancel()
                stopped.cancel()
                await asyncio.gather(beginning, stopped, return_exceptions=True)


@contextmanager
def _stopped_by_signals() -> Iterator[asyncio.Event]:
    """Before anything is made, so that nothing can be left behind."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_signal(number: int) -> None:
        if stop.is_set() and number == signal.SIGINT:
            loop.remove_signal_handler(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        stop.set()

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield stop
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


@asynccontextmanager
async def watched(watches: Sequence[Callable[[], Coroutine[Any, Any, None]]]) -> AsyncIterator[None]:
    """A function's failure cancels the body and is raised bare, as if the body had raised it.

    Args:
        watches: Each runs beside the body, and is cancelled at its end; what it raises is a failure.
    """
    try:
        async with asyncio.TaskGroup() as group:
            watchers = [group.create_task(each()) for each in watches]
            try:
                yield
            finally:
                for watcher in watchers:
                    watcher.cancel()
        return
    except BaseExceptionGroup as errors:
        # The body may have been told of the failure as well, and have raised the same object.
        if len(set(map(id, errors.exceptions))) != 1:
            raise
        only = errors.exceptions[0]
    raise only  # outside of the clause, so that it keeps the cause that it has, and gets no context
