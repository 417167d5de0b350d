"""One function's link to the host: its state, and tasks that wait for one."""

from __future__ import annotations

import asyncio
import time

from gadget.errors import ClosedError, UsageError
from gadget.protocol.constants import EventType
from gadget.protocol.lifecycle import Lifecycle, LinkState


class Link:
    """The state of the link, inferred from the events of ep0.

    Attributes:
        since: When it came into this state, on the clock of :func:`time.monotonic`, in seconds.
    """

    def __init__(self) -> None:
        self._lifecycle = Lifecycle()
        self._waiting: dict[asyncio.Future[LinkState], tuple[LinkState, ...]] = {}
        self.since = time.monotonic()

    @property
    def state(self) -> LinkState:
        """How far the connection has come, as far as the function has been told."""
        return self._lifecycle.state

    @property
    def generation(self) -> int:
        """Counts ENABLEs."""
        return self._lifecycle.generation

    def infer(self, reported: EventType) -> tuple[EventType, ...]:
        """What the function is to see, in order, when the kernel reports this event."""
        return self._lifecycle.infer(reported)

    def tell(self, seen: EventType) -> None:
        """One of these has taken effect: the state changes, and who waits for it is woken."""
        self._lifecycle.see(seen)
        self.since = time.monotonic()
        for waiting, states in self._waiting.items():
            # Now, not when the task runs: by then the link may have gone on.
            if self.state in states and not waiting.done():
                waiting.set_result(self.state)

    def close(self, what: str) -> None:
        """Nobody serves the function any more: who still waits is told so."""
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(ClosedError(f"{what} is not being served any more: its gadget is down"))

    async def wait(self, *states: LinkState) -> LinkState:
        """Waits until it has been in one of these states, and returns it.

        Raises:
            UsageError: No state was given.
            ClosedError: The gadget was taken down meanwhile.
        """
        if not states:
            raise UsageError("wait_link() waits for a state of the link: wait_link(LinkState.ENABLED)")
        if self.state in states:
            return self.state
        reached: asyncio.Future[LinkState] = asyncio.get_running_loop().create_future()
        self._waiting[reached] = states
        try:
            return await reached
        finally:
            del self._waiting[reached]
