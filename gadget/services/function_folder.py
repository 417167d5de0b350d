"""A function of a gadget that is in configfs: its attributes, and the devices that the kernel has made for it."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from gadget.configfs.apply import write_attribute
from gadget.configfs.reading import read_text
from gadget.errors import KernelError, NotPermittedError
from gadget.kernel_functions.kernel_function import SoundCard

#: The kinds of functions that make a card of ALSA's.
_SOUND = ("midi", "uac1", "uac2")


class FunctionFolder:
    """One function instance.

    Args:
        tree: The gadget's folder in configfs.
        instance: The function's folder below ``functions``.
        bound: The instances in the order in which the kernel binds them, which matters where several functions of a
            gadget make the same kind of device; None reads it from configfs.
        sysfs: Where sysfs is.
        dev: Where the device nodes are.
    """

    def __init__(
        self,
        tree: Path,
        instance: str,
        bound: Sequence[str] | None = None,
        *,
        sysfs: Path = Path("/sys"),
        dev: Path = Path("/dev"),
    ) -> None:
        self.path = tree / "functions" / instance
        self.instance = instance
        self._tree = tree
        self._bound = bound
        self._sysfs = sysfs
        self._dev = dev

    def read(self, attribute: str) -> bytes | None:
        """Reads an attribute; None if there is none of that name, or if the kernel does not say now."""
        try:
            return (self.path / attribute).read_bytes()
        except OSError:
            return None

    def write(self, attribute: str, value: bytes) -> None:
        """Writes an attribute.

        Raises:
            NotPermittedError: It needs root.
            KernelError: The kernel refused.
        """
        path = self.path / attribute
        try:
            write_attribute(path, value)
        except OSError as error:
            code = error.errno or errno.EIO
            kind = NotPermittedError if isinstance(error, PermissionError) else KernelError
            said = value.decode(errors="backslashreplace").strip()
            raise kind(code, f"cannot write {said!r} to {path}: {os.strerror(code)}", str(path)) from error

    def folders(self, folder: str) -> list[str]:
        """The names of the folders in a folder; none if it is not there."""
        parent = self.path / folder
        if not parent.is_dir():
            return []
        return sorted(entry.name for entry in parent.iterdir() if entry.is_dir() and not entry.is_symlink())

    def terminal(self) -> Path:
        """The terminal whose number stands in ``port_num``.

        Raises:
            KernelError: There is none.
        """
        number = self._text("port_num")
        return self._node(f"ttyGS{number}")

    def character_device(self) -> Path:
        """The device whose number stands in ``dev``.

        Raises:
            KernelError: There is none.
        """
        number = self._text("dev")
        folder = self._sysfs / "dev" / "char" / number
        if not folder.exists():
            raise self._missing(f"no device {number}")
        return self._node(folder.resolve().name)

    def network_interface(self) -> str:
        """The network interface whose name stands in ``ifname``.

        Raises:
            KernelError: There is none.
        """
        name = self._text("ifname")
        if "(" in name or "%" in name:
            raise self._missing("no network interface")
        return name

    def sound_card(self) -> SoundCard:
        """The card of ALSA's that the function has made.

        Raises:
            KernelError: There is none, or it is not known which.
        """
        folder = self._nth(self._made("sound/card*"), _SOUND, "no sound card")
        nodes = sorted(node for entry in folder.iterdir() if (node := _node_name(entry)).startswith("snd/"))
        devices = tuple(self._dev / node for node in nodes)
        return SoundCard(int(folder.name.removeprefix("card")), (folder / "id").read_text().strip(), devices)

    def video_device(self) -> Path:
        """The device of V4L2's that the function has made.

        Raises:
            KernelError: There is none, or it is not known which.
        """
        return self._node(self._nth(self._made("video4linux/video*"), ("uvc",), "no video device").name)

    def printer_device(self) -> Path:
        """The device of the printer function.

        Raises:
            KernelError: There is none, or it is not known which.
        """
        # Nothing in sysfs leads from a printer to its gadget (f_printer.c, printer_func_bind).
        made = self._sysfs.glob("class/usb_printer_gadget/g_printer*")
        return self._node(self._nth([path.resolve() for path in made], ("printer",), "no printer").name)

    def _made(self, pattern: str) -> list[Path]:
        """What the kernel has made below the gadget of the controller."""
        controller = read_text(self._tree / "UDC")
        parent = self._sysfs / "class" / "udc" / controller / "device"
        return list(parent.glob(f"gadget*/{pattern}")) if controller else []

    def _nth(self, made: Sequence[Path], families: Sequence[str], missing: str) -> Path:
        """The one among several of a kind that is this function's.

        Functions are bound one after the other, and sysfs numbers its folders in the order in which they are made
        (``fs/kernfs/dir.c``, __kernfs_new_node), which their inodes show.
        """
        if not made:
            raise self._missing(missing)
        bound = bind_order(self._tree) if self._bound is None else self._bound
        rivals = [instance for instance in bound if instance.partition(".")[0] in families]
        if len(rivals) != len(made) or self.instance not in rivals:
            names = ", ".join(sorted(path.name for path in made))
            message = f"{names}: the kernel does not say which of them belongs to {self.path}"
            raise KernelError(errno.ENOTUNIQ, message, str(self.path))
        return sorted(made, key=lambda path: path.stat().st_ino)[rivals.index(self.instance)]

    def _text(self, attribute: str) -> str:
        data = self.read(attribute)
        if data is None:
            raise self._missing(f"no attribute {attribute}")
        return data.decode(errors="replace").strip()

    def _node(self, name: str) -> Path:
        path = self._dev / name
        if not path.exists():
            raise self._missing(f"no {path}")
        return path

    def _missing(self, what: str) -> KernelError:
        message = f"{self.instance} has {what}: the kernel makes it when the gadget is bound to a controller"
        return KernelError(errno.ENODEV, message, str(self.path))


def _node_name(device: Path) -> str:
    """The device node of a device in sysfs, below ``/dev``; empty if it has none."""
    try:
        lines = (device / "uevent").read_text().splitlines()
    except OSError:
        return ""
    return next((line.removeprefix("DEVNAME=") for line in lines if line.startswith("DEVNAME=")), "")


def in_order(folder: Path) -> list[str]:
    """What is in a folder of configfs, in the order in which it was made; empty where there is no such folder.

    configfs lists what was made last first (``fs/configfs/dir.c``, configfs_new_dirent and configfs_readdir).
    """
    try:
        return os.listdir(folder)[::-1]  # noqa: PTH208 - the order matters, and iterdir() promises none
    except OSError:
        return []


def bind_order(tree: Path) -> list[str]:
    """A gadget's function instances in the order in which the kernel binds them: configuration by configuration."""
    configurations = (tree / "configs" / name for name in in_order(tree / "configs"))
    return [link for folder in configurations for link in in_order(folder) if (folder / link).is_symlink()]
