"""``gadget show WHAT``: what any gadget is, or any USB device of this host, in the form of ``lsusb -v``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from gadget.cli.anticipated import anticipated
from gadget.cli.arguments import completed
from gadget.cli.checking import check_subject
from gadget.cli.host_side import SYSFS, find_device
from gadget.cli.presented import is_all_known, presented, speeds_of
from gadget.cli.subject import of_file
from gadget.configfs.apply import USB_GADGET_ROOT
from gadget.errors import GadgetError, UsageError
from gadget.protocol.describe.names import CLASSES, Names
from gadget.protocol.describe.text import describe
from gadget.protocol.descriptors import ConfigurationDescriptor, DeviceDescriptor, InterfaceDescriptor
from gadget.protocol.tolerant import parse_tolerant
from gadget.services.existing import ExistingGadget

#: Where distributions keep the list of vendors, products and classes.
USB_IDS = (Path("/usr/share/hwdata/usb.ids"), Path("/usr/share/misc/usb.ids"), Path("/var/lib/usbutils/usb.ids"))


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "show",
        help="show what a gadget or a USB device is",
        description="Shows what a gadget is, or the descriptors of a device in the form of lsusb -v, whatever is wrong "
        "with them. Needs no rights, and opens no device.",
    )
    text = (
        "a gadget in configfs, by its name; a device of this host as sysfs names it (1-1); a file with raw "
        "descriptors, - for standard input; or FILE.py[:NAME], a gadget, shown as it would be at each speed"
    )
    completed(parser.add_argument("target", metavar="WHAT", help=text), "gadget")
    parser.add_argument("--ids", metavar="FILE", type=Path, help="the list of names; this machine's usb.ids")
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Shows it."""
    names = _names(options.ids)
    for text in _texts(options.target, names):
        sys.stdout.write(text)
        sys.stdout.flush()
    return 0


def _texts(target: str, names: Names) -> Iterator[str]:
    path = Path(target)
    if target == "-":
        yield describe(sys.stdin.buffer.read(), names=names)
    elif target.partition(":")[0].endswith(".py"):
        yield from _gadget(target, names)
    elif path.is_file():
        yield describe(_read(path), names=names)
    elif "/" not in target and (USB_GADGET_ROOT / target).is_dir():
        yield from existing_texts(ExistingGadget(target), names)
    else:
        # A name alone is that of a device in sysfs; so is the path of its folder.
        yield _device(path if "/" in target else SYSFS / target, names)


def _gadget(target: str, names: Names) -> Iterator[str]:
    subject = of_file(target)
    gadget = subject.gadget
    if gadget is None or not is_all_known(gadget):
        report = check_subject(subject, None)
        for speed in report.speeds:
            yield from anticipated(subject, report, speed)
        return
    for speed in speeds_of(gadget):
        found = presented(gadget, speed)
        yield f"{gadget.name} at {speed.maximum} (the controller chooses the endpoint addresses):\n"
        yield describe(found.data, names=names, string=found.strings)


def existing_texts(gadget: ExistingGadget, names: Names) -> Iterator[str]:
    """What a gadget in configfs is, and what its host has of it if that is this machine as well."""
    yield f"{gadget.name}: {_bound(gadget)}\n"
    for name in _ATTRIBUTES:
        yield f"  {name:22}{gadget.attribute(name)}\n"
    for strings in sorted((gadget.path / "strings").glob("*/*")):
        relative = str(strings.relative_to(gadget.path))
        yield f"  {relative:36}{gadget.attribute(relative)}\n"
    for instance, function in gadget.functions().items():
        try:
            devices = " ".join(function.devices)
        except GadgetError:
            devices = ""
        yield f"  {instance:22}{devices}".rstrip() + "\n"
        for step in function.steps():
            yield f"    {step}\n"
    if (device := _on_this_host(gadget)) is not None:
        yield f"\nas this machine sees it, which is its host too ({device.name}):\n"
        yield _device(device, names)


_ATTRIBUTES = [
    "idVendor",
    "idProduct",
    "bcdDevice",
    "bcdUSB",
    "bDeviceClass",
    "bDeviceSubClass",
    "bDeviceProtocol",
    "max_speed",
]


def _bound(gadget: ExistingGadget) -> str:
    controller = gadget.controller
    if controller is None:
        return "bound to no controller"
    speed = f" at {controller.current_speed.maximum}" if controller.current_speed else ""
    return f"bound to {controller.name}, {controller.state}{speed}"


def _on_this_host(gadget: ExistingGadget) -> Path | None:
    if gadget.controller is None:
        return None
    return find_device([int(gadget.attribute(name) or "0", 0) for name in ("idVendor", "idProduct", "bcdDevice")])


def _names(file: Path | None) -> Names:
    """The names in a file, or in this machine's own; classes by name where there is none."""
    found = file or next((path for path in USB_IDS if path.is_file()), None)
    return CLASSES if found is None else Names.parse(_read(found).decode(errors="replace"))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def _device(folder: Path, names: Names) -> str:
    if not (folder / "descriptors").is_file():
        known = ", ".join(sorted(path.name for path in SYSFS.glob("*") if (path / "descriptors").is_file()))
        what = f"there is no gadget, no file and no USB device {folder.name!r}"
        raise UsageError(f"{what}; devices of this host: {known or 'none'}")
    data = _read(folder / "descriptors")
    # The kernel shows the BOS from Linux 6.9 on.
    bos = folder / "bos_descriptors"
    more = [_read(bos)] if bos.is_file() else []
    return _title(folder, names) + describe(data, *more, names=names, string=_strings(folder, data))


def _attribute(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


def _title(folder: Path, names: Names) -> str:
    bus, address, vendor, product = (_attribute(folder / name) or "0" for name in _TITLE)
    identity = int(vendor, 16), int(product, 16)
    called = f"{names.vendors.get(identity[0], '')} {names.products.get(identity, '')}"
    title = f"Bus {int(bus):03} Device {int(address):03}: ID {vendor}:{product} {called}"
    return f"{title.rstrip()}\n"


_TITLE = ("busnum", "devnum", "idVendor", "idProduct")


def _strings(folder: Path, data: bytes) -> dict[int, str]:
    """The strings that the kernel has read already, by the numbers that the descriptors have for them."""
    found: dict[int, str | None] = {}
    configuration = _attribute(folder / "bConfigurationValue")
    active = False
    for one in parse_tolerant(data):
        match one:
            case DeviceDescriptor():
                found[one.manufacturer] = _attribute(folder / "manufacturer")
                found[one.product] = _attribute(folder / "product")
                found[one.serial_number] = _attribute(folder / "serial")
            case ConfigurationDescriptor():
                active = str(one.value) == configuration
                found |= {one.string: _attribute(folder / "configuration")} if active else {}
            case InterfaceDescriptor() if active:
                found |= _interface_string(folder / f"{folder.name}:{configuration}.{one.number}", one)
    return {number: text for number, text in found.items() if number and text is not None}


def _interface_string(folder: Path, interface: InterfaceDescriptor) -> dict[int, str | None]:
    """The kernel shows it for the alternate setting that the interface has now."""
    setting = _attribute(folder / "bAlternateSetting")
    if setting is None or int(setting) != interface.alternate_setting:
        return {}
    return {interface.string: _attribute(folder / "interface")}
