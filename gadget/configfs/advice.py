"""Says why the kernel refused a step of a plan, and what to do about it."""

from __future__ import annotations

import errno
import os
from pathlib import Path, PurePosixPath

from gadget.configfs.reading import read_text
from gadget.configfs.steps import MakeDirectory, MakeLink, Step, WriteAttribute
from gadget.errors import KernelError, MissingModuleError, NotPermittedError, UnsupportedError


def refused_step(error: OSError, step: Step, root: Path) -> KernelError:
    """Turns what a step failed with into the error to raise.

    Args:
        error: What the kernel answered.
        step: The step.
        root: The folder of all gadgets.
    """
    code = error.errno or errno.EIO
    path = root / step.path
    kind, advice = _advice(code, step, root)
    return kind(code, f"{_attempt(step, root)}: {os.strerror(code)}; {advice}", str(path))


def _attempt(step: Step, root: Path) -> str:
    match step:
        case WriteAttribute(path, value):
            return f"cannot write {value.decode(errors='backslashreplace')!r} to {root / path}"
        case MakeLink(path, target):
            return f"cannot link {root / path} to {root / target}"
    return f"cannot make {root / step.path}"


def _advice(code: int, step: Step, root: Path) -> tuple[type[KernelError], str]:
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return NotPermittedError, _advice_on_permission()
    if code == errno.ENOENT:
        return _advice_on_missing(step, root)
    match step:
        case MakeDirectory(path) if code == errno.EEXIST and len(path.parts) == 1:
            return KernelError, _describe_existing(root / path)
        case MakeDirectory(path) if code == errno.EBUSY and _is_function(path):
            return KernelError, _advice_on_busy_function(path.name, root)
        case MakeDirectory(path) if code == errno.EOVERFLOW and path.parts[-2] == "strings":
            return UnsupportedError, "this kernel takes no more languages: Linux 6.1 takes two"
        case WriteAttribute():
            return KernelError, "the kernel does not take this value here; its log (dmesg) may say why"
    return KernelError, "the kernel's log (dmesg) may say why"


def _advice_on_permission() -> str:
    if os.geteuid() == 0:
        return "this is root already: configfs allows nothing else here, or this container keeps it read-only"
    return "run it as root (sudo), or let root hand this folder to your user"


def _advice_on_missing(step: Step, root: Path) -> tuple[type[KernelError], str]:
    if not root.is_dir():
        return MissingModuleError, "as root: modprobe libcomposite && mount -t configfs none /sys/kernel/config"
    match step:
        case MakeDirectory(path) if _is_function(path) and (root / path).parent.is_dir():
            family = path.name.partition(".")[0]
            return MissingModuleError, (
                f"the kernel has no function {family!r}: as root, modprobe usbfunc:{family}, "
                "or use a kernel that has a module for it"
            )
        case WriteAttribute(path) if path.parts[1:2] == ("webusb",) and not (root / path).parent.is_dir():
            return UnsupportedError, "this kernel has no WebUSB, which came with Linux 6.3; leave webusb out"
        case WriteAttribute(path) if (root / path).exists():
            return KernelError, "what the value names is not there"
        case WriteAttribute(path) if (root / path).parent.is_dir():
            return KernelError, f"this kernel has no attribute {path.name!r} (max_speed came with Linux 5.10)"
    return KernelError, "the folder that it belongs in is gone; did something else remove the gadget?"


def _describe_existing(tree: Path) -> str:
    bound = read_text(tree / "UDC")
    functions = sorted(entry.name for entry in (tree / "functions").glob("*"))
    return (
        f"a gadget of this name is there already, {f'bound to {bound}' if bound else 'not bound'}, "
        f"with the functions: {', '.join(functions) or 'none'}; it was left alone. "
        "Choose another name, or remove it first"
    )


def _is_function(path: PurePosixPath) -> bool:
    return len(path.parts) == 3 and path.parts[1] == "functions"


def _advice_on_busy_function(instance: str, root: Path) -> str:
    holders = sorted(tree.parent.parent.name for tree in root.glob(f"*/functions/{instance}"))
    if holders:
        return f"gadget {', '.join(holders)} has an instance of this name; choose another name, or remove that gadget"
    if not instance.startswith("ffs."):
        return "the kernel has no more instances of this kind to give; remove a gadget that has some"
    return (
        "the legacy module g_ffs is loaded (modprobe -r g_ffs), or a killed process left an instance of this name "
        "mounted (findmnt -t functionfs)"
    )
