"""Descriptors that a function gives itself, speed by speed: they have to be those of what it declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gadget.errors import DescriptorError
from gadget.functionfs.endpoint_stream import PACKET
from gadget.functionfs.function import Function
from gadget.protocol.constants import Speed
from gadget.protocol.descriptors import Descriptor, EndpointDescriptor, InterfaceDescriptor

_SOURCE = "gadget.Function.descriptors"


def check_own_descriptors(
    function: Function, descriptors: Mapping[Speed, Sequence[Descriptor]], first_interface: int
) -> None:
    """Refuses descriptors that the endpoints and handlers of a function would not work with.

    Raises:
        DescriptorError: The interfaces have other numbers, the endpoints are others, or a transfer is no multiple of a
            packet.
    """
    for of_speed in descriptors.values():
        _check_interfaces(function, of_speed, first_interface)
        _check_endpoints(function, [one for one in of_speed if isinstance(one, EndpointDescriptor)])


def _check_interfaces(function: Function, descriptors: Sequence[Descriptor], first: int) -> None:
    found = [one.number for one in descriptors if isinstance(one, InterfaceDescriptor)]
    wanted = list(range(first, first + len(function.interfaces())))
    if found != wanted:
        rule = f"must be {wanted}: from first_interface on, as many as {type(function).__name__} declares"
        raise DescriptorError("bInterfaceNumber", found, rule, _SOURCE)


def _check_endpoints(function: Function, found: Sequence[EndpointDescriptor]) -> None:
    declared = list(function.declared_endpoints().values())
    wanted = [(one.direction, one.transfer_type) for one in declared]
    if [(one.direction, one.transfer_type) for one in found] != wanted:
        names = ", ".join(f"{kind.name} {direction.name}" for direction, kind in wanted) or "no endpoint"
        rule = f"must be {names}, as {type(function).__name__} declares them, in this order"
        raise DescriptorError("bEndpointAddress", [hex(one.address) for one in found], rule, _SOURCE)
    for endpoint, descriptor in zip(declared, found, strict=True):
        if endpoint.transfer_size != PACKET and endpoint.transfer_size % (descriptor.packet_size or 1):
            rule = f"must divide transfer_size = {endpoint.transfer_size}: the excess of any other read is dropped"
            raise DescriptorError("wMaxPacketSize", descriptor.packet_size, rule, "f_fs.c, ffs_epfile_io")
