"""The standard requests that reach a function, answered as USB 2.0, 9.4 says unless a function does it itself.

Most controllers answer those for endpoints on their own (dwc2, dwc3, musb, dummy_hcd), and composite.c those for the
device; what is left arrives here.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod

from gadget.errors import Stall
from gadget.functionfs.endpoint import Endpoint
from gadget.functionfs.handlers import standard_in, standard_out
from gadget.protocol.constants import Feature, Recipient, StandardRequest
from gadget.protocol.functionfs_format import Setup

log = logging.getLogger("gadget")


class StandardRequests(ABC):
    """Handlers that every function has, and may replace: a method marked for the same request wins."""

    @abstractmethod
    def _endpoints(self) -> list[Endpoint]:
        """The live endpoints, in the order of their declaration."""

    @standard_in(StandardRequest.GET_STATUS)
    async def interface_status(self, setup: Setup) -> bytes:
        """Two bytes of zero (USB 2.0, Figure 9-5; at SuperSpeed, no function remote wake-up: USB 3.2, 9.4.5)."""
        return bytes(2)

    @standard_in(StandardRequest.GET_STATUS, recipient=Recipient.ENDPOINT)
    async def endpoint_status(self, setup: Setup) -> bytes:
        """Bit 0 says whether the endpoint is halted (USB 2.0, Figure 9-6)."""
        candidates = self._addressed(setup)
        if len({endpoint.halted for endpoint in candidates}) > 1:
            raise self._ambiguous(setup)
        return bytes([candidates[0].halted, 0])

    @standard_out(StandardRequest.SET_FEATURE, recipient=Recipient.ENDPOINT)
    async def set_endpoint_feature(self, setup: Setup, data: memoryview) -> None:
        """Halts the endpoint (USB 2.0, 9.4.9)."""
        candidates = self._addressed_halt(setup)
        if len(candidates) > 1:
            raise self._ambiguous(setup)
        await candidates[0].halt()

    @standard_out(StandardRequest.CLEAR_FEATURE, recipient=Recipient.ENDPOINT)
    async def clear_endpoint_feature(self, setup: Setup, data: memoryview) -> None:
        """Ends the halt (USB 2.0, 9.4.1). Of two endpoints of the same number, the one that is halted is meant."""
        candidates = self._addressed_halt(setup)
        if len(candidates) > 1:
            candidates = [endpoint for endpoint in candidates if endpoint.halted]
        if len(candidates) != 1:
            raise self._ambiguous(setup)
        await candidates[0].clear_halt()

    def _addressed_halt(self, setup: Setup) -> list[Endpoint]:
        if setup.value != Feature.ENDPOINT_HALT or setup.length:
            raise Stall
        return self._addressed(setup)

    def _addressed(self, setup: Setup) -> list[Endpoint]:
        """The endpoints that the host may mean.

        FunctionFS finds the endpoint by its number alone (f_fs.c, ffs_func_revmap_ep), so where a function has 0x81 and
        0x01, nobody can tell which of them the host has named.
        """
        candidates = [endpoint for endpoint in self._endpoints() if endpoint.address & 0xF == setup.index & 0xF]
        if not candidates:
            raise Stall
        return candidates

    def _ambiguous(self, setup: Setup) -> Stall:
        log.warning("%s: the kernel does not say which of two endpoints with this number is meant; stalled", setup)
        return Stall()
