"""The steps that write a gadget to configfs and take it out again, as values.

Nothing here touches the kernel. Every path is relative to the folder of all gadgets
(``/sys/kernel/config/usb_gadget``). The layout is that of the kernel's ``Documentation/usb/gadget_configfs.rst``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from gadget.configfs.announced import MicrosoftOsString, WebUsb
from gadget.configfs.model import ConfigurationModel, GadgetModel
from gadget.configfs.steps import (
    Entry,
    MakeDirectory,
    MakeLink,
    RemoveDirectory,
    RemoveLink,
    Step,
    UndoStep,
    WriteAttribute,
    below,
)
from gadget.configfs.texts import in_language


def plan(model: GadgetModel) -> tuple[Step, ...]:
    """Plans the tree of a gadget: the steps, in an order in which the kernel accepts them.

    Binding to a controller is not among them; see :func:`gadget.configfs.udc.bind`.
    """
    return tuple(_plan(model))


def _plan(model: GadgetModel) -> Iterator[Step]:
    root = PurePosixPath(model.name)
    yield MakeDirectory(root)
    yield from _plan_device(model, root)
    yield from _plan_strings(model, root / "strings")
    for function in model.complete_functions():
        folder = root / "functions" / function.instance
        yield MakeDirectory(folder)
        yield from (below(folder, step) for step in function.steps)
    for configuration in model.configurations:
        yield from _plan_configuration(configuration, model, root)
    if model.microsoft_os is not None:
        yield from _plan_microsoft_os(model.microsoft_os, model, root)
    if model.webusb is not None:
        yield from _plan_webusb(model.webusb, root / "webusb")


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
    if model.max_packet_size0 is not None:
        yield WriteAttribute(root / "bMaxPacketSize0", b"0x%02x" % model.max_packet_size0)
    if model.max_speed is not None:
        yield WriteAttribute(root / "max_speed", model.max_speed.maximum.encode())


def _plan_strings(model: GadgetModel, folder: PurePosixPath) -> Iterator[Step]:
    if all(text is None for _, text in model.strings()):
        return
    for language in model.languages:
        yield MakeDirectory(folder / hex(language))
        for field, text in model.strings():
            # With this folder the device descriptor refers to all three strings, and a host asking for one that was
            # never written gets a stall.
            yield _write_text(folder / hex(language) / field, in_language(text, language))


def _write_text(path: PurePosixPath, text: str) -> WriteAttribute:
    # A lone line break is how configfs spells the empty string.
    return WriteAttribute(path, (text or "\n").encode())


def _plan_configuration(configuration: ConfigurationModel, model: GadgetModel, root: PurePosixPath) -> Iterator[Step]:
    folder = root / "configs" / configuration.folder
    yield MakeDirectory(folder)
    yield WriteAttribute(folder / "MaxPower", b"%d" % configuration.max_power_ma)
    yield WriteAttribute(folder / "bmAttributes", b"0x%02x" % configuration.attributes)
    for language in model.languages if configuration.label else ():
        strings = folder / "strings" / hex(language)
        yield MakeDirectory(strings)
        yield _write_text(strings / "configuration", in_language(configuration.label, language))
    for function in configuration.functions:
        yield MakeLink(folder / function, root / "functions" / function)


def _plan_microsoft_os(string: MicrosoftOsString, model: GadgetModel, root: PurePosixPath) -> Iterator[Step]:
    """The kernel made the folder with the gadget; it looks at what is in there when a controller is bound."""
    folder = root / "os_desc"
    yield WriteAttribute(folder / "b_vendor_code", b"0x%02x" % string.vendor_code)
    yield WriteAttribute(folder / "qw_sign", string.signature.encode())
    yield WriteAttribute(folder / "use", b"1")
    for configuration in model.configurations:
        if configuration.number == string.configuration:
            yield MakeLink(folder / configuration.folder, root / "configs" / configuration.folder)


def _plan_webusb(webusb: WebUsb, folder: PurePosixPath) -> Iterator[Step]:
    """The kernel made the folder with the gadget, if it knows WebUSB at all."""
    yield WriteAttribute(folder / "bcdVersion", b"0x%04x" % webusb.version)
    yield WriteAttribute(folder / "bVendorCode", b"0x%02x" % webusb.vendor_code)
    yield WriteAttribute(folder / "landingPage", webusb.landing_page.encode() or b"\n")
    yield WriteAttribute(folder / "use", b"1")


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
        All links first, since they keep what they lead to, those inside of functions behind the others; then
        configurations, functions, strings, the gadget. Folders that the kernel makes and removes with their parents are
        left out where their place tells them, and marked ``perhaps_default`` inside a function, where only the kernel
        knows.
    """
    # A function that is in a configuration does not notice when its own links go (uvc_configfs.c,
    # uvcg_control_class_drop_link), and would keep pointers to what they led to.
    entries = sorted(listing, key=lambda entry: (_is_inside_function(entry), -len(entry.path.parts), entry.path.parts))
    links: list[UndoStep] = [RemoveLink(entry.path) for entry in entries if entry.is_link]
    folders = [(_place(entry.path), entry.path) for entry in entries if not entry.is_link]
    order = ("configs", "functions", "strings", "gadget")
    kept = sorted((f for f in folders if f[0] is not None), key=lambda f: order.index(f[0] or ""))
    return (*links, *(RemoveDirectory(path, place == "functions" and len(path.parts) > 3) for place, path in kept))


def _is_inside_function(entry: Entry) -> bool:
    return entry.path.parts[1:2] == ("functions",)


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
