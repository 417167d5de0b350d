from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gadget.serving import serve_until_signalled


class Scope:
    """Notes that it was entered and left."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @asynccontextmanager
    async def up(self) -> AsyncIterator[None]:
        self.seen.append("up")
        try:
            yield
        finally:
            self.seen.append("down")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_scope_in_order(number: int) -> None:
    scope = Scope()

    async def begun() -> None:
        os.kill(os.getpid(), number)
        try:
            await asyncio.Event().wait()
        finally:
            scope.seen.append("begun is cancelled")

    asyncio.run(serve_until_signalled(scope.up(), begun))
    assert scope.seen == ["up", "begun is cancelled", "down"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_it_stays_up_when_the_beginning_is_over() -> None:
    scope = Scope()

    async def begun() -> None:
        asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGTERM)

    asyncio.run(serve_until_signalled(scope.up(), begun))
    assert scope.seen == ["up", "down"]


def test_what_the_beginning_raises_ends_it() -> None:
    scope = Scope()

    async def begun() -> None:
        raise ZeroDivisionError("on purpose")

    with pytest.raises(ZeroDivisionError, match="on purpose"):
        asyncio.run(serve_until_signalled(scope.up(), begun))
    assert scope.seen == ["up", "down"]
