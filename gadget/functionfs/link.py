"""One function's link to the host: its state, and tasks that wait for one."""

from __future__ import annotations

import asyncio
import time

from gadget.protocol.constants import EventType
from gadget.protocol.lifecycle import Lifecycle, LinkState

#: The state that a function is in after what it saw last; the sequence is a legal one, so nothing else matters.
_AFTER = {
    EventType.BIND: LinkState.BOUND,
    EventType.UNBIND: LinkState.UNBOUND,
    EventType.ENABLE: LinkState.ENABLED,
    EventType.DISABLE: LinkState.BOUND,
    EventType.SUSPEND: LinkState.SUSPENDED,
    EventType.RESUME: LinkState.ENABLED,
}


class Link:
    """The state of the link, inferred from the events of ep0.

    Attributes:
        state: How far the connection has come, as far as the function has been told.
        generation: Counts ENABLEs.
        since: When it came into this state, on the clock of :func:`time.monotonic`, in seconds.
    """

    def __init__(self) -> None:
        self._lifecycle = Lifecycle()
        self._waiting: dict[asyncio.Future[LinkState], tuple[LinkState, ...]] = {}
        self.state = LinkState.UNBOUND
        self.generation = 0
        self.since = time.monotonic()

    def receive(self, event: EventType) -> tuple[EventType, ...]:
        """Takes what the kernel reported and returns what the function is to see, in order."""
        return self._lifecycle.receive(event)

    def tell(self, seen: EventType) -> None:
        """One of these has taken effect: the state changes, and who waits for it is woken."""
        self.state, self.since = _AFTER[seen], time.monotonic()
        self.generation += seen is EventType.ENABLE
        for waiting, states in self._waiting.items():
            # Now, not when the task runs: by then the link may have gone on.
            if self.state in states and not waiting.done():
                waiting.set_result(self.state)

    async def wait(self, *states: LinkState) -> LinkState:
        """Waits until it has been in one of these states, and returns it."""
        if self.state in states:
            return self.state
        reached: asyncio.Future[LinkState] = asyncio.get_running_loop().create_future()
        self._waiting[reached] = states
        try:
            return await reached
        finally:
            del self._waiting[reached]
