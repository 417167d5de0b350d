"""Finds USB device controllers (UDC), binds gadgets to them, and says why when the kernel only says EBUSY."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gadget.configfs.apply import USB_GADGET_ROOT, write_attribute
from gadget.errors import (
    ControllerBusyError,
    KernelError,
    NoControllerError,
    NotPermittedError,
    OutOfEndpointsError,
    UsageError,
)
from gadget.protocol.constants import Speed

#: Where the kernel lists controllers.
SYSFS = Path("/sys/class/udc")

#: The kernel's log, one record a read.
KERNEL_LOG = Path("/dev/kmsg")

#: ENOTSUPP of ``include/linux/errno.h``, which has no name outside of the kernel: what f_fs.c returns from bind
#: when the controller has no endpoint for a descriptor.
ENOTSUPP = 524

_FAILED_START = re.compile(r"failed to start .*: -(\d+)")
_OUT_OF_ENDPOINTS = "the controller has no endpoint left of a kind that the gadget declares; declare fewer"


@dataclass(frozen=True, slots=True)
class Controller:
    """A USB device controller as ``/sys/class/udc`` shows it (``Documentation/ABI/stable/sysfs-class-udc``).

    Attributes:
        name: As written to a gadget's UDC attribute.
        state: "configured", "suspended", "not attached" ... It lags: it stays "configured" through suspend and unbind.
        current_speed: The speed of the connection, None while there is none.
        maximum_speed: The fastest that it can do, None if it does not say.
        driver: The kernel driver, None if it does not say.
        gadget: The gadget in configfs that holds it.
        function: What its kernel driver calls the one that holds it; also there for a legacy gadget (``g_ether``) and
            raw-gadget, which configfs knows nothing of.
    """

    name: str
    state: str
    current_speed: Speed | None = None
    maximum_speed: Speed | None = None
    driver: str | None = None
    gadget: str | None = None
    function: str | None = None

    @property
    def holder(self) -> str | None:
        """Who holds it, for people to read; None if it is free."""
        if self.gadget is not None:
            return f"gadget {self.gadget}"
        return None if self.function is None else f"{self.function} (no gadget in configfs: a legacy module?)"


def list_controllers(sysfs: Path = SYSFS, root: Path = USB_GADGET_ROOT) -> list[Controller]:
    """Lists the controllers by name; empty where there is none.

    Args:
        sysfs: The folder of all controllers.
        root: The folder of all gadgets, to find out who holds them.
    """
    holders = {_read(tree / "UDC"): tree.name for tree in _folders(root)}
    return [_controller(folder, holders) for folder in _folders(sysfs)]


def _folders(parent: Path) -> list[Path]:
    try:
        found = sorted(parent.iterdir(), key=lambda folder: _natural(folder.name))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [folder for folder in found if folder.is_dir()]


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts ``dummy_udc.10`` behind ``dummy_udc.9``."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]


def _controller(folder: Path, holders: dict[str, str]) -> Controller:
    driver = folder / "device" / "driver"
    return Controller(
        name=folder.name,
        state=_read(folder / "state"),
        current_speed=_speed(_read(folder / "current_speed")),
        maximum_speed=_speed(_read(folder / "maximum_speed")),
        driver=driver.resolve().name if driver.exists() else None,
        gadget=holders.get(folder.name),
        function=_read(folder / "function") or None,
    )


def _speed(name: str) -> Speed | None:
    try:
        return Speed.from_name(name)
    except UsageError:
        return None


def _read(path: Path) -> str:
    """Reads an attribute; what went away in the meantime reads as empty."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def choose(name: str | None = None, sysfs: Path = SYSFS, root: Path = USB_GADGET_ROOT) -> Controller:
    """Chooses a controller that is free.

    Args:
        name: Its name; None takes the first one that is free.
        sysfs: The folder of all controllers.
        root: The folder of all gadgets.

    Raises:
        NoControllerError: There is none, or none of this name.
        ControllerBusyError: It already serves another gadget, or all of them do.
    """
    controllers = list_controllers(sysfs, root)
    candidates = [controller for controller in controllers if name in (None, controller.name)]
    if not candidates:
        raise NoControllerError(errno.ENODEV, _why_none(name, controllers))
    for controller in candidates:
        if controller.holder is None:
            return controller
    held = "; ".join(f"{controller.name} is held by {controller.holder}" for controller in candidates)
    raise ControllerBusyError(errno.EBUSY, f"{held}; stop that one first, or name another controller")


def _why_none(name: str | None, controllers: list[Controller]) -> str:
    if controllers:
        return f"there is no USB device controller {name!r}; there are: {', '.join(c.name for c in controllers)}"
    return (
        f"there is no USB device controller{'' if name is None else f' {name!r}'} on this machine. On a Raspberry Pi: "
        "dtoverlay=dwc2,dr_mode=peripheral in /boot/firmware/config.txt, reboot, and a data cable in the port that can "
        "be a device. Without such hardware: gadget vm, or as root modprobe dummy_hcd"
    )


def bind(gadget_path: Path, controller: Controller | str, sysfs: Path = SYSFS, log: Path = KERNEL_LOG) -> None:
    """Binds a gadget to a controller, so that the host sees it; a gadget bound there already is left as it is.

    Args:
        gadget_path: The gadget's folder in configfs.
        controller: The controller, or its name.
        sysfs: The folder of all controllers.
        log: The kernel's log, which knows why when the kernel refuses.

    Raises:
        NoControllerError: There is no such controller.
        ControllerBusyError: It serves another gadget.
        OutOfEndpointsError: It has no endpoint for something that the gadget declares.
        KernelError: Another refusal, with what the kernel's log says about it.
    """
    name = controller if isinstance(controller, str) else controller.name
    if _check_bindable(gadget_path, name, sysfs):
        return
    with kernel_log(log) as collect:
        try:
            write_attribute(gadget_path / "UDC", name.encode())
        except OSError as error:
            raise explain_refusal(error, gadget_path, name, collect(), sysfs) from error


def _check_bindable(gadget_path: Path, name: str, sysfs: Path) -> bool:
    """Refuses what cannot work before the kernel turns it into EBUSY; True if there is nothing left to do."""
    bound = _read(gadget_path / "UDC")
    if bound == name:
        return True
    if bound:
        message = f"gadget {gadget_path.name} is bound to {bound}; unbind it before binding it to {name}"
        raise KernelError(errno.EBUSY, message, str(gadget_path / "UDC"))
    choose(name, sysfs, gadget_path.parent)
    return False


@contextmanager
def kernel_log(log: Path = KERNEL_LOG) -> Iterator[Callable[[], list[str]]]:
    """Follows the kernel's log through a ``with`` block (``Documentation/ABI/testing/dev-kmsg``).

    Args:
        log: The kernel's log, one record a read.

    Yields:
        A function that returns the messages logged since the block began or since it was last called, without
        prefixes; none where this user may not read the log.
    """
    try:
        descriptor = os.open(log, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        yield list
        return
    try:
        os.lseek(descriptor, 0, os.SEEK_END)
        yield lambda: [message for record in _records(descriptor) for message in _messages(record)]
    finally:
        os.close(descriptor)


def _records(descriptor: int) -> Iterator[bytes]:
    while True:
        try:
            record = os.read(descriptor, 8192)
        except BrokenPipeError:
            # Records were overwritten before they were read; the next read goes on behind the gap.
            continue
        except BlockingIOError:
            return
        if not record:
            return
        yield record


def _messages(record: bytes) -> list[str]:
    """Drops the prefix up to the semicolon, and the indented lines that name the device."""
    lines = record.decode(errors="replace").splitlines()
    return [line.partition(";")[2] for line in lines if ";" in line and not line.startswith(" ")]


def explain_refusal(error: OSError, tree: Path, name: str, lines: list[str], sysfs: Path) -> KernelError:
    """Turns a failed write to a gadget's UDC attribute into the error to raise.

    Args:
        error: What the write raised; on Linux 6.1 it is EBUSY for everything.
        tree: The gadget's folder in configfs.
        name: The controller.
        lines: What the kernel logged meanwhile.
        sysfs: The folder of all controllers.
    """
    code = error.errno or errno.EIO
    path = str(tree / "UDC")
    if code in (errno.EACCES, errno.EPERM):
        message = f"cannot bind gadget {tree.name} to {name}: run it as root (sudo)"
        return NotPermittedError(code, message, path)
    said = f"the kernel's log: {' | '.join(lines)}" if lines else "the kernel's log (dmesg, as root) says more"
    kind, reason = _reason(tree, name, lines, sysfs)
    return kind(code, f"cannot bind gadget {tree.name} to {name}: {reason} ({os.strerror(code)}; {said})", path)


def _reason(tree: Path, name: str, lines: list[str], sysfs: Path) -> tuple[type[KernelError], str]:
    if (inner := _inner_code(lines)) == ENOTSUPP:
        return OutOfEndpointsError, _OUT_OF_ENDPOINTS
    controller = next((c for c in list_controllers(sysfs, tree.parent) if c.name == name), None)
    if controller is None:
        return NoControllerError, "the controller has gone away"
    if controller.holder is not None:
        return ControllerBusyError, f"{controller.holder} has just taken it"
    if unready := _unready(tree):
        return (
            KernelError,
            f"{', '.join(unready)} not mounted here, or no descriptors written to its ep0; do that first",
        )
    if inner == errno.ENODEV:
        return OutOfEndpointsError, _OUT_OF_ENDPOINTS
    return KernelError, "the kernel refused"


def _inner_code(lines: list[str]) -> int | None:
    """The error with which the gadget failed to start, which the kernel logs and then replaces by EBUSY."""
    codes = (int(match[1]) for line in lines if (match := _FAILED_START.search(line)))
    return next(codes, None)


def _unready(tree: Path) -> list[str]:
    """The FunctionFS instances whose data endpoints have no files, which appear with the descriptors."""
    written = {
        f"ffs.{instance}"
        for instance, folder in functionfs_mounts()
        if any(entry.name != "ep0" for entry in folder.iterdir())
    }
    instances = [folder.name for folder in _folders(tree / "functions") if folder.name.startswith("ffs.")]
    return [name for name in instances if name not in written]


def functionfs_mounts(mountinfo: Path = Path("/proc/self/mountinfo")) -> list[tuple[str, Path]]:
    """Lists every FunctionFS that is mounted, as instance and mount point, as often as it is mounted.

    Args:
        mountinfo: The list of mounts (proc(5)).
    """
    found = []
    for line in os.fsdecode(mountinfo.read_bytes()).splitlines():
        place, _, kind = line.partition(" - ")
        if kind.split()[:1] == ["functionfs"]:
            found.append((_unescaped(kind.split()[1]), Path(_unescaped(place.split()[4]))))
    return found


def _unescaped(text: str) -> str:
    """Undoes the kernel's octal escapes for blank, tab, line break and backslash (``fs/proc_namespace.c``, mangle)."""
    for character in " \t\n\\":
        text = text.replace(f"\\{ord(character):03o}", character)
    return text


def unbind(gadget_path: Path) -> None:
    """Takes a gadget off its controller; one that is not bound, or gone, is no failure.

    Raises:
        KernelError: The kernel refused.
    """
    path = gadget_path / "UDC"
    try:
        write_attribute(path, b"\n")
    except OSError as error:
        # ENODEV is what a gadget answers that is not bound, and the last close of a FunctionFS ep0 unbinds by itself.
        if error.errno in (errno.ENODEV, errno.ENOENT):
            return
        kind = NotPermittedError if isinstance(error, PermissionError) else KernelError
        code = error.errno or errno.EIO
        message = f"cannot unbind gadget {gadget_path.name}: {os.strerror(code)}"
        raise kind(code, message, str(path)) from error
