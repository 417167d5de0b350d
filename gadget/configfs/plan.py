"""The steps that write a gadget to configfs and take it out again, as values.

Nothing here touches the kernel. Every path is relative to the folder of all gadgets
(``/sys/kernel/config/usb_gadget``). The layout is that of the kernel's ``Documentation/usb/gadget_configfs.rst``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from gadget.configfs.model import ConfigurationModel, GadgetModel

#: The only language that gadgets have strings in, US English (USB Language Identifiers 1.0).
LANGUAGE = "0x409"


@dataclass(frozen=True, slots=True)
class MakeDirectory:
    """Makes one folder; the kernel fills it with attributes and with folders of its own."""

    path: PurePosixPath


@dataclass(frozen=True, slots=True)
class WriteAttribute:
    """Writes an attribute that the kernel made, in one call."""

    path: PurePosixPath
    value: bytes


@dataclass(frozen=True, slots=True)
class MakeLink:
    """Makes a symbolic link; ``target`` is relative to the same folder as ``path``, never to ``path`` itself."""

    path: PurePosixPath
    target: PurePosixPath


@dataclass(frozen=True, slots=True)
class RemoveLink:
    """Removes a symbolic link."""

    path: PurePosixPath


@dataclass(frozen=True, slots=True)
class RemoveDirectory:
    """Removes a folder; its attributes go with it.

    Attributes:
        path: The folder.
        perhaps_default: The kernel may have made it together with its parent, and then keeps it until that goes.
    """

    path: PurePosixPath
    perhaps_default: bool = False


Step = MakeDirectory | WriteAttribute | MakeLink
UndoStep = RemoveLink | RemoveDirectory


@dataclass(frozen=True, slots=True)
class Entry:
    """A folder or a symbolic link that was found in a tree; attributes are not listed."""

    path: PurePosixPath
    is_link: bool = False


def plan(model: GadgetModel) -> tuple[Step, ...]:
    """Plans the tree of a gadget: the steps, in an order in which the kernel accepts them.

    Binding to a controller is not among them; see :func:`gadget.configfs.udc.bind`.
    """
    return tuple(_plan(model))


def _plan(model: GadgetModel) -> Iterator[Step]:
    root = PurePosixPath(model.name)
    yield MakeDirectory(root)
    yield from _plan_device(model, root)
    yield from _plan_strings(model, root / "strings" / LANGUAGE)
    for function in model.functions:
        yield MakeDirectory(root / "functions" / function)
    for configuration in model.configurations:
        yield from _plan_configuration(configuration, root)


def _plan_device(model: GadgetModel, root: PurePosixPath) -> Iterator[Step]:
    for field, value in (
        ("idVendor", model.vendor_id),
        ("idProduct", model.product_id),
        ("bcdDevice", model.device_version),
        ("bcdUSB", model.usb_version),
    ):
        yield WriteAttribute(root / field, b"0x%04x" % value)
    for field, code in model.class_codes():
        yield WriteAttribute(root / field, b"0x%02x" % code)
    if model.max_speed is not None:
        yield WriteAttribute(root / "max_speed", model.max_speed.maximum.encode())


def _plan_strings(model: GadgetModel, folder: PurePosixPath) -> Iterator[Step]:
    if all(text is None for _, text in model.strings()):
        return
    yield MakeDirectory(folder)
    for field, text in model.strings():
        # With this folder the device descriptor refers to all three strings, and a host asking for one that was
        # never written gets a stall. A lone line break is how configfs spells the empty string.
        yield WriteAttribute(folder / field, (text or "\n").encode())


def _plan_configuration(configuration: ConfigurationModel, root: PurePosixPath) -> Iterator[Step]:
    folder = root / "configs" / configuration.folder
    yield MakeDirectory(folder)
    yield WriteAttribute(folder / "MaxPower", b"%d" % configuration.max_power_ma)
    yield WriteAttribute(folder / "bmAttributes", b"0x%02x" % configuration.attributes)
    if configuration.label:
        strings = folder / "strings" / LANGUAGE
        yield MakeDirectory(strings)
        yield WriteAttribute(strings / "configuration", configuration.label.encode())
    for function in configuration.functions:
        yield MakeLink(folder / function, root / "functions" / function)


def undo(steps: Iterable[Step]) -> tuple[UndoStep, ...]:
    """Plans how steps are taken back: the reverse, without the attributes, which go with their folders."""
    reverse: list[UndoStep] = []
    for step in reversed(tuple(steps)):
        match step:
            case MakeDirectory(path):
                reverse.append(RemoveDirectory(path))
            case MakeLink(path):
                reverse.append(RemoveLink(path))
            case WriteAttribute():
                pass
    return tuple(reverse)


def tree_undo(listing: Iterable[Entry]) -> tuple[UndoStep, ...]:
    """Plans how to remove a whole gadget that was found, whoever made it and however far he came.

    Args:
        listing: Everything below one gadget's folder, and that folder, in any order; paths begin with its name.

    Returns:
        All links first, since they keep what they lead to; then configurations, functions, strings, the gadget. Folders
        that the kernel makes and removes with their parents are left out where their place tells them, and marked
        ``perhaps_default`` inside a function, where only the kernel knows.
    """
    entries = sorted(listing, key=lambda entry: (-len(entry.path.parts), entry.path.parts))
    links: list[UndoStep] = [RemoveLink(entry.path) for entry in entries if entry.is_link]
    folders = [(_place(entry.path), entry.path) for entry in entries if not entry.is_link]
    order = ("configs", "functions", "strings", "gadget")
    kept = sorted((f for f in folders if f[0] is not None), key=lambda f: order.index(f[0] or ""))
    return (*links, *(RemoveDirectory(path, place == "functions" and len(path.parts) > 3) for place, path in kept))


def _place(path: PurePosixPath) -> str | None:
    """Says which part of a gadget a folder belongs to, or None for those that the kernel made."""
    match path.parts:
        case (_,):
            return "gadget"
        case (_, "functions", _, *_):
            return "functions"
        case (_, "configs", _) | (_, "configs", _, "strings", _):
            return "configs"
        case (_, "strings", _):
            return "strings"
    return None
