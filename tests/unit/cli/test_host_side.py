from __future__ import annotations

from pathlib import Path

import pytest

from gadget.cli.host_side import addresses, find_device
from gadget.protocol.constants import Direction, TransferType
from gadget.protocol.descriptors import (
    ConfigurationDescriptor,
    DeviceDescriptor,
    EndpointDescriptor,
    InterfaceDescriptor,
    join_descriptors,
)


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    for name, version in (("1-1", "0100"), ("1-2", "0200"), ("2-1", "0200")):
        (tmp_path / name).mkdir()
        for attribute, text in (("idVendor", "1d6b"), ("idProduct", "0104"), ("bcdDevice", version)):
            (tmp_path / name / attribute).write_text(f"{text}\n")
    (tmp_path / "1-1:1.0").mkdir()
    return tmp_path


def test_the_only_one_that_could_be_it(sysfs: Path) -> None:
    assert find_device((0x1D6B, 0x0104, 0x0100), sysfs) == sysfs / "1-1"
    assert find_device((0x1D6B, 0x0104, 0x0200), sysfs) is None, "there are two"
    assert find_device((0x1D6B, 0x0105, 0x0100), sysfs) is None


def test_addresses_by_interface(sysfs: Path) -> None:
    def endpoint(number: int) -> EndpointDescriptor:
        return EndpointDescriptor(Direction.IN | number, TransferType.ISOCHRONOUS, 64, 1)

    body = join_descriptors(
        [
            InterfaceDescriptor(0, 0, 1, 0xFF),
            endpoint(3),
            InterfaceDescriptor(1, 0, 0, 0xFF),
            InterfaceDescriptor(1, 1, 2, 0xFF),
            endpoint(1),
            endpoint(1),
        ]
    )
    device = DeviceDescriptor(0x0200, 0, 0, 0, 64, 0x1D6B, 0x0104, 0x0100, 0, 0, 0, 1)
    head = ConfigurationDescriptor(9 + len(body), 2)
    (sysfs / "1-1/descriptors").write_bytes(device.to_bytes() + head.to_bytes() + body)
    assert addresses(sysfs / "1-1") == {0: [0x83], 1: [0x81]}
