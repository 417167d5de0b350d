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
        self._reason: asyncio.Future[type[GadgetError]] = asyncio.get_running_loop().create_future()

    def set(self, reason: type[GadgetError]) -> None:
        """Says why; the first reason counts."""
        if not self._reason.done():
            self._reason.set_result(reason)

    @property
    def is_known(self) -> bool:
        """Whether the generation has ended, and why."""
        return self._reason.done()

    async def error(self, what: str) -> GadgetError:
        """The error to raise for a transfer of this generation, which has ended.

        Where the reason is known, it does not give way: the task may be about to be cancelled.
        """
        if not self.is_known:
            await asyncio.wait({self._reason}, timeout=REASON_TIMEOUT)
        reason = self._reason.result() if self.is_known else DisconnectedError
        return reason(f"{what}: {_SENTENCES[reason]}")
