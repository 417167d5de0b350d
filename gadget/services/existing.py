"""A gadget that is in configfs already, whoever made it: what it is, where it is bound, and how to change that."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from gadget.configfs.announced import MicrosoftOsString, WebUsb
from gadget.configfs.apply import USB_GADGET_ROOT, listing, revert
from gadget.configfs.checks import check_name
from gadget.configfs.model import ConfigurationModel, FunctionModel, GadgetModel
from gadget.configfs.ownership import Ownership
from gadget.configfs.plan import tree_undo
from gadget.configfs.record import default_folder
from gadget.configfs.udc import Controller, bind, choose, list_controllers, unbind
from gadget.errors import DescriptorError, KernelError, UsageError
from gadget.kernel_functions import FAMILIES, KernelFunction, OtherFunction
from gadget.protocol.constants import Speed
from gadget.services.function_folder import FunctionFolder, bind_order, in_order


def list_gadgets(root: Path = USB_GADGET_ROOT) -> list[ExistingGadget]:
    """The gadgets in configfs, in the order in which they were made; none where there is no configfs."""
    return [ExistingGadget(name, root) for name in in_order(root) if (root / name).is_dir()]


class ExistingGadget:
    """One gadget in configfs.

    Args:
        name: Its folder below ``usb_gadget``.
        root: The folder of all gadgets.

    Raises:
        ConfigurationError: The name is malformed.
        KernelError: ENOENT, there is no such gadget.
    """

    def __init__(self, name: str, root: Path = USB_GADGET_ROOT) -> None:
        self.name = check_name(name)
        self.path = root / name
        self._root = root
        if not self.path.is_dir():
            there = ", ".join(in_order(root)) or "none"
            raise KernelError(errno.ENOENT, f"there is no gadget {name}; there are: {there}", str(self.path))

    # ---- the controller ----------------------------------------------------------------------------------------------

    @property
    def controller(self) -> Controller | None:
        """The controller that it is bound to, None while it is not."""
        return next((each for each in list_controllers(root=self._root) if each.gadget == self.name), None)

    def bind(self, udc: str | None = None) -> None:
        """Binds it to a controller.

        Args:
            udc: The name of the controller; the first free one by default.

        Raises:
            NoControllerError: There is no controller, or none of this name.
            ControllerBusyError: It serves another gadget.
            KernelError: The kernel refused, or the gadget is bound to another controller.
        """
        bind(self.path, udc if udc is not None else choose(root=self._root))

    def unbind(self) -> None:
        """Takes it off its controller; one that is not bound is no failure.

        Raises:
            KernelError: The kernel refused.
        """
        unbind(self.path)

    def move(self, udc: str) -> None:
        """Takes it off its controller and binds it to another one, which has to be free.

        Raises:
            NoControllerError: There is no such controller. The gadget stays where it is.
            ControllerBusyError: It serves another gadget. The gadget stays where it is.
            KernelError: The kernel refused. The gadget is where it was again.
        """
        before = self.controller
        if before is not None and before.name == udc:
            return
        choose(udc, root=self._root)
        self.unbind()
        try:
            self.bind(udc)
        except KernelError:
            if before is not None:
                self.bind(before.name)
            raise

    def remove(self) -> None:
        """Removes it, whoever made it: unbound, and then its tree. What FunctionFS instances are mounted stays mounted.

        Raises:
            GadgetBusyError: A living process of this package serves it.
            NotUndoneError: Something could not be removed; everything else was.
            KernelError: The kernel refused.
        """
        if (default_folder() / f"{self.name}.json").exists():
            with Ownership.acquire(self.name, root=self._root) as ownership:
                ownership.reclaim()
        self.unbind()
        revert(tree_undo(listing(self.name, self._root)), self._root)

    # ---- what it is --------------------------------------------------------------------------------------------------

    def functions(self) -> dict[str, KernelFunction]:
        """Its functions by instance, in the order in which they were made, as the kernel has them now.

        Each knows its devices. One whose values break a rule of its class, or whose class is not known, is an
        :class:`~gadget.kernel_functions.OtherFunction`. They are what they were when they were read.
        """
        order = bind_order(self.path)
        return {name: self._function(name, order) for name in in_order(self.path / "functions")}

    def _function(self, name: str, order: list[str]) -> KernelFunction:
        folder = FunctionFolder(self.path, name, order)
        family, _, instance = name.partition(".")
        known = FAMILIES.get(family)
        try:
            function = _as_other(folder, family, instance) if known is None else known.read(folder, instance)
        except (DescriptorError, ValueError, TypeError):
            function = _as_other(folder, family, instance)
        function.placed(folder)
        return function

    def model(self) -> GadgetModel:
        """What it is, as a model whose plan makes the same gadget once more.

        Raises:
            DescriptorError: It breaks a rule that a gadget of this package has to keep.
            ConfigurationError: It is not complete: there is no configuration, or one without functions.
        """
        languages = in_order(self.path / "strings")
        return GadgetModel(
            name=self.name,
            vendor_id=self._number("idVendor"),
            product_id=self._number("idProduct"),
            device_version=self._number("bcdDevice"),
            usb_version=self._number("bcdUSB"),
            device_class=self._number("bDeviceClass"),
            device_subclass=self._number("bDeviceSubClass"),
            device_protocol=self._number("bDeviceProtocol"),
            manufacturer=self._strings("strings", languages, "manufacturer"),
            product=self._strings("strings", languages, "product"),
            serial_number=self._strings("strings", languages, "serialnumber"),
            max_speed=self._max_speed(),
            configurations=tuple(self._configurations()),
            functions=tuple(self._function_models()),
            microsoft_os=self._microsoft_os(),
            webusb=self._webusb(),
        )

    def attribute(self, path: str) -> str:
        """Reads an attribute as text, without the line break at its end; empty if it is not there.

        Args:
            path: Its path below the gadget's folder.
        """
        try:
            return (self.path / path).read_text(errors="replace").rstrip("\n")
        except OSError:
            return ""

    def _number(self, path: str) -> int:
        return int(self.attribute(path) or "0", 0)

    def _strings(self, folder: str, languages: list[str], name: str) -> dict[int, str] | None:
        return {int(each, 0): self.attribute(f"{folder}/{each}/{name}") for each in languages} or None

    def _max_speed(self) -> Speed | None:
        try:
            return Speed.from_name(self.attribute("max_speed"))
        except UsageError:
            return None

    def _configurations(self) -> Iterator[ConfigurationModel]:
        for folder in in_order(self.path / "configs"):
            name, _, number = folder.rpartition(".")
            below, attributes = f"configs/{folder}", self._number(f"configs/{folder}/bmAttributes")
            languages = in_order(self.path / below / "strings")
            # A link can have another name than the function that it leads to.
            links = [self.path / below / each for each in in_order(self.path / below)]
            yield ConfigurationModel(
                number=int(number, 0),
                name=name,
                label=self._strings(f"{below}/strings", languages, "configuration") or "",
                max_power_ma=self._number(f"{below}/MaxPower"),
                self_powered=bool(attributes & 0x40),
                remote_wakeup=bool(attributes & 0x20),
                functions=tuple(each.resolve().name for each in links if each.is_symlink()),
            )

    def _function_models(self) -> Iterator[FunctionModel]:
        for name, function in self.functions().items():
            yield FunctionModel(name, function.steps())

    def _microsoft_os(self) -> MicrosoftOsString | None:
        if self.attribute("os_desc/use") != "1":
            return None
        linked = [each for each in in_order(self.path / "os_desc") if (self.path / "os_desc" / each).is_symlink()]
        number = int(linked[0].rpartition(".")[2], 0) if linked else 1
        # The kernel keeps it as a signed char, and prints it so.
        code = self._number("os_desc/b_vendor_code") & 0xFF
        return MicrosoftOsString(code, self.attribute("os_desc/qw_sign"), number)

    def _webusb(self) -> WebUsb | None:
        if self.attribute("webusb/use") != "1":
            return None
        page, code = self.attribute("webusb/landingPage"), self._number("webusb/bVendorCode")
        return WebUsb(page, code, self._number("webusb/bcdVersion"))


def _as_other(folder: FunctionFolder, family: str, instance: str) -> OtherFunction:
    """Everything that can be written and has a value, as it is."""
    root = folder.path
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.stat().st_mode & 0o200)
    values = {str(path.relative_to(root)): folder.read(str(path.relative_to(root))) for path in files}
    made = [str(path.relative_to(root)) for path in sorted(root.rglob("*")) if path.is_dir() and not path.is_symlink()]
    links = [path for path in sorted(root.rglob("*")) if path.is_symlink()]
    return OtherFunction(
        name=family,
        instance=instance,
        attributes={path: value for path, value in values.items() if value},
        folders=tuple(path for path in made if _is_ours(PurePosixPath(path))),
        links=tuple((str(path.relative_to(root)), str(path.resolve().relative_to(root))) for path in links),
    )


def _is_ours(path: PurePosixPath) -> bool:
    """Nothing in configfs tells folders that were made from those that the kernel made, but these the kernel makes."""
    return path.parts[0] != "os_desc" and path.name != "lun.0"
