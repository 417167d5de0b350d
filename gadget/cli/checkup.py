"""The checks of ``gadget doctor``, each with the command that mends what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gadget.cli.machine import Machine

#: Nothing to do; good to know; a gadget cannot run like this.
OK, NOTE, BROKEN = "ok", "note", "broken"

#: The gadgets that are modules of their own, from before configfs (``drivers/usb/gadget/legacy``).
LEGACY = (
    *("g_acm_ms", "g_audio", "g_cdc", "g_dbgp", "g_ether", "g_ffs", "g_hid", "g_mass_storage", "g_midi", "g_multi"),
    *("g_ncm", "g_nokia", "g_printer", "g_serial", "g_webcam", "g_zero", "gadgetfs", "raw_gadget", "tcm_usb_gadget"),
)


@dataclass(frozen=True, slots=True)
class Check:
    """What a check has found.

    Attributes:
        name: What was looked at.
        status: "ok", "note" or "broken".
        text: What was found.
        mend: The command that mends it; empty where nothing is to be mended.
    """

    name: str
    status: str
    text: str
    mend: str = ""


def examine(machine: Machine) -> list[Check]:
    """Runs all checks."""
    return [found for check in _CHECKS for found in check(machine)]


def _kernel(machine: Machine) -> Iterator[Check]:
    release = machine.release or "of an unknown release"
    if machine.version and machine.version < (5, 16):
        text = f"Linux {release} is too old for functions of your own: FunctionFS takes 5.16 or newer"
        yield Check("kernel", BROKEN, text, "sudo apt full-upgrade && sudo reboot")
    else:
        yield Check("kernel", OK, f"Linux {release}")


def _modules(machine: Machine) -> Iterator[Check]:
    missing = [name for name in ("libcomposite", "usb_f_fs") if not machine.has_module(name)]
    configured = machine.exists("sys/kernel/config/usb_gadget")
    if configured and "libcomposite" in missing:
        missing.remove("libcomposite")
    if missing:
        text = f"this kernel has no {' and no '.join(missing)}, which CONFIG_USB_CONFIGFS_F_FS builds"
        yield Check("modules", BROKEN, text, _kernel_with_modules(machine))
    else:
        yield Check("modules", OK, "libcomposite and usb_f_fs are there")


def _kernel_with_modules(machine: Machine) -> str:
    """How to get them. An upgrade removes those of the kernel that still runs, on many a distribution."""
    installed = machine.root / "lib/modules"
    if not machine.exists(f"lib/modules/{machine.release}") and any(installed.glob("*")):
        return "sudo reboot   # the modules of other kernels are installed; or: gadget vm"
    match machine.distribution:
        case "ubuntu":
            return f"sudo apt install linux-modules-extra-{machine.release}   # or: gadget vm"
        case "debian":  # Its kernels for clouds have no USB gadgets, the others have.
            return "sudo apt install linux-image-$(dpkg --print-architecture) && sudo reboot   # or: gadget vm"
    return "gadget vm   # or another kernel"


def _configfs(machine: Machine) -> Iterator[Check]:
    if machine.exists("sys/kernel/config/usb_gadget"):
        yield Check("configfs", OK, "/sys/kernel/config/usb_gadget is there")
    else:
        mend = "sudo modprobe libcomposite && sudo mount -t configfs none /sys/kernel/config"
        yield Check("configfs", NOTE, "is not mounted, or libcomposite not loaded; gadget run does that as root", mend)


def _controllers(machine: Machine) -> Iterator[Check]:
    controllers = machine.controllers
    if not controllers:
        text = "there is no USB device controller"
        pi = machine.raspberry_pi
        mend = "sudo modprobe dummy_hcd   # for tests; or: gadget vm"
        yield Check("controllers", BROKEN, text, "" if pi else mend)
    for controller in controllers:
        if controller.holder is None:
            yield Check("controllers", OK, f"{controller.name} is free")
        elif controller.gadget is not None:
            status = NOTE if any(each.holder is None for each in controllers) else BROKEN
            text = f"{controller.name} is held by {controller.holder}"
            yield Check("controllers", status, text, f"sudo gadget unbind {controller.gadget}")
        else:
            status = NOTE if any(each.holder is None for each in controllers) else BROKEN
            yield Check("controllers", status, f"{controller.name} is held by {controller.holder}")


def _legacy(machine: Machine) -> Iterator[Check]:
    found = sorted(set(LEGACY) & machine.loaded)
    for name in found:
        text = f"the legacy module {name} takes the controller"
        yield Check("legacy modules", BROKEN, text, f"sudo modprobe -r {name}")
    for path, modules in machine.module_lists():
        for name in (each for each in modules if each in LEGACY):
            change = f"s/,\\?{name}\\>//" if path.endswith("cmdline.txt") else f"/^ *{name}\\>/d"
            text = f"{path} loads {name} at every boot"
            yield Check("legacy modules", NOTE, text, f"sudo sed -i '{change}' {path}")
    if not found:
        yield Check("legacy modules", OK, "none is loaded")


def _rpi_usb_gadget(machine: Machine) -> Iterator[Check]:
    if not any(machine.exists(path) for path in ("usr/bin/rpi-usb-gadget", "usr/sbin/rpi-usb-gadget")):
        return
    held = any(controller.holder is not None for controller in machine.controllers)
    text = "rpi-usb-gadget is installed" + (", and a controller is held: it may be by it" if held else "")
    yield Check("rpi-usb-gadget", NOTE, text, "sudo rpi-usb-gadget off" if held else "")


def _permissions(machine: Machine) -> Iterator[Check]:
    if machine.uid == 0:
        yield Check("permissions", OK, "this is root")
        return
    command = machine.prefix / "bin/gadget" if machine.is_virtual_environment else "gadget"
    text = "gadgets are made by root; only functions on a FunctionFS that root has mounted need no rights"
    yield Check("permissions", BROKEN, text, f"sudo {command} run FILE")
    if machine.is_virtual_environment:
        text = f"sudo does not see the virtual environment {machine.prefix}: name the command by its whole path"
        yield Check("virtual environment", NOTE, text, f"sudo {machine.prefix}/bin/gadget run FILE")


def _overlay(machine: Machine) -> Iterator[Check]:
    if not machine.raspberry_pi:
        return
    path, lines = machine.boot_configuration()
    overlays = [line for line in lines if line.startswith("dtoverlay=dwc2")]
    if not overlays:
        status = OK if machine.controllers else BROKEN
        # It counts for every model only below [all].
        mend = f"printf '\\n[all]\\ndtoverlay=dwc2,dr_mode=peripheral\\n' | sudo tee -a {path} && sudo reboot"
        yield Check("dwc2 overlay", status, f"{path} has no dtoverlay=dwc2", "" if status == OK else mend)
    elif "dr_mode=host" in overlays[-1]:
        text = f"{path} makes the port a host's: {overlays[-1]}"
        mend = f"sudo sed -i 's/^dtoverlay=dwc2,dr_mode=host/dtoverlay=dwc2,dr_mode=peripheral/' {path} && sudo reboot"
        yield Check("dwc2 overlay", BROKEN, text, mend)
    elif not machine.controllers and "otg_mode=1" in lines:
        text = f"{path} gives the port to another controller, which is a host's: otg_mode=1"
        yield Check("dwc2 overlay", BROKEN, text, f"sudo sed -i 's/^otg_mode=1/#&/' {path} && sudo reboot")
    elif not machine.controllers:
        yield Check(
            "dwc2 overlay", BROKEN, f"{path} has {overlays[-1]}, which counts from the next boot", "sudo reboot"
        )
    else:
        yield Check("dwc2 overlay", OK, f"{path} has {overlays[-1]}")


def _ssh(machine: Machine) -> Iterator[Check]:
    address = machine.own_address()
    interface = machine.interface_of(address) if address else ""
    if interface and machine.is_gadgets(interface):
        text = f"this SSH connection comes by {interface}, a gadget's own: unbind that, and you are out"
        mend = "connect by another network, or work on: tmux new -s gadget"
        yield Check("SSH", BROKEN, text, mend)
    elif interface:
        yield Check("SSH", OK, f"this connection comes by {interface}, which is no gadget's")


_CHECKS: tuple[Callable[[Machine], Iterator[Check]], ...] = (
    _kernel,
    _modules,
    _configfs,
    _controllers,
    _legacy,
    _rpi_usb_gadget,
    _permissions,
    _overlay,
    _ssh,
)
