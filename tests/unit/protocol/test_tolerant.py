from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from gadget.errors import DescriptorError
from gadget.protocol.capabilities import BosDescriptor, UnknownCapability, Usb2Extension, join_bos
from gadget.protocol.descriptors import (
    ConfigurationDescriptor,
    EndpointDescriptor,
    InterfaceAssociation,
    InterfaceDescriptor,
    SuperSpeedEndpointCompanion,
    UnknownDescriptor,
    parse_descriptors,
)
from gadget.protocol.tolerant import Found, Malformed, Node, Truncated, parse_tolerant, tree, type_of

CONFIGURATION = ConfigurationDescriptor(total_length=25, interface_count=1)
INTERFACE = InterfaceDescriptor(number=0, alternate_setting=0, endpoint_count=1, class_code=0xFF)
ENDPOINT = EndpointDescriptor(address=0x81, attributes=2, max_packet_size=512)
GOOD = CONFIGURATION.to_bytes() + INTERFACE.to_bytes() + ENDPOINT.to_bytes()

#: Bytes that are like descriptors: of the right lengths, of types that are known, one after the other.
descriptor_like = st.lists(
    st.builds(
        lambda kind, payload: bytes([2 + len(payload), kind]) + payload,
        st.one_of(
            st.sampled_from([1, 2, 3, 4, 5, 6, 9, 0x0B, 0x0F, 0x10, 0x21, 0x24, 0x25, 0x30]), st.integers(0, 255)
        ),
        st.binary(max_size=60),
    ),
    max_size=12,
).map(b"".join)


@given(st.one_of(st.binary(max_size=300), descriptor_like))
def test_any_bytes_parse_and_none_is_lost(data: bytes) -> None:
    found = parse_tolerant(data)
    assert b"".join(one.to_bytes() for one in found) == data
    assert all(not isinstance(one, Truncated) for one in found[:-1])


@given(st.one_of(st.binary(max_size=300), descriptor_like))
def test_a_tree_holds_the_same_in_the_same_order(data: bytes) -> None:
    found = parse_tolerant(data)
    assert [one for node in tree(found) for one in node.walk()] == found


@given(descriptor_like)
def test_what_the_strict_parser_takes_is_the_same_here(data: bytes) -> None:
    try:
        strict = parse_descriptors(data)
    except DescriptorError:
        return
    tolerant = parse_tolerant(data)
    for one, other in zip(strict, tolerant, strict=True):
        # The strict parser knows no BOS; the length of a capability that it leaves unread may be wrong.
        assert one == other or type_of(other) in (0x0F, 0x10)


def test_well_formed_descriptors_are_typed() -> None:
    assert parse_tolerant(GOOD) == [CONFIGURATION, INTERFACE, ENDPOINT]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bytes.fromhex("06058102000200"[:12]), "bLength = 6: must be 7, or 9 for audio (USB 2.0, 9.6.6)"),
        (bytes.fromhex("07058103000200"), "bInterval = 0: must be from 1 to 255 for interrupt (USB 2.0, 9.6.6)"),
        (bytes.fromhex("04100211"), "bLength = 4: must be 7 for a descriptor of type Usb2Extension (USB 3.2, 9.6.2.1)"),
        (bytes.fromhex("0210"), "bLength = 2: must be that of a device capability, at least 3 (USB 3.2, 9.6.2)"),
    ],
)
def test_a_broken_rule_is_kept_with_its_reason_and_ends_nothing(data: bytes, reason: str) -> None:
    assert parse_tolerant(data + GOOD) == [Malformed(data, reason), CONFIGURATION, INTERFACE, ENDPOINT]


@pytest.mark.parametrize("tail", ["07", "0705", "070581020002", "00", "01", "0005", "0105"])
def test_a_tail_that_is_no_descriptor(tail: str) -> None:
    data = bytes.fromhex(tail)
    *others, last = parse_tolerant(GOOD + data)
    assert (others, last) == ([CONFIGURATION, INTERFACE, ENDPOINT], Truncated(data))
    assert isinstance(last, Truncated)
    expected = f"bLength = {data[0]}: must be at least 2 and within the {len(data)} bytes that are left (USB 2.0, 9.5)"
    assert last.reason == expected


@pytest.mark.parametrize("data", [b"\x07", b"\x07\x05", Malformed(b"\x06\x05\0\0\0\0", "").data])
def test_types(data: bytes) -> None:
    assert type_of(Truncated(data)) == (5 if len(data) > 1 else None)
    assert type_of(ENDPOINT) == 5


def test_types_of_classes_mean_something_within_their_class_only() -> None:
    """DFU's functional descriptor has the type and the length of HID's."""
    dfu = InterfaceDescriptor(number=0, alternate_setting=0, endpoint_count=0, class_code=0xFE, subclass=1, protocol=1)
    functional = bytes.fromhex("09210dff0000101a01")
    assert parse_tolerant(dfu.to_bytes() + functional) == [dfu, UnknownDescriptor(0x21, functional[2:])]


def test_a_bos() -> None:
    data = join_bos(Usb2Extension(), UnknownCapability(0x0B))
    head = BosDescriptor(total_length=15, capability_count=2)
    assert parse_tolerant(data) == [head, Usb2Extension(), UnknownCapability(0x0B)]
    assert tree(parse_tolerant(data)) == (Node(head, (Node(Usb2Extension()), Node(UnknownCapability(0x0B)))),)


def test_what_belongs_to_what() -> None:
    association = InterfaceAssociation(first_interface=0, interface_count=1, class_code=2)
    companion = SuperSpeedEndpointCompanion()
    special = UnknownDescriptor(0x24, b"\0")
    broken = Malformed(b"\x08\x04\0\0\0\0\0\0", "bLength")
    found: list[Found] = [CONFIGURATION, association, INTERFACE, special, ENDPOINT, companion, broken, special]
    endpoint = Node(ENDPOINT, (Node(companion),))
    interface = Node(INTERFACE, (Node(special), endpoint))
    expected = Node(CONFIGURATION, (Node(association), interface, Node(broken, (Node(special),))))
    assert tree([*found, CONFIGURATION]) == (expected, Node(CONFIGURATION))


def test_an_association_in_the_middle_belongs_to_the_configuration() -> None:
    """It stands after the last endpoint of the function before it."""
    association = InterfaceAssociation(first_interface=1, interface_count=1, class_code=2)
    interface = Node(INTERFACE, (Node(ENDPOINT),))
    found: list[Found] = [CONFIGURATION, INTERFACE, ENDPOINT, association, INTERFACE, ENDPOINT]
    assert tree(found) == (Node(CONFIGURATION, (interface, Node(association), interface)),)


@pytest.mark.parametrize("class_code", [0x03, 0x0B, 0xFE])
def test_an_interface_that_breaks_a_rule_still_says_its_class(class_code: int) -> None:
    special = bytes.fromhex("092111010001223f00")
    good = InterfaceDescriptor(number=0, alternate_setting=0, endpoint_count=0, class_code=class_code).to_bytes()
    *_, expected = parse_descriptors(good + special)
    broken = good[:4] + b"\x1f" + good[5:]
    interface, parsed = parse_tolerant(broken + special)
    assert isinstance(interface, Malformed)
    assert parsed == expected
