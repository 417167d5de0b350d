"""Finds USB device controllers (UDC), and binds gadgets to them."""

from __future__ import annotations

import errno
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

from gadget.configfs.apply import USB_GADGET_ROOT, write_attribute
from gadget.configfs.reading import read_text
from gadget.configfs.refusal import KERNEL_LOG, explain_refusal, kernel_log
from gadget.errors import (
    ControllerBusyError,
    KernelError,
    NoControllerError,
    NotPermittedError,
    UsageError,
)
from gadget.protocol.constants import Speed

logger = logging.getLogger("gadget.configfs")

#: Where the kernel lists controllers.
SYSFS = Path("/sys/class/udc")


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
        is_otg: It can be the host's side as well.
        is_self_powered: The gadget that is bound says that it has a power supply of its own.
    """

    name: str
    state: str
    current_speed: Speed | None = None
    maximum_speed: Speed | None = None
    driver: str | None = None
    gadget: str | None = None
    function: str | None = None
    is_otg: bool = False
    is_self_powered: bool = False

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
    holders = _holders(root)
    return [_controller(folder, holders) for folder in _folders(sysfs)]


def read_controller(name: str, sysfs: Path = SYSFS, root: Path = USB_GADGET_ROOT) -> Controller | None:
    """One controller; None where there is none of this name.

    Args:
        name: As :func:`list_controllers` has it.
        sysfs: The folder of all controllers.
        root: The folder of all gadgets, to find out who holds it.
    """
    folder = next((each for each in _folders(sysfs) if each.name == name), None)
    return _controller(folder, _holders(root)) if folder is not None else None


def _holders(root: Path) -> dict[str, str]:
    return {read_text(tree / "UDC"): tree.name for tree in _folders(root)}


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
    return Controller(
        name=folder.name,
        state=read_text(folder / "state"),
        current_speed=_speed(read_text(folder / "current_speed")),
        maximum_speed=_speed(read_text(folder / "maximum_speed")),
        driver=_link_name(folder / "device" / "driver"),
        gadget=holders.get(folder.name),
        function=read_text(folder / "function") or None,
        is_otg=read_text(folder / "is_otg") == "1",
        is_self_powered=read_text(folder / "is_selfpowered") == "1",
    )


def _link_name(link: Path) -> str | None:
    """The last part of what a link points to; None where there is no link."""
    try:
        return link.readlink().name
    except OSError:
        return None


def _speed(name: str) -> Speed | None:
    try:
        return Speed.from_name(name)
    except UsageError:
        return None


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
    holders, names, busy = _holders(root), [], []
    for folder in _folders(sysfs):
        names.append(folder.name)
        if name in (None, folder.name):
            controller = _controller(folder, holders)
            if controller.holder is None:
                return controller
            busy.append(f"{controller.name} is held by {controller.holder}")
    if not busy:
        raise NoControllerError(errno.ENODEV, _why_none(name, names))
    raise ControllerBusyError(errno.EBUSY, f"{'; '.join(busy)}; stop that one first, or name another controller")


def _why_none(name: str | None, there: list[str]) -> str:
    if there:
        return f"there is no USB device controller {name!r}; there are: {', '.join(there)}"
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
    logger.debug("write %s/UDC = %s", gadget_path.name, name)
    with kernel_log(log) as collect:
        try:
            write_attribute(gadget_path / "UDC", name.encode())
        except OSError as error:
            found = read_controller(name, sysfs, gadget_path.parent)
            raise explain_refusal(error, gadget_path, name, collect(), found) from error


def _check_bindable(gadget_path: Path, name: str, sysfs: Path) -> bool:
    """Refuses what cannot work before the kernel turns it into EBUSY; True if there is nothing left to do."""
    bound = read_text(gadget_path / "UDC")
    if bound == name:
        return True
    if bound:
        message = f"gadget {gadget_path.name} is bound to {bound}; unbind it before binding it to {name}"
        raise KernelError(errno.EBUSY, message, str(gadget_path / "UDC"))
    choose(name, sysfs, gadget_path.parent)
    return False


def unbind(gadget_path: Path) -> None:
    """Takes a gadget off its controller; one that is not bound, or gone, is no failure.

    Raises:
        KernelError: The kernel refused.
    """
    path = gadget_path / "UDC"
    logger.debug("write %s/UDC = (nothing)", gadget_path.name)
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


def set_connected(name: str, connected: bool, sysfs: Path = SYSFS) -> None:
    """Connects or disconnects a controller that a gadget is bound to (``udc/core.c``, soft_connect_store).

    On ``dummy_hcd`` the host does not see the device again afterwards: unbind and bind there.

    Args:
        name: The controller's name.
        connected: Whether the host is to see a device.
        sysfs: The folder of all controllers.

    Raises:
        NotPermittedError: It needs root.
        KernelError: The kernel refused; EOPNOTSUPP where no gadget is bound.
    """
    path = sysfs / name / "soft_connect"
    what = "connect" if connected else "disconnect"
    try:
        write_attribute(path, what.encode())
    except OSError as error:
        kind = NotPermittedError if isinstance(error, PermissionError) else KernelError
        code = error.errno or errno.EIO
        reason = "no gadget is bound to it" if code == errno.EOPNOTSUPP else os.strerror(code)
        raise kind(code, f"cannot {what} {name}: {reason}", str(path)) from error


def wake_host(name: str, sysfs: Path = SYSFS) -> None:
    """Asks a controller for remote wake-up (USB 2.0, 7.1.7.7). The kernel does not tell what became of it.

    Args:
        name: The controller's name.
        sysfs: The folder of all controllers.

    Raises:
        NotPermittedError: It needs root.
        KernelError: The kernel refused.
    """
    path = sysfs / name / "srp"
    try:
        # udc/core.c, srp_store: the file is named after something else, and calls usb_gadget_wakeup.
        write_attribute(path, b"1")
    except OSError as error:
        kind = NotPermittedError if isinstance(error, PermissionError) else KernelError
        code = error.errno or errno.EIO
        raise kind(code, f"cannot ask {name} to wake the host: {os.strerror(code)}", str(path)) from error
