"""What the flags of a descriptor blob make the kernel do, where no function of ours uses them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gadget.configfs.apply import USB_GADGET_ROOT, applied, ensure_configfs
from gadget.configfs.model import ConfigurationModel, GadgetModel
from gadget.configfs.plan import plan
from gadget.configfs.record import default_folder
from gadget.configfs.udc import bind, unbind
from gadget.functionfs.mount import functionfs
from gadget.protocol.constants import Direction, FunctionFSFlag, Speed, TransferType
from gadget.protocol.declaration import EndpointDeclaration
from gadget.protocol.descriptors import EndpointDescriptor, InterfaceDescriptor, parse_descriptors
from gadget.protocol.functionfs_blobs import NO_FLAGS, descriptors_blob, strings_blob
from gadget.testing import BenchController, Bus, KernelLog

pytestmark = pytest.mark.usb

NAME = "test-flags"


@pytest.fixture
def folder() -> Iterator[Path]:
    ensure_configfs()
    model = GadgetModel(NAME, configurations=(ConfigurationModel(functions=(f"ffs.{NAME}",)),))
    with applied(plan(model)), functionfs(NAME, default_folder() / f"ffs.{NAME}") as mounted:
        yield mounted


@contextmanager
def described(folder: Path, number: int, flags: FunctionFSFlag) -> Iterator[Path]:
    """One bulk endpoint under a number of our choice, ready to be bound."""
    endpoint = EndpointDeclaration(Direction.IN, TransferType.BULK)
    interface = InterfaceDescriptor(0, 0, 1, 0xFF)
    speeds = (Speed.FULL, Speed.HIGH, Speed.SUPER)
    descriptors = {speed: [interface, *endpoint.descriptors(speed, number)] for speed in speeds}
    ep0 = os.open(folder / "ep0", os.O_RDWR | os.O_CLOEXEC)
    try:
        os.write(ep0, descriptors_blob(descriptors, flags=flags))
        os.write(ep0, strings_blob({}))
        yield USB_GADGET_ROOT / NAME
    finally:
        os.close(ep0)


def number_read(usb_bus: Bus, udc: BenchController, tree: Path) -> int:
    """The number in the endpoint's descriptor that the host has read."""
    with usb_bus.serve(tree, udc=udc) as served:
        data = (served.device.path / "descriptors").read_bytes()
    (found,) = (one.number for one in parse_descriptors(data) if isinstance(one, EndpointDescriptor))
    return found


def test_virtual_addresses(folder: Path, usb_bus: Bus, udc: BenchController, guest_log: KernelLog) -> None:
    """They are of no use on Linux 6.1, unless they are those of the controller.

    The host reads the declared address, and the kernel looks the endpoint up by the controller's: it then refuses to be
    configured (composite.c, config_ep_by_speed_and_alt).
    """
    with described(folder, 10, NO_FLAGS) as tree:
        own = number_read(usb_bus, udc, tree)
        assert own != 10
    with described(folder, own, FunctionFSFlag.VIRTUAL_ADDR) as tree:
        assert number_read(usb_bus, udc, tree) == own
    with described(folder, 10, FunctionFSFlag.VIRTUAL_ADDR) as tree:
        bind(tree, udc.name)
        guest_log.wait_for(r"config_ep_by_speed\(.*\) returned -5")
        guest_log.wait_for(r"can't set config #1")
        unbind(tree)
