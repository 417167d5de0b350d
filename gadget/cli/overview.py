"""What there is on this machine: controllers, gadgets, functions, and who holds what; as values that JSON has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gadget.configfs.apply import USB_GADGET_ROOT
from gadget.configfs.record import RECORDS, Record, is_alive
from gadget.configfs.udc import SYSFS, Controller, list_controllers
from gadget.errors import GadgetError
from gadget.functionfs.mount import functionfs_mounts
from gadget.kernel_functions import KernelFunction
from gadget.services.existing import ExistingGadget, list_gadgets
from gadget.services.function_folder import in_order


def overview(
    root: Path = USB_GADGET_ROOT, sysfs: Path = SYSFS, records: Path | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Finds everything out.

    Args:
        root: The folder of all gadgets.
        sysfs: The folder of all controllers.
        records: The folder of the ownership records; that of the system by default.
    """
    mounts = {f"ffs.{instance}": str(folder) for instance, folder in functionfs_mounts()}
    owners = {record.name: record for record in read_records(records or RECORDS) if record.tree.parent == root}
    return {
        "controllers": [_controller(each) for each in list_controllers(sysfs, root)],
        "gadgets": [_gadget(each, mounts, owners.get(each.name)) for each in list_gadgets(root)],
    }


def read_records(folder: Path) -> Iterator[Record]:
    """The ownership records in a folder; what is none, or not for this user to read, is passed over."""
    for path in sorted(folder.glob("*.json")):
        try:
            yield Record.from_json(path.read_bytes(), path)
        except (GadgetError, OSError):
            continue


def _controller(found: Controller) -> dict[str, Any]:
    return {
        "name": found.name,
        "driver": found.driver,
        "state": found.state,
        "speed": found.current_speed.maximum if found.current_speed else None,
        "maximum_speed": found.maximum_speed.maximum if found.maximum_speed else None,
        "gadget": found.gadget,
        "holder": found.holder,
    }


def _gadget(found: ExistingGadget, mounts: dict[str, str], record: Record | None) -> dict[str, Any]:
    text = found.attribute
    functions = [_function(name, each, mounts) for name, each in found.functions().items()]
    languages = in_order(found.path / "strings")
    strings = {
        name: text(f"strings/{languages[0]}/{name}") if languages else ""
        for name in ("manufacturer", "product", "serialnumber")
    }
    return {
        "name": found.name,
        "controller": text("UDC") or None,
        "vendor_id": text("idVendor"),
        "product_id": text("idProduct"),
        **strings,
        "owner": _owner(record),
        "configurations": [_configuration(found, each) for each in in_order(found.path / "configs")],
        "functions": functions,
    }


def _owner(record: Record | None) -> dict[str, Any] | None:
    if record is None:
        return None
    return {"pid": record.pid, "command": record.created_by, "alive": is_alive(record)}


def _configuration(gadget: ExistingGadget, folder: str) -> dict[str, Any]:
    below = gadget.path / "configs" / folder
    links = [below / each for each in in_order(below)]
    power = gadget.attribute(f"configs/{folder}/MaxPower")
    return {
        "number": int(folder.rpartition(".")[2]),
        "max_power_ma": int(power) if power.isdecimal() else None,
        "functions": [each.resolve().name for each in links if each.is_symlink()],
    }


def _function(name: str, function: KernelFunction, mounts: dict[str, str]) -> dict[str, Any]:
    try:
        devices = list(function.devices)
    except GadgetError:
        devices = []
    return {"instance": name, "devices": devices, "functionfs": mounts.get(name)}
