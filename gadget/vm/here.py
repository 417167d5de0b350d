"""The bench without a virtual machine: this machine's own kernel, where it has dummy_hcd."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from gadget.errors import ControllerBusyError, MissingModuleError, NotPermittedError
from gadget.vm.boot import dummy_hcd_options
from gadget.vm.prepare import find_program

_PARAMETERS = Path("/sys/module/dummy_hcd/parameters")
_CONFIGFS = Path("/sys/kernel/config")


def prepare_bus(speed: str, controllers: int) -> None:
    """Loads dummy_hcd and FunctionFS into the running kernel and mounts configfs.

    Raises:
        NotPermittedError: It takes root.
        MissingModuleError: This kernel has no dummy_hcd, or another part is missing.
        ControllerBusyError: dummy_hcd is in use with other options.
    """
    options = dummy_hcd_options(speed, controllers)
    prepare_gadgets()
    if _PARAMETERS.is_dir() and not _has_options(options):
        _unload()
    _load(["dummy_hcd", *options])


def prepare_gadgets() -> None:
    """Loads FunctionFS into the running kernel and mounts configfs: what a gadget needs on any controller.

    Raises:
        NotPermittedError: It takes root.
        MissingModuleError: A part is missing.
    """
    if os.geteuid() != 0:
        raise NotPermittedError(errno.EPERM, "--here loads kernel modules and needs root; without it no root is needed")
    _load(["-a", "configfs", "libcomposite", "usb_f_fs"])
    if not _CONFIGFS.joinpath("usb_gadget").is_dir():
        subprocess.run(["mount", "-t", "configfs", "configfs", str(_CONFIGFS)], check=True)


def load_modules(modules: Sequence[Sequence[str]]) -> None:
    """Loads modules into the running kernel, each with its parameters.

    Raises:
        MissingModuleError: The kernel has no such module, or does not take the parameters.
    """
    for module in modules:
        _load(module)


def _load(arguments: Sequence[str]) -> None:
    modprobe = str(find_program("modprobe", "modprobe"))
    result = subprocess.run([modprobe, *arguments], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise MissingModuleError(
            errno.ENOENT,
            f"this machine's kernel has not all that the bench needs ({result.stderr.strip()}); "
            "leave --here away, and a virtual machine is used",
        )


def _has_options(options: Sequence[str]) -> bool:
    for option in options:
        name, value = option.split("=")
        text = (_PARAMETERS / name).read_text().strip()
        if name == "num" and int(text) >= int(value):
            continue  # More of them do no harm.
        if {"Y": "1", "N": "0"}.get(text, text) != value:
            return False
    return True


def _unload() -> None:
    modprobe = str(find_program("modprobe", "modprobe"))
    result = subprocess.run([modprobe, "-r", "dummy_hcd"], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise ControllerBusyError(
            errno.EBUSY,
            f"dummy_hcd is loaded with another speed or number of controllers, and it is in use "
            f"({result.stderr.strip()}); take the gadgets down that are bound to it",
        )
