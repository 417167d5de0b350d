"""What the functions of one gadget share: the place where their transfers run, the controller and its endpoints."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import TYPE_CHECKING

from gadget.aio import AsyncContext
from gadget.errors import OutOfEndpointsError

if TYPE_CHECKING:
    from gadget.functionfs.endpoint import Endpoint


class Composite:
    """One gadget, as its functions see it.

    Attributes:
        context: Where the transfers of all of them run.
        controller: The name of the controller (UDC) that the gadget is bound to; empty while it is not.
        closing: This program takes the gadget down.
    """

    def __init__(self, context: AsyncContext) -> None:
        self.context = context
        self.controller = ""
        self.closing = False
        self._claimed: dict[int, Endpoint] = {}

    def claim(self, endpoints: Iterable[Endpoint]) -> None:
        """Notes the addresses that the controller gave to endpoints.

        Raises:
            OutOfEndpointsError: It gave one to two of them, which some controllers do when they run out of endpoints,
                and bind all the same.
        """
        for endpoint in endpoints:
            holder = self._claimed.setdefault(endpoint.address, endpoint)
            if holder is not endpoint:
                both = f"{holder.name} and {endpoint.name}"
                message = f"{self.controller} gave address {endpoint.address:#04x} to both {both}"
                raise OutOfEndpointsError(errno.ENOSPC, f"{message}: it has too few endpoints; declare fewer of them")

    def release(self, endpoints: Iterable[Endpoint]) -> None:
        """Forgets the addresses of endpoints whose generation is over."""
        for endpoint in endpoints:
            if self._claimed.get(endpoint.address) is endpoint:
                del self._claimed[endpoint.address]
