"""Bulk, interrupt and isochronous endpoints as a function declares them: attributes of its class.

On an instance of the function, the same attribute is the live endpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, Self, TypeVar, overload

from gadget.errors import UsageError
from gadget.functionfs.endpoint import Endpoint
from gadget.functionfs.endpoint_stream import PACKET
from gadget.functionfs.in_endpoint import InEndpoint
from gadget.functionfs.out_endpoint import OutEndpoint
from gadget.protocol.constants import Direction, EndpointAttribute, Speed, TransferType
from gadget.protocol.declaration import EndpointDeclaration

E_co = TypeVar("E_co", bound=Endpoint, covariant=True)


class DeclaredEndpoint(Generic[E_co]):
    """An endpoint as a class attribute of a function; on an instance it is the live endpoint."""

    endpoint_class: type[E_co]
    direction: Direction
    transfer_type: TransferType

    def __init__(
        self,
        *,
        transfer_size: int,
        depth: int,
        packet_size: int | Mapping[Speed, int] | None = None,
        interval: float | None = None,
        max_burst: int = 0,
        attributes: int = 0,
    ) -> None:
        self.transfer_size = transfer_size
        self.depth = depth
        self.declaration = EndpointDeclaration(
            direction=self.direction,
            transfer_type=self.transfer_type,
            packet_size=packet_size,
            interval=interval,
            max_burst=max_burst,
            attributes=attributes,
        )
        self._check_transfer_size()
        if not 1 <= depth <= 1024:
            raise UsageError(f"depth = {depth}: keep 1 to 1024 transfers in flight")
        self.name = ""

    def _check_transfer_size(self) -> None:
        """FunctionFS reads only whole packets: the excess of any other read is dropped (f_fs.c, ffs_epfile_io)."""
        if self.transfer_size == PACKET:
            return
        for speed in (Speed.FULL, Speed.HIGH, Speed.SUPER):
            packet = self.declaration.packet_size_at(speed)
            if self.transfer_size < packet or self.transfer_size % packet:
                raise UsageError(
                    f"transfer_size = {self.transfer_size}: it must be a multiple of the packet size at every speed, "
                    f"which is {packet} at {speed.maximum}; or PACKET"
                )

    def __set_name__(self, owner: type, name: str) -> None:
        # Under another name, or in another class, it would be another endpoint: declared_interfaces.py refuses that.
        self.name = self.name or name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type) -> E_co: ...

    def __get__(self, instance: object | None, owner: type) -> Self | E_co:
        if instance is None:
            return self
        endpoint = self.endpoint_class(f"{owner.__name__}.{self.name}", self.transfer_size, self.depth)
        # From here on, the instance's own attribute is found before this descriptor.
        instance.__dict__[self.name] = endpoint
        return endpoint


class _Bulk(DeclaredEndpoint[E_co]):
    transfer_type = TransferType.BULK

    def __init__(
        self,
        *,
        transfer_size: int = 16384,
        depth: int = 16,
        packet_size: int | Mapping[Speed, int] | None = None,
        max_burst: int = 0,
    ) -> None:
        super().__init__(transfer_size=transfer_size, depth=depth, packet_size=packet_size, max_burst=max_burst)


class BulkOut(_Bulk[OutEndpoint]):
    """A bulk endpoint from the host.

    Args:
        transfer_size: Bytes of one transfer, a multiple of the packet size of every speed; or ``PACKET``. The kernel
            allocates as much again for each, so 16 to 64 KiB is a good choice.
        depth: Transfers kept in flight.
        packet_size: wMaxPacketSize; by default the largest of each speed (64, 512, 1024).
        max_burst: Packets in one burst at SuperSpeed, less one: 0 to 15 (USB 3.2, 9.6.7).
    """

    endpoint_class = OutEndpoint
    direction = Direction.OUT


class BulkIn(_Bulk[InEndpoint]):
    """A bulk endpoint to the host; the arguments are those of :class:`BulkOut`."""

    endpoint_class = InEndpoint
    direction = Direction.IN


class _Interrupt(DeclaredEndpoint[E_co]):
    transfer_type = TransferType.INTERRUPT

    def __init__(
        self,
        *,
        interval: float,
        transfer_size: int = PACKET,
        depth: int = 4,
        packet_size: int | Mapping[Speed, int] | None = None,
        max_burst: int = 0,
    ) -> None:
        super().__init__(
            transfer_size=transfer_size, depth=depth, packet_size=packet_size, interval=interval, max_burst=max_burst
        )


class InterruptIn(_Interrupt[InEndpoint]):
    """An interrupt endpoint to the host.

    Args:
        interval: The longest time between two polls by the host, in seconds; converted for each speed.
        transfer_size: Bytes of one transfer; one packet unless said otherwise.
        depth: Transfers kept in flight.
        packet_size: wMaxPacketSize; by default 64 bytes, or 1024 at SuperSpeed with a burst.
        max_burst: Packets in one burst at SuperSpeed, less one: 0 to 2.
    """

    endpoint_class = InEndpoint
    direction = Direction.IN


class InterruptOut(_Interrupt[OutEndpoint]):
    """An interrupt endpoint from the host; the arguments are those of :class:`InterruptIn`."""

    endpoint_class = OutEndpoint
    direction = Direction.OUT


class _Isochronous(DeclaredEndpoint[E_co]):
    transfer_type = TransferType.ISOCHRONOUS

    def __init__(
        self,
        *,
        packet_size: int | Mapping[Speed, int],
        interval: float = 0.001,
        depth: int = 16,
        attributes: int = EndpointAttribute.ASYNCHRONOUS,
    ) -> None:
        super().__init__(
            transfer_size=PACKET, depth=depth, packet_size=packet_size, interval=interval, attributes=attributes
        )


class IsochronousIn(_Isochronous[InEndpoint]):
    """An isochronous endpoint to the host. **Untested**: no controller that can be had without hardware moves its data.

    Each transfer is one packet of one interval; nothing is repeated, so what comes too late is lost.

    Args:
        packet_size: wMaxPacketSize: the bytes that are reserved in every interval.
        interval: The time between two packets, in seconds; converted for each speed.
        depth: Transfers kept in flight, which is how many intervals the function may be late.
        attributes: How it is synchronised and used: bits 5..2 of bmAttributes (USB 2.0, Table 9-13).
    """

    endpoint_class = InEndpoint
    direction = Direction.IN


class IsochronousOut(_Isochronous[OutEndpoint]):
    """An isochronous endpoint from the host, **untested**; the arguments are those of :class:`IsochronousIn`."""

    endpoint_class = OutEndpoint
    direction = Direction.OUT
