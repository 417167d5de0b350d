"""Which endpoint of a controller each function gets, worked out as the kernel does it when it binds.

Nothing here touches the kernel. The rules are those of ``drivers/usb/gadget/epautoconf.c`` and of
``usb_gadget_ep_match_desc`` in ``drivers/usb/gadget/udc/core.c``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from gadget.protocol.constants import Direction, TransferType
from gadget.services.boards import Board, HardwareEndpoint


@dataclass(frozen=True, slots=True)
class Demand:
    """An endpoint that a function wants.

    Attributes:
        function: Whose it is.
        direction: As the host sees it.
        transfer_type: Bulk, interrupt or isochronous.
        packet_size: wMaxPacketSize at full speed, by which the kernel chooses; 0 takes any.
        burst: The most bytes in a microframe at high speed; 0 where that is not known.
    """

    function: str
    direction: Direction
    transfer_type: TransferType
    packet_size: int = 0
    burst: int = 0


@dataclass(frozen=True, slots=True)
class Grant:
    """What became of a demand.

    Attributes:
        demand: The demand.
        endpoint: The controller's endpoint, None if it has none left that would do.
        address: bEndpointAddress as the host sees it, None without an endpoint.
    """

    demand: Demand
    endpoint: str | None
    address: int | None


@dataclass(frozen=True, slots=True)
class Budget:
    """The endpoints of one configuration.

    Attributes:
        grants: What became of each demand, in their order.
        left: The controller's endpoints that nobody took.
    """

    grants: tuple[Grant, ...]
    left: tuple[HardwareEndpoint, ...]

    @property
    def refused(self) -> tuple[Grant, ...]:
        """Those that got nothing: binding fails."""
        return tuple(grant for grant in self.grants if grant.endpoint is None)

    @property
    def repeated(self) -> tuple[int, ...]:
        """Addresses that were given twice: binding succeeds, and the host cannot tell the endpoints apart."""
        counts = Counter(grant.address for grant in self.grants if grant.address is not None)
        return tuple(address for address, count in counts.items() if count > 1)


def allocate_endpoints(board: Board, demands: Sequence[Demand]) -> Budget:
    """Gives each demand the first endpoint that would do, as the kernel does.

    Args:
        board: The controller.
        demands: What the functions of one configuration want, in the order in which the kernel binds them.
    """
    left, counted, grants = list(board.endpoints), Counter[Direction](), []
    for demand in demands:
        found = next((endpoint for endpoint in left if _would_do(endpoint, demand)), None)
        if found is None:
            grants.append(Grant(demand, None, None))
            continue
        left.remove(found)
        number = found.number
        if number is None:
            counted[demand.direction] += 1
            number = counted[demand.direction]
        grants.append(Grant(demand, found.name, demand.direction | number))
    return Budget(tuple(grants), tuple(left))


def _would_do(endpoint: HardwareEndpoint, demand: Demand) -> bool:
    if demand.direction not in endpoint.directions or demand.packet_size > endpoint.packet_size:
        return False
    # Bulk endpoints do for interrupt transfers.
    substitutes = {TransferType.INTERRUPT: {TransferType.INTERRUPT, TransferType.BULK}}
    return bool(endpoint.types & substitutes.get(demand.transfer_type, {demand.transfer_type}))


def without_fifo(board: Board, demands: Sequence[Demand]) -> list[Demand]:
    """The IN endpoints that no FIFO is left for: they bind, and fail when the host enables them.

    Whether there are enough does not depend on the order in which the host does that.

    Args:
        board: The controller.
        demands: What the functions of one configuration want.
    """
    if not board.transmit_fifos:
        return []
    left, without = sorted(board.transmit_fifos), []
    for demand in (each for each in demands if each.direction is Direction.IN):
        found = next((size for size in left if size >= demand.burst), None)
        if found is None:
            without.append(demand)
        else:
            left.remove(found)
    return without
