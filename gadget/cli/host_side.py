"""A gadget as this machine sees it where it is its host as well: dummy_hcd, usbip, a cable from port to port."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from gadget.configfs.reading import read_text
from gadget.protocol.descriptors import EndpointDescriptor, InterfaceDescriptor
from gadget.protocol.tolerant import parse_tolerant

SYSFS = Path("/sys/bus/usb/devices")

_IDENTITY = ("idVendor", "idProduct", "bcdDevice")


def find_device(identity: Sequence[int], sysfs: Path = SYSFS) -> Path | None:
    """The device of this machine's own buses that a gadget is, if there is only one that could be it.

    Args:
        identity: idVendor, idProduct and bcdDevice.
        sysfs: The folder of all devices.
    """
    wanted = [f"{number:04x}" for number in identity]
    found = [folder for folder in sysfs.glob("*-*") if [read_text(folder / name) for name in _IDENTITY] == wanted]
    return found[0] if len(found) == 1 else None


def addresses(device: Path) -> Mapping[int, list[int]]:
    """The addresses of a device's endpoints by the number of their interface, in its first configuration."""
    found: dict[int, list[int]] = {}
    interface = 0
    for one in parse_tolerant((device / "descriptors").read_bytes()):
        if isinstance(one, InterfaceDescriptor):
            interface = one.number
        elif isinstance(one, EndpointDescriptor):
            known = found.setdefault(interface, [])
            known += [one.address] if one.address not in known else []
    return found
