"""A gadget as a program: up until it is told to end, and gone in order then."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager


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
