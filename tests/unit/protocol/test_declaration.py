from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, strategies as st

from gadget.errors import DescriptorError
from gadget.protocol.constants import Direction, EndpointAttribute, Speed, TransferType
from gadget.protocol.declaration import (
    Association,
    EndpointDeclaration,
    InterfaceDeclaration,
    function_descriptors,
    function_strings,
    translated,
)
from gadget.protocol.descriptors import (
    EndpointDescriptor,
    InterfaceAssociation,
    InterfaceDescriptor,
    SuperSpeedEndpointCompanion,
)
from gadget.protocol.functionfs_rules import check_descriptors

BULK, INTERRUPT, ISOCHRONOUS = TransferType.BULK, TransferType.INTERRUPT, TransferType.ISOCHRONOUS
IN, OUT = Direction.IN, Direction.OUT
ECHO = InterfaceDeclaration(string="Echo", endpoints=(EndpointDeclaration(OUT, BULK), EndpointDeclaration(IN, BULK)))


def test_one_declaration_gives_the_descriptors_of_every_speed() -> None:
    interface = InterfaceDescriptor(0, 0, 2, 0xFF, 0, 0, 1)
    companion = SuperSpeedEndpointCompanion()
    assert function_descriptors([ECHO], Speed.FULL) == [
        interface,
        EndpointDescriptor(0x01, 2, 64),
        EndpointDescriptor(0x82, 2, 64),
    ]
    assert function_descriptors([ECHO], Speed.HIGH) == [
        interface,
        EndpointDescriptor(0x01, 2, 512),
        EndpointDescriptor(0x82, 2, 512),
    ]
    for speed in (Speed.SUPER, Speed.SUPER_PLUS):
        assert function_descriptors([ECHO], speed) == [
            interface,
            EndpointDescriptor(0x01, 2, 1024),
            companion,
            EndpointDescriptor(0x82, 2, 1024),
            companion,
        ]


def test_an_interrupt_endpoint_reserves_its_packets_at_super_speed() -> None:
    declared = EndpointDeclaration(IN, INTERRUPT, packet_size=8, interval=0.004)
    assert declared.descriptors(Speed.FULL, 3) == (EndpointDescriptor(0x83, 3, 8, 4),)
    assert declared.descriptors(Speed.HIGH, 3) == (EndpointDescriptor(0x83, 3, 8, 6),)
    assert declared.descriptors(Speed.SUPER, 3) == (
        EndpointDescriptor(0x83, 3, 8, 6),
        SuperSpeedEndpointCompanion(0, 0, 8),
    )


def test_bursts_stand_in_the_companion_and_nowhere_below_super_speed() -> None:
    interrupt = EndpointDeclaration(IN, INTERRUPT, max_burst=2)
    assert interrupt.packet_size_at(Speed.HIGH) == 64
    assert interrupt.descriptors(Speed.SUPER, 1)[1] == SuperSpeedEndpointCompanion(2, 0, 3072)
    bulk = EndpointDeclaration(IN, BULK, max_burst=15)
    assert bulk.descriptors(Speed.SUPER, 1)[1] == SuperSpeedEndpointCompanion(15, 0, 0)


def test_an_interrupt_endpoint_without_an_interval_is_polled_every_millisecond() -> None:
    declared = EndpointDeclaration(IN, INTERRUPT)
    found = [declared.descriptors(speed, 1)[0] for speed in Speed]
    assert [one.interval for one in found if isinstance(one, EndpointDescriptor)] == [1, 4, 4, 4]


def test_a_size_can_be_given_for_some_speeds() -> None:
    declared = EndpointDeclaration(IN, BULK, packet_size={Speed.FULL: 16})
    assert [declared.packet_size_at(speed) for speed in Speed] == [16, 512, 1024, 1024]
    report = EndpointDeclaration(IN, INTERRUPT, packet_size={Speed.HIGH: 256, Speed.SUPER: 512})
    assert [report.packet_size_at(speed) for speed in Speed] == [64, 256, 512, 512]


def test_a_mapping_of_sizes_is_copied() -> None:
    sizes = {Speed.FULL: 16}
    declared = EndpointDeclaration(IN, BULK, packet_size=sizes)
    sizes[Speed.FULL] = 8
    assert declared.packet_size_at(Speed.FULL) == 16


def test_one_size_for_all_speeds_is_refused_where_a_speed_does_not_have_it() -> None:
    declared = EndpointDeclaration(IN, BULK, packet_size=64)
    assert declared.packet_size_at(Speed.FULL) == 64
    with pytest.raises(DescriptorError) as caught:
        declared.packet_size_at(Speed.HIGH)
    assert caught.value.field == "wMaxPacketSize"
    assert caught.value.rule.startswith("must be 512 for bulk at high-speed; give a size for each speed")
    assert "5.8.3" in caught.value.source


@pytest.mark.parametrize(
    ("kind", "packet_size", "interval", "burst", "field", "rule"),
    [
        (TransferType.CONTROL, None, None, 0, "bmAttributes", "must be bulk, interrupt or isochronous"),
        (BULK, 100, None, 0, "wMaxPacketSize", "that bulk has at some speed"),
        (INTERRUPT, 0, None, 0, "wMaxPacketSize", "that interrupt has at some speed"),
        (BULK, {Speed.FULL: 512}, None, 0, "wMaxPacketSize", "must be 8 or 16 or 32 or 64"),
        (INTERRUPT, {Speed.SUPER: 64}, None, 1, "wMaxPacketSize", "must be 1024"),
        (ISOCHRONOUS, None, None, 0, "wMaxPacketSize", "must be given"),
        (BULK, None, 0.001, 0, "bInterval", "must not be given for bulk"),
        (INTERRUPT, None, 0.0, 0, "bInterval", "must be a positive number"),
        (BULK, None, None, 16, "bMaxBurst", "must be from 0 to 15 for bulk"),
        (INTERRUPT, None, None, 3, "bMaxBurst", "must be from 0 to 2 for interrupt"),
        (BULK, None, None, -1, "bMaxBurst", "must be from 0 to 15"),
    ],
)
def test_what_no_speed_allows_is_refused_at_once(
    kind: TransferType,
    packet_size: int | Mapping[Speed, int] | None,
    interval: float | None,
    burst: int,
    field: str,
    rule: str,
) -> None:
    with pytest.raises(DescriptorError) as caught:
        EndpointDeclaration(IN, kind, packet_size, interval, burst)
    assert caught.value.field == field
    assert rule in caught.value.rule


def test_an_isochronous_endpoint_is_described() -> None:
    declared = EndpointDeclaration(OUT, ISOCHRONOUS, packet_size=192, interval=0.001)
    assert declared.descriptors(Speed.HIGH, 1) == (EndpointDescriptor(0x01, 1, 192, 4),)


def test_an_interface_of_the_reserved_class_is_refused() -> None:
    with pytest.raises(DescriptorError, match=r"bInterfaceClass = 0: .*reserved"):
        InterfaceDeclaration(class_code=0)


def test_interfaces_are_numbered_and_their_endpoints_run_through() -> None:
    plain = InterfaceDeclaration(endpoints=(EndpointDeclaration(IN, INTERRUPT),))
    found = function_descriptors([plain, ECHO], Speed.FULL, 2)
    assert [one.number for one in found if isinstance(one, InterfaceDescriptor)] == [2, 3]
    assert [one.address for one in found if isinstance(one, EndpointDescriptor)] == [0x81, 0x02, 0x83]


def test_strings_are_numbered_from_one_and_an_interface_without_has_none() -> None:
    declared = [InterfaceDeclaration(string="a"), InterfaceDeclaration(), InterfaceDeclaration(string="b")]
    association = Association(2, 2, 1, string="whole")
    assert function_strings(declared, association) == ("a", "b", "whole")
    found = function_descriptors(declared, Speed.FULL, association=association)
    assert [one.string for one in found if isinstance(one, InterfaceDescriptor)] == [1, 0, 2]
    assert found[0] == InterfaceAssociation(0, 3, 2, 2, 1, 3)


def test_the_association_stands_first_and_says_where_the_function_begins() -> None:
    found = function_descriptors([ECHO, ECHO], Speed.HIGH, 4, association=Association(0xFF))
    assert found[0] == InterfaceAssociation(4, 2, 0xFF)


def test_addresses_stay_unique_when_the_numbers_run_out() -> None:
    both = (EndpointDeclaration(OUT, BULK), EndpointDeclaration(IN, BULK)) * 15
    found = function_descriptors([InterfaceDeclaration(endpoints=both)], Speed.FULL)
    addresses = [one.address for one in found if isinstance(one, EndpointDescriptor)]
    assert addresses[:4] == [0x01, 0x82, 0x03, 0x84]
    assert len(set(addresses)) == 30


def test_a_sixteenth_endpoint_of_one_direction_is_refused() -> None:
    outs = (EndpointDeclaration(OUT, BULK),) * 16
    with pytest.raises(DescriptorError, match=r"bNumEndpoints = 16: must be at most 15 with direction OUT"):
        function_descriptors([InterfaceDeclaration(endpoints=outs)], Speed.FULL)


endpoint_declarations = st.builds(
    EndpointDeclaration,
    st.sampled_from(Direction),
    st.sampled_from([BULK, INTERRUPT]),
    max_burst=st.integers(0, 2),
)
interface_declarations = st.builds(
    InterfaceDeclaration,
    st.integers(1, 255),
    string=st.none() | st.text(max_size=8),
    endpoints=st.lists(endpoint_declarations, max_size=4).map(tuple),
)


@given(st.lists(interface_declarations, min_size=1, max_size=4), st.integers(0, 8), st.booleans())
def test_whatever_is_declared_is_what_functionfs_takes(
    interfaces: list[InterfaceDeclaration], first: int, grouped: bool
) -> None:
    association = Association(0xFF) if grouped else None
    speeds = (Speed.FULL, Speed.HIGH, Speed.SUPER)
    check_descriptors(
        {speed: function_descriptors(interfaces, speed, first, association=association) for speed in speeds}
    )


def test_strings_without_a_language_are_the_same_in_all() -> None:
    assert translated(["one", "two"]) == {0x409: ("one", "two")}
    assert translated([]) == {0x409: ()}
    assert translated([{0x407: "eins", 0x409: "one"}, "2"]) == {0x407: ("eins", "2"), 0x409: ("one", "2")}


def test_a_string_that_misses_a_language_is_refused() -> None:
    with pytest.raises(DescriptorError, match=r"must also be given in language 0x0407"):
        translated([{0x409: "one", 0x407: "eins"}, {0x409: "two"}])


def test_attributes_of_isochronous_endpoints_are_described() -> None:
    attributes = EndpointAttribute.ASYNCHRONOUS | EndpointAttribute.FEEDBACK
    sound = EndpointDeclaration(IN, ISOCHRONOUS, packet_size=192, attributes=attributes)
    (descriptor,) = sound.descriptors(Speed.FULL, 1)
    assert isinstance(descriptor, EndpointDescriptor)
    assert (descriptor.attributes, descriptor.interval) == (0x15, 1)
    with pytest.raises(DescriptorError, match="bmAttributes"):
        EndpointDeclaration(IN, BULK, attributes=attributes).descriptors(Speed.FULL, 1)
