"""How a generation ends, as its transfers learn it."""

from __future__ import annotations

import asyncio

from gadget.errors import ClosedError, DisabledError, DisconnectedError, GadgetError, SupersededError, UnboundError

#: How long a transfer that failed waits for the event that says why, in seconds. The kernel queues it in the call in
#: which it ends the transfers (f_fs.c, ffs_func_set_alt), so this is only for an ep0 that nobody serves any more.
REASON_TIMEOUT = 1.0

_SENTENCES: dict[type[GadgetError], str] = {
    DisabledError: "the host reset or unplugged the device, or took the configuration away",
    SupersededError: "the host selected the configuration or the interface anew",
    UnboundError: "the gadget left its controller",
    ClosedError: "this program took the gadget down",
    DisconnectedError: "there is no connection to the host",
}


class Ending:
    """How one generation ends: known when its event has been read, which is after its transfers have failed."""

    def __init__(self) -> None:
        self._reason: type[GadgetError] | None = None
        self._waiting: list[asyncio.Future[None]] = []

    def set(self, reason: type[GadgetError]) -> None:
        """Says why; the first reason counts."""
        if self._reason is None:
            self._reason = reason
            for waiting in self._waiting:
                _release(waiting)

    @property
    def is_known(self) -> bool:
        """Whether the generation has ended, and why."""
        return self._reason is not None

    async def error(self, what: str) -> GadgetError:
        """The error to raise for a transfer of this generation, which has ended.

        A task that waits for it, or for a transfer, has it in the round of the loop after :meth:`set`: just after that
        the task may be cancelled. Where the reason is known already, this does not give way at all.
        """
        if self._reason is None:
            await self._wait()
        reason = self._reason or DisconnectedError
        return reason(f"{what}: {_SENTENCES[reason]}")

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[None] = loop.create_future()
        self._waiting.append(waiting)
        limit = loop.call_later(REASON_TIMEOUT, _release, waiting)
        try:
            await waiting
        finally:
            limit.cancel()
            self._waiting.remove(waiting)


def _release(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
