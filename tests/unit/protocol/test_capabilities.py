from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given, strategies as st

from gadget.errors import DescriptorError
from gadget.protocol.capabilities import (
    MICROSOFT_OS_20,
    WEBUSB,
    BosDescriptor,
    Capability,
    ContainerId,
    PlatformCapability,
    SuperSpeedCapability,
    SuperSpeedPlusCapability,
    UnknownCapability,
    Usb2Extension,
    join_bos,
    parse_capability,
)

#: Each with the bytes that its specification asks for.
EXAMPLES = [
    (Usb2Extension(), "07100202000000"),
    (Usb2Extension(attributes=0xF41E), "0710021ef40000"),
    (SuperSpeedCapability(speeds_supported=0x0F, u1_exit_latency=1, u2_exit_latency=500), "0a1003000f000101f401"),
    (ContainerId(container_id=0x0F0E0D0C0B0A09080706050403020100), "14100400000102030405060708090a0b0c0d0e0f"),
    (PlatformCapability.webusb(0x21, 1), "1810050038b60834a909a0478bfda0768815b66500012101"),
    (
        PlatformCapability.microsoft_os_20((0x06030000, 178, 0x20, 0)),
        "1c100500df60ddd88945c74c9cd2659d9e648a9f00000306b2002000",
    ),
    (SuperSpeedPlusCapability(), "14100a000100000000110000" + "30400a00" + "b0400a00"),
    (UnknownCapability(0x0B), "03100b"),
]


@pytest.mark.parametrize(("capability", "data"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_there_and_back(capability: Capability, data: str) -> None:
    assert capability.to_bytes().hex() == data
    assert parse_capability(bytes.fromhex(data)) == capability


@given(st.integers(0, 20), st.binary(max_size=100))
def test_any_capability_comes_back_or_is_refused(kind: int, payload: bytes) -> None:
    data = bytes([3 + len(payload), 0x10, kind]) + payload
    try:
        parsed = parse_capability(data)
    except DescriptorError:
        return
    assert parsed.to_bytes() == data


def test_uuids() -> None:
    assert ContainerId(container_id=0x0F0E0D0C0B0A09080706050403020100).uuid == UUID(
        "03020100-0504-0706-0809-0a0b0c0d0e0f"
    )
    assert PlatformCapability.webusb(1).platform == WEBUSB
    assert PlatformCapability.microsoft_os_20((0, 10, 1, 0)).platform == MICROSOFT_OS_20


def test_a_bos_counts_itself() -> None:
    data = join_bos(Usb2Extension(), SuperSpeedCapability())
    assert data[:5].hex() == "050f160002"
    assert data[5:] == Usb2Extension().to_bytes() + SuperSpeedCapability().to_bytes()


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ("04100200", "bLength"),  # too short
        ("0a1003000e000000000000"[:20], "bFunctionalitySupport"),  # low speed is not among its speeds
        ("0a1003000e0001000008", "wU2DevExitLat"),
        ("0a1003000e00010b0000", "bU1DevExitLat"),
        ("0a1003001e0001000000", "wSpeedsSupported"),
        ("1310050038b60834a909a0478bfda0768815b6", "bLength"),  # no whole UUID
        ("1710050038b60834a909a0478bfda0768815b665000121", "bLength"),  # WebUSB without its last byte
        ("14100500df60ddd88945c74c9cd2659d9e648a9f", "bLength"),  # no descriptor set
        ("10100a00010000000011000030400a00", "bLength"),  # two sublink speeds announced, one there
        ("0e100a0001000000001100003040", "bLength"),  # half a sublink speed
    ],
)
def test_what_a_capability_must_not_be(data: str, field: str) -> None:
    with pytest.raises(DescriptorError) as refusal:
        parse_capability(bytes.fromhex(data))
    assert refusal.value.field == field


@pytest.mark.parametrize("data", ["", "0310", "020f", "07100202000000ff", "07110202000000"])
def test_what_is_no_capability(data: str) -> None:
    with pytest.raises(DescriptorError, match="device capability"):
        parse_capability(bytes.fromhex(data))


def test_other_refusals() -> None:
    with pytest.raises(DescriptorError, match="must be 2 in a Usb2Extension"):
        Usb2Extension(capability=3)
    with pytest.raises(DescriptorError, match="must be built as ContainerId"):
        UnknownCapability(4)
    with pytest.raises(DescriptorError, match="must be at most 255"):
        UnknownCapability(0x20, bytes(253))
    with pytest.raises(DescriptorError, match="must be at least 11"):
        BosDescriptor(total_length=10, capability_count=2)
    with pytest.raises(DescriptorError, match="must fit into four bytes"):
        SuperSpeedPlusCapability(sublink_speeds=(1, 2**32))
