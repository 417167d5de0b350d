"""Tells of requests that nobody handles, without letting the host write the log."""

from __future__ import annotations

import logging

from gadget.functionfs.handlers import suggestion
from gadget.protocol.functionfs_format import Setup

log = logging.getLogger("gadget")

#: How many kinds of request are told, with the handler to write; whoever develops a device sees a few.
MOST_KINDS = 50


class Unhandled:
    """Each kind of request is told once: a host may send one without end, and the log lies on somebody's disk."""

    def __init__(self) -> None:
        self._kinds: set[tuple[int, int]] = set()

    def tell(self, setup: Setup) -> None:
        """A request was stalled, since nobody handles it."""
        kind = (setup.request_type, setup.request)
        if kind in self._kinds or len(self._kinds) > MOST_KINDS:
            log.debug("unhandled request, stalled: %s", setup)
            return
        self._kinds.add(kind)
        if len(self._kinds) > MOST_KINDS:
            log.warning("more than %d kinds of unhandled requests: others are told as debugging messages", MOST_KINDS)
        else:
            log.warning("unhandled request, stalled: %s\n%s", setup, suggestion(setup))
