from __future__ import annotations

import pytest

from gadget import PACKET, BulkIn, BulkOut, Function, InEndpoint, InterruptIn, InterruptOut, OutEndpoint, Speed
from gadget.errors import DescriptorError, UsageError
from gadget.functionfs.declared_endpoints import DeclaredEndpoint
from gadget.functionfs.endpoint import Endpoint
from gadget.protocol.constants import Direction, TransferType


class Echo(Function):
    rx = BulkOut()
    tx = BulkIn(transfer_size=PACKET, depth=2)


class Everything(Echo):
    notify = InterruptIn(interval=0.01)
    command = InterruptOut(interval=0.01)


@pytest.mark.parametrize(
    ("declared", "direction", "kind", "live"),
    [
        (BulkOut(), Direction.OUT, TransferType.BULK, OutEndpoint),
        (BulkIn(), Direction.IN, TransferType.BULK, InEndpoint),
        (InterruptOut(interval=1), Direction.OUT, TransferType.INTERRUPT, OutEndpoint),
        (InterruptIn(interval=1), Direction.IN, TransferType.INTERRUPT, InEndpoint),
    ],
)
def test_what_each_kind_declares(
    declared: DeclaredEndpoint[Endpoint], direction: Direction, kind: TransferType, live: type[Endpoint]
) -> None:
    assert declared.declaration.direction == direction
    assert declared.declaration.transfer_type == kind
    assert declared.endpoint_class is live


def test_details_reach_the_declaration() -> None:
    declared = BulkOut(packet_size={Speed.FULL: 8}, max_burst=3).declaration
    assert [declared.packet_size_at(speed) for speed in (Speed.FULL, Speed.HIGH, Speed.SUPER)] == [8, 512, 1024]
    assert declared.max_burst == 3
    assert InterruptIn(interval=0.008).declaration.interval == 0.008


@pytest.mark.parametrize("size", [1024, 16384, 65536, 3 * 1024])
def test_a_transfer_may_have_whole_packets_of_every_speed(size: int) -> None:
    assert BulkOut(transfer_size=size).transfer_size == size
    assert BulkIn(transfer_size=size).transfer_size == size


@pytest.mark.parametrize("size", [0, -2, 1, 64, 512, 1023, 1025, 1536, 16385])
def test_a_transfer_with_a_part_of_a_packet_is_refused(size: int) -> None:
    with pytest.raises(UsageError, match=f"transfer_size = {size}: .*multiple of the packet size.*or PACKET"):
        BulkOut(transfer_size=size)


def test_the_packet_size_that_was_declared_counts() -> None:
    sizes = {Speed.FULL: 64, Speed.HIGH: 512}
    assert InterruptOut(interval=0.01, packet_size=sizes, transfer_size=512).transfer_size == 512
    with pytest.raises(UsageError, match="which is 512 at high-speed"):
        InterruptOut(interval=0.01, packet_size=sizes, transfer_size=64)


@pytest.mark.parametrize("depth", [0, -1, 1025])
def test_a_depth_that_cannot_be(depth: int) -> None:
    with pytest.raises(UsageError, match=f"depth = {depth}: keep 1 to 1024"):
        BulkIn(depth=depth)


def test_a_packet_size_that_no_speed_has() -> None:
    with pytest.raises(DescriptorError) as caught:
        BulkOut(packet_size=100)
    assert caught.value.field == "wMaxPacketSize"


def test_the_class_has_the_declaration_and_an_instance_the_endpoint() -> None:
    assert isinstance(Echo.rx, BulkOut)
    assert isinstance(Echo().rx, OutEndpoint)
    assert isinstance(Echo().tx, InEndpoint)
    assert Echo().rx.name == "Echo.rx"
    assert Everything().rx.name == "Everything.rx"


def test_an_endpoint_is_the_same_each_time_and_another_in_each_instance() -> None:
    first, second = Echo(), Echo()
    assert first.rx is first.rx
    assert first.rx is not second.rx
    assert first.tx is not second.tx


def test_endpoints_are_numbered_in_the_order_of_their_declaration() -> None:
    assert list(Everything.declared_endpoints()) == ["rx", "tx", "notify", "command"]
    assert [endpoint.name.partition(".")[2] for endpoint in Everything()._endpoints()] == [
        "rx",
        "tx",
        "notify",
        "command",
    ]
