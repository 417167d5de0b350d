"""Carries the steps of :mod:`gadget.configfs.plan` out in configfs, and takes them back, whatever fails in between."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from gadget.configfs.advice import refused_step
from gadget.configfs.plan import undo
from gadget.configfs.steps import (
    Entry,
    MakeDirectory,
    MakeLink,
    RemoveDirectory,
    RemoveLink,
    Step,
    UndoStep,
    WriteAttribute,
)
from gadget.configfs.terminals import FAMILIES, check_closed
from gadget.errors import MissingModuleError, NotPermittedError, NotUndoneError
from gadget.functionfs.mount import mount

log = logging.getLogger("gadget.configfs")

#: How the folders of functions with a terminal begin.
TERMINALS = tuple(f"{family}." for family in FAMILIES)

#: Where configfs is mounted.
CONFIGFS = Path("/sys/kernel/config")

#: The folder of all gadgets; libcomposite makes it.
USB_GADGET_ROOT = CONFIGFS / "usb_gadget"


@contextmanager
def applied(steps: Sequence[Step], root: Path = USB_GADGET_ROOT) -> Iterator[Path]:
    """Makes a gadget's tree for the length of a ``with`` block.

    Args:
        steps: What :func:`gadget.configfs.plan.plan` returned.
        root: The folder of all gadgets.

    Yields:
        The gadget's folder.

    Raises:
        KernelError: The kernel refused a step; those before it were taken back.
        NotUndoneError: Something could not be removed, on leaving or after a refusal; everything else was.
    """
    apply(steps, root)
    try:
        yield root / steps[0].path.parts[0]
    finally:
        revert(undo(steps), root)


def apply(steps: Sequence[Step], root: Path = USB_GADGET_ROOT) -> None:
    """Carries out steps in their order; a failure takes back exactly those that were carried out.

    Raises:
        KernelError: The kernel refused a step. The message names the path, the value and what to do.
        NotUndoneError: It refused, and then what was there could not be removed either.
    """
    done: list[Step] = []
    try:
        for step in steps:
            _execute(step, root)
            done.append(step)
    except BaseException:
        revert(undo(done), root)
        raise


def revert(steps: Iterable[UndoStep], root: Path = USB_GADGET_ROOT) -> None:
    """Removes what the steps name, and goes on where something cannot be removed; what is gone already is no failure.

    Raises:
        NotUndoneError: Something is still there; the message lists it.
    """
    failures: list[tuple[Path, OSError]] = []
    for step in steps:
        try:
            _remove(step, root)
        except OSError as error:
            failures.append((root / step.path, error))
    if failures:
        path, first = failures[0]
        left = "; ".join(f"{path}: {error.strerror}" for path, error in failures)
        advice = "see who uses it (fuser -vm on its FunctionFS mount), then start the gadget again to clean up"
        raise NotUndoneError(first.errno or errno.EIO, f"could not remove {left}; {advice}", str(path)) from first


def listing(name: str, root: Path = USB_GADGET_ROOT) -> list[Entry]:
    """Lists the folders and links of a gadget's tree for :func:`gadget.configfs.plan.tree_undo`; empty without one."""
    if not (root / name).is_dir():
        return []
    found = [Entry(PurePosixPath(name))]
    for folder, folders, files in os.walk(root / name):
        for entry in (Path(folder, child) for child in (*folders, *files)):
            if entry.is_symlink() or entry.is_dir():
                found.append(Entry(PurePosixPath(entry.relative_to(root)), is_link=entry.is_symlink()))
    return found


def _execute(step: Step, root: Path) -> None:
    log.debug("%s", step)
    try:
        match step:
            case MakeDirectory(path):
                (root / path).mkdir()
            case WriteAttribute(path, value):
                write_attribute(root / path, value)
            case MakeLink(path, target):
                # configfs looks the target up from the working folder of the process, not from the link's.
                (root / path).symlink_to((root / target).absolute())
    except OSError as error:
        raise refused_step(error, step, root) from error


def _remove(step: UndoStep, root: Path) -> None:
    log.debug("%s", step)
    try:
        match step:
            case RemoveLink(path):
                (root / path).unlink()
            case RemoveDirectory(path):
                if len(path.parts) == 3 and path.parts[1] == "functions" and path.name.startswith(TERMINALS):
                    check_closed(root / path)
                (root / path).rmdir()
    except FileNotFoundError:
        pass
    except PermissionError as error:
        if error.errno != errno.EPERM or not (isinstance(step, RemoveDirectory) and step.perhaps_default):
            raise


def write_attribute(path: Path, value: bytes) -> None:
    """Writes an attribute in one call, as the kernel acts on each write by itself; never makes a file.

    Raises:
        OSError: What the kernel answered, untranslated.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        written = os.write(descriptor, value)
    finally:
        os.close(descriptor)
    if written != len(value):
        raise OSError(errno.EIO, f"the kernel took {written} of {len(value)} bytes", str(path))


def ensure_configfs() -> None:
    """Sees to it that gadgets can be made: loads libcomposite and mounts configfs where they are missing.

    Raises:
        NotPermittedError: Something is missing, and this is not root.
        MissingModuleError: The kernel has no libcomposite.
        KernelError: configfs cannot be mounted.
    """
    if USB_GADGET_ROOT.is_dir():
        return
    if os.geteuid() != 0:
        advice = f"as root: modprobe libcomposite && mount -t configfs none {CONFIGFS}"
        raise NotPermittedError(errno.EPERM, f"{USB_GADGET_ROOT} is not there; {advice}", str(USB_GADGET_ROOT))
    # The folder to mount configfs on appears with its module, which libcomposite brings along.
    reason = _modprobe("libcomposite")
    if CONFIGFS.is_dir() and not CONFIGFS.is_mount():
        mount("none", CONFIGFS, "configfs")
    if not USB_GADGET_ROOT.is_dir():
        advice = "use a kernel with CONFIG_USB_CONFIGFS and CONFIG_USB_LIBCOMPOSITE, or a virtual machine (gadget vm)"
        message = f"there is no USB gadget support here ({reason or 'libcomposite is loaded'}); {advice}"
        raise MissingModuleError(errno.ENOENT, message, str(USB_GADGET_ROOT))


def _modprobe(module: str) -> str:
    """Loads a module and returns what went wrong, empty if nothing did."""
    import shutil  # Here, since it brings all compressors with it, and hardly anybody needs it.

    # Root's PATH in a service or under su may leave out the folders of the system's own tools.
    program = shutil.which("modprobe", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin")))
    if program is None:
        return "modprobe is not installed; it is in the package kmod"
    finished = subprocess.run([program, module], capture_output=True, text=True, errors="replace", check=False)
    return "" if finished.returncode == 0 else finished.stderr.strip() or f"modprobe ended with {finished.returncode}"
