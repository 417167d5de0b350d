"""The link of a gadget whose functions nobody tells of it: what the controller's ``state`` file says."""

from __future__ import annotations

import asyncio

from gadget.configfs.udc_state import StateWatch
from gadget.functionfs.link import Link
from gadget.protocol.constants import EventType
from gadget.protocol.lifecycle import LinkState


class ControllerLink:
    """Follows a controller from bind to unbind.

    The kernel's own functions have no ep0 that could report events. The file may still say "configured" from the last
    time when a gadget is bound, so only what is new counts. Some controllers never say "suspended".

    Attributes:
        link: The state, and who waits for one.
    """

    def __init__(self) -> None:
        self.link = Link()
        self._watch: StateWatch | None = None

    def begin(self, controller: str) -> None:
        """The gadget is about to be bound: from here on, news is of it."""
        self.end()
        self._watch = StateWatch(controller)
        asyncio.get_running_loop().add_reader(self._watch, self._changed)

    def bound(self) -> None:
        """The gadget has been bound."""
        self._report(EventType.BIND)

    def end(self) -> None:
        """The gadget is not bound (any more); idempotent."""
        if self._watch is not None:
            asyncio.get_running_loop().remove_reader(self._watch)
            self._watch.close()
            self._watch = None
        self._report(EventType.UNBIND)

    def close(self, name: str) -> None:
        """The gadget is being taken down: who still waits is told so."""
        self.end()
        self.link.close(name)

    def _changed(self) -> None:
        assert self._watch is not None
        state, enabled = self._watch.read(), self.link.state in (LinkState.ENABLED, LinkState.SUSPENDED)
        if state == "configured":
            if self.link.state is not LinkState.ENABLED:
                self._report(EventType.RESUME if enabled else EventType.ENABLE)
        elif enabled:
            self._report(EventType.SUSPEND if state == "suspended" else EventType.DISABLE)

    def _report(self, event: EventType) -> None:
        for seen in self.link.infer(event):
            self.link.tell(seen)
