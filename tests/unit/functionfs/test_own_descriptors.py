from __future__ import annotations

from collections.abc import Sequence

import pytest

from gadget import BulkOut, Function, Interface, Speed
from gadget.errors import DescriptorError
from gadget.functionfs.own_descriptors import check_own_descriptors
from gadget.protocol.descriptors import Descriptor, EndpointDescriptor, InterfaceDescriptor


class Sink(Function):
    rx = BulkOut(transfer_size=4096)


class Two(Function):
    first, second = Interface(), Interface()


INTERFACE = InterfaceDescriptor(3, 0, 1, 0xFF)


def check(function: Function, *descriptors: Descriptor, first: int = 3) -> None:
    check_own_descriptors(function, {Speed.FULL: descriptors}, first)


def test_what_follows_from_the_declarations_is_right() -> None:
    for function in (Sink(), Two()):
        check_own_descriptors(function, function.descriptors(3), 3)


@pytest.mark.parametrize("packet_size", [8, 64])
def test_a_smaller_packet_is_right_where_it_divides_a_transfer(packet_size: int) -> None:
    check(Sink(), INTERFACE, EndpointDescriptor(0x01, 2, packet_size))


@pytest.mark.parametrize(
    ("descriptors", "field"),
    [
        ([InterfaceDescriptor(0, 0, 1, 0xFF), EndpointDescriptor(0x01, 2, 64)], "bInterfaceNumber"),
        ([INTERFACE, InterfaceDescriptor(4, 0, 0, 0xFF), EndpointDescriptor(0x01, 2, 64)], "bInterfaceNumber"),
        ([INTERFACE], "bEndpointAddress"),
        ([INTERFACE, EndpointDescriptor(0x81, 2, 64)], "bEndpointAddress"),
        ([INTERFACE, EndpointDescriptor(0x01, 3, 64, 1)], "bEndpointAddress"),
        ([INTERFACE, EndpointDescriptor(0x01, 2, 48)], "wMaxPacketSize"),
    ],
)
def test_what_would_not_work_is_refused(descriptors: Sequence[Descriptor], field: str) -> None:
    with pytest.raises(DescriptorError, match=field):
        check(Sink(), *descriptors)
