"""Folders that stand in for configfs, for sysfs and for a whole machine: what no test can have a kernel make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from gadget.cli.machine import Machine
from gadget.configfs.steps import MakeDirectory, MakeLink, Step, WriteAttribute


def make_tree(root: Path, steps: Iterable[Step], udc: str = "") -> None:
    """As the kernel would, but that an attribute comes to be when it is written."""
    name = ""
    for step in steps:
        path, name = root / step.path, step.path.parts[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        match step:
            case MakeDirectory():
                path.mkdir(exist_ok=True)
            case WriteAttribute(value=value):
                path.write_bytes(value + b"\n")
            case MakeLink(target=target):
                path.symlink_to(root / target)
    (root / name / "UDC").write_text(f"{udc}\n")


def make_controller(sysfs: Path, name: str, **attributes: str) -> None:
    folder = sysfs / name
    folder.mkdir(parents=True)
    given = {"state": "not attached", "current_speed": "UNKNOWN", "maximum_speed": "high-speed", "function": ""}
    for key, value in {**given, **attributes}.items():
        if key != "driver":
            (folder / key).write_text(f"{value}\n")
    if "driver" in attributes:
        drivers = sysfs.parent / "drivers" / attributes["driver"]
        drivers.mkdir(parents=True, exist_ok=True)
        (folder / "device").mkdir()
        (folder / "device/driver").symlink_to(drivers)


def make_machine(root: Path, files: Mapping[str, str], *, uid: int = 0, **given: object) -> Machine:
    """A machine of files."""
    for path, text in {"proc/sys/kernel/osrelease": "6.1.0-test", **files}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    fields = {"environment": {}, "prefix": Path("/usr"), "is_virtual_environment": False, **given}
    return Machine(root, uid, **fields)  # type: ignore[arg-type]
