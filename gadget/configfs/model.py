"""A gadget as values: what it is called, what it says about itself, its configurations.

Nothing here touches the kernel. The limits are those of USB and of the kernel's ``drivers/usb/gadget/configfs.c``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gadget.configfs.announced import MicrosoftOsString, WebUsb
from gadget.configfs.checks import MAX_ENTRY_NAME, check_bcd, check_function, check_name, check_range, refuse_repeats
from gadget.configfs.steps import Step
from gadget.configfs.texts import checked, common_languages
from gadget.errors import ConfigurationError, DescriptorError
from gadget.protocol.constants import Speed
from gadget.protocol.declaration import Text

_CONFIGURATION = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class FunctionModel:
    """One function instance: a folder below ``functions``, and what is done in it before anything is bound.

    Attributes:
        instance: The folder's name, ``FAMILY.NAME``: ``acm.0``.
        steps: What is written, made and linked in there, in this order; paths begin in the folder.

    Raises:
        ConfigurationError: The name is malformed.
    """

    instance: str
    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        check_function(self.instance)

    @property
    def family(self) -> str:
        """What kind of function it is."""
        return self.instance.partition(".")[0]


@dataclass(frozen=True, slots=True)
class ConfigurationModel:
    """One configuration of a gadget (USB 2.0, 9.6.3).

    Attributes:
        number: bConfigurationValue, 1 to 255.
        name: The part of the folder's name before the number: ``c`` makes ``configs/c.1``.
        label: The string of iConfiguration, the same in every language or by language; empty for none.
        max_power_ma: The most it draws from the bus, in milliamperes, at most 900. Below SuperSpeed the kernel says
            at most 500.
        self_powered: It has a power supply of its own.
        remote_wakeup: It can wake a suspended host.
        functions: The function instances in the order of their interfaces, ``("ffs.echo", "acm.0")``.

    Raises:
        ConfigurationError: A name is malformed or there twice, or there is no function.
        DescriptorError: A number or a string is out of its range.
    """

    number: int = 1
    name: str = "c"
    label: Text = ""
    max_power_ma: int = 500
    self_powered: bool = False
    remote_wakeup: bool = False
    functions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.number <= 255:
            raise DescriptorError("bConfigurationValue", self.number, "must be from 1 to 255", "USB 2.0, 9.6.3")
        if not _CONFIGURATION.fullmatch(self.name) or len(self.folder) > MAX_ENTRY_NAME:
            rule = "use up to 35 ASCII letters, digits, '_' and '-' (the number is added to it)"
            raise ConfigurationError(f"configuration name {self.name!r}: {rule}")
        self._check_power()
        object.__setattr__(self, "label", checked("iConfiguration", self.label) if self.label else "")
        if not self.functions:
            raise ConfigurationError(f"configuration {self.number} has no function; the kernel binds none without one")
        for function in self.functions:
            check_function(function)
        refuse_repeats(f"configuration {self.number}: function", self.functions)

    def _check_power(self) -> None:
        if not 0 <= self.max_power_ma <= 900:
            source = "USB 2.0, 9.6.3; USB 3.2, 9.6.3"
            raise DescriptorError("bMaxPower", self.max_power_ma, "must be 0 to 900 mA (500 below SuperSpeed)", source)
        if self.max_power_ma == 0 and not self.self_powered:
            rule = "must be above 0 unless self-powered; the kernel puts its own figure there otherwise"
            raise DescriptorError("bMaxPower", 0, rule, "drivers/usb/gadget/composite.c, encode_bMaxPower")

    @property
    def folder(self) -> str:
        """The name of the folder below ``configs``."""
        return f"{self.name}.{self.number}"

    @property
    def attributes(self) -> int:
        """Bits of bmAttributes; bit 7 is always set (USB 2.0, 9.6.3)."""
        return 0x80 | self.self_powered << 6 | self.remote_wakeup << 5


@dataclass(frozen=True, slots=True)
class GadgetModel:
    """A whole gadget (USB 2.0, 9.6.1).

    Attributes:
        name: The folder below ``usb_gadget``.
        vendor_id: idVendor; 0x1d6b is the Linux Foundation's.
        product_id: idProduct; 0x0104 is its "Multifunction Composite Gadget".
        device_version: bcdDevice, 0x0100 for 1.00.
        usb_version: bcdUSB. The kernel overrules it once it knows the controller's speed.
        device_class: bDeviceClass; 0 leaves it to the interfaces.
        device_subclass: bDeviceSubClass.
        device_protocol: bDeviceProtocol.
        manufacturer: A string, the same in every language or by language identifier, or None. The strings of the gadget
            and of its configurations all have the same languages; Linux 6.1 takes two.
        product: A string, or None.
        serial_number: A string, or None.
        max_speed: The fastest speed to run at; None leaves it to the controller.
        configurations: At least one.
        functions: What the functions are told before they are bound, in the order in which they are made. A function
            that a configuration has and that is not among them is told nothing.
        microsoft_os: Whether Windows is told of Microsoft OS descriptors, and how.
        webusb: The WebUSB capability, None for none.
        max_packet_size0: bMaxPacketSize0. The kernel overrules it with the controller's own.

    Raises:
        ConfigurationError: The name is malformed, or a configuration is missing, or one or a function is there twice.
        DescriptorError: A number or a string is out of its range.
    """

    name: str
    vendor_id: int = 0x1D6B
    product_id: int = 0x0104
    device_version: int = 0x0100
    usb_version: int = 0x0200
    device_class: int = 0
    device_subclass: int = 0
    device_protocol: int = 0
    manufacturer: Text | None = None
    product: Text | None = None
    serial_number: Text | None = None
    max_speed: Speed | None = None
    configurations: tuple[ConfigurationModel, ...] = ()
    functions: tuple[FunctionModel, ...] = ()
    microsoft_os: MicrosoftOsString | None = None
    webusb: WebUsb | None = None
    max_packet_size0: int | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        for field, identifier in (("idVendor", self.vendor_id), ("idProduct", self.product_id)):
            check_range(field, identifier, 0xFFFF, "USB 2.0, 9.6.1")
        for field, version in (("bcdDevice", self.device_version), ("bcdUSB", self.usb_version)):
            check_bcd(field, version, "USB 2.0, 9.6.1")
        if self.max_packet_size0 is not None and self.max_packet_size0 not in (8, 9, 16, 32, 64):
            rule = "must be 8, 16, 32 or 64, or 9 at SuperSpeed"
            raise DescriptorError("bMaxPacketSize0", self.max_packet_size0, rule, "USB 2.0, 9.6.1; USB 3.2, 9.6.1")
        for field, code in self.class_codes():
            check_range(field, code, 0xFF, "USB 2.0, 9.6.1")
        for attribute, field in (("manufacturer",) * 2, ("product",) * 2, ("serial_number", "serialnumber")):
            object.__setattr__(self, attribute, checked(field, getattr(self, attribute)))
        if not self.configurations:
            raise ConfigurationError(f"gadget {self.name} has no configuration; the kernel binds none without one")
        common_languages(self._texts())
        refuse_repeats(f"gadget {self.name}: function", (function.instance for function in self.functions))
        numbers = [configuration.number for configuration in self.configurations]
        refuse_repeats(f"gadget {self.name}: configuration number", numbers)
        if self.microsoft_os is not None and self.microsoft_os.configuration not in numbers:
            missing = f"configuration {self.microsoft_os.configuration}, which Microsoft OS descriptors are to be of"
            raise ConfigurationError(f"gadget {self.name} has no {missing}")

    def class_codes(self) -> tuple[tuple[str, int], ...]:
        """The class, subclass and protocol of the device, each with its field's name."""
        return (
            ("bDeviceClass", self.device_class),
            ("bDeviceSubClass", self.device_subclass),
            ("bDeviceProtocol", self.device_protocol),
        )

    @property
    def languages(self) -> tuple[int, ...]:
        """The languages of the strings, in the order in which they are given; US English if none says any."""
        return common_languages(self._texts())

    def _texts(self) -> tuple[tuple[str, Text | None], ...]:
        return (*self.strings(), *(("iConfiguration", each.label or None) for each in self.configurations))

    def strings(self) -> tuple[tuple[str, Text | None], ...]:
        """The strings, each with the name of its attribute in configfs."""
        return (
            ("manufacturer", self.manufacturer),
            ("product", self.product),
            ("serialnumber", self.serial_number),
        )

    def complete_functions(self) -> tuple[FunctionModel, ...]:
        """The functions, with those that are only linked behind the others."""
        given = {function.instance: function for function in self.functions}
        linked = (function for c in self.configurations for function in c.functions)
        return tuple({**given, **{name: FunctionModel(name) for name in linked if name not in given}}.values())

    @property
    def instances(self) -> tuple[str, ...]:
        """The names of the function instances, in the order in which they are made."""
        return tuple(function.instance for function in self.complete_functions())
