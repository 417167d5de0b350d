"""A gadget as values: what it is called, what it says about itself, its configurations.

Nothing here touches the kernel. The limits are those of USB and of the kernel's ``drivers/usb/gadget/configfs.c``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gadget.configfs.texts import checked, common_languages
from gadget.errors import ConfigurationError, DescriptorError
from gadget.protocol.constants import Speed
from gadget.protocol.declaration import Text

#: MAX_CONFIG_INTERFACES of ``include/linux/usb/composite.h``: interface 16 is ENODEV at bind.
MAX_INTERFACES = 16

#: MAX_NAME_LEN of ``configfs.c`` without its final zero byte, for functions and for configurations.
MAX_ENTRY_NAME = 39

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
_FUNCTION = re.compile(r"[A-Za-z0-9_]+\.[A-Za-z0-9_.-]+", re.ASCII)
_CONFIGURATION = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def check_name(name: str) -> str:
    """Checks the name of a gadget, which becomes a folder, a file in ``/run`` and the name of a kernel driver.

    Raises:
        ConfigurationError: It is not 1 to 64 ASCII letters, digits, ``_``, ``.``, ``-``, the first no punctuation.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"gadget name {name!r}: use 1 to 64 ASCII letters, digits, '_', '.', '-', the first a letter or digit"
        )
    return name


def _check_range(field: str, value: int, maximum: int, source: str) -> None:
    if not 0 <= value <= maximum:
        raise DescriptorError(field, value, f"must be from 0 to {maximum:#x}", source)


def _check_bcd(field: str, value: int) -> None:
    _check_range(field, value, 0xFFFF, "USB 2.0, 9.6.1")
    if not f"{value:x}".isdecimal():
        rule = "must be binary-coded decimal, so that each hexadecimal digit is 0 to 9 (0x0210 means 2.10)"
        raise DescriptorError(field, hex(value), rule, "USB 2.0, 9.6.1")


def check_function(instance: str) -> str:
    """Checks the name of a function instance, ``FAMILY.NAME`` as in ``ffs.echo``.

    Raises:
        ConfigurationError: It has another form, or more than 39 characters (``configfs.c``, function_make).
    """
    if not _FUNCTION.fullmatch(instance) or len(instance) > MAX_ENTRY_NAME:
        raise ConfigurationError(
            f"function {instance!r}: write FAMILY.NAME (ffs.echo, acm.0) in ASCII letters, digits, '_', '.' and '-', "
            f"at most {MAX_ENTRY_NAME} characters together"
        )
    return instance


def _refuse_repeats(what: str, values: Iterable[object]) -> None:
    repeated = [str(value) for value, count in Counter(values).items() if count > 1]
    if repeated:
        raise ConfigurationError(f"{what} given more than once: {', '.join(repeated)}")


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
        _refuse_repeats(f"configuration {self.number}: function", self.functions)

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
class MicrosoftOsString:
    """String 0xEE, which tells Windows that there are Microsoft OS descriptors ("OS Descriptors" 1.0, The OS String).

    The descriptors themselves belong to functions (:class:`~gadget.protocol.microsoft_os.MicrosoftOs`).

    Attributes:
        vendor_code: bMS_VendorCode: the bRequest by which the host then asks for them. The kernel answers it by itself,
            so that no function ever hears of a vendor request of this number.
        signature: qwSignature; Windows knows this one.
        configuration: bConfigurationValue of the configuration whose functions are asked.

    Raises:
        DescriptorError: The code or the signature is none.
    """

    vendor_code: int = 0xCD
    signature: str = "MSFT100"
    configuration: int = 1

    def __post_init__(self) -> None:
        _check_range("bMS_VendorCode", self.vendor_code, 0xFF, "drivers/usb/gadget/configfs.c, os_desc_b_vendor_code")
        if len(self.signature) != 7 or not (self.signature.isascii() and self.signature.isprintable()):
            rule = "must be 7 printable ASCII characters"
            raise DescriptorError("qwSignature", self.signature, rule, "drivers/usb/gadget/configfs.c, os_desc_qw_sign")


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
            and of its configurations have two languages at most, and all of them the same.
        product: A string, or None.
        serial_number: A string, or None.
        max_speed: The fastest speed to run at; None leaves it to the controller.
        configurations: At least one.
        microsoft_os: Whether Windows is told of Microsoft OS descriptors, and how.

    Raises:
        ConfigurationError: The name is malformed, or a configuration is missing or there twice.
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
    microsoft_os: MicrosoftOsString | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        for field, identifier in (("idVendor", self.vendor_id), ("idProduct", self.product_id)):
            _check_range(field, identifier, 0xFFFF, "USB 2.0, 9.6.1")
        _check_bcd("bcdDevice", self.device_version)
        _check_bcd("bcdUSB", self.usb_version)
        for field, code in self.class_codes():
            _check_range(field, code, 0xFF, "USB 2.0, 9.6.1")
        for attribute, field in (("manufacturer",) * 2, ("product",) * 2, ("serial_number", "serialnumber")):
            object.__setattr__(self, attribute, checked(field, getattr(self, attribute)))
        if not self.configurations:
            raise ConfigurationError(f"gadget {self.name} has no configuration; the kernel binds none without one")
        common_languages(self._texts())
        numbers = [configuration.number for configuration in self.configurations]
        _refuse_repeats(f"gadget {self.name}: configuration number", numbers)
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

    @property
    def functions(self) -> tuple[str, ...]:
        """The function instances of all configurations, each once, in the order of their first appearance."""
        return tuple(dict.fromkeys(function for c in self.configurations for function in c.functions))


def allocate_interfaces(counts: Sequence[tuple[str, int]]) -> dict[str, int]:
    """Gives every function of one configuration its interface numbers, as the kernel will when it binds them.

    Args:
        counts: Function instance and number of interfaces, in the order in which they are linked.

    Returns:
        The first interface number of each.

    Raises:
        ConfigurationError: A function is there twice or has no interface, or there are more than 16 together.
    """
    _refuse_repeats("function", (name for name, _ in counts))
    first: dict[str, int] = {}
    following = 0
    for name, count in counts:
        if count < 1:
            raise ConfigurationError(f"function {name} has {count} interfaces; it needs one at least")
        first[name] = following
        following += count
    if following > MAX_INTERFACES:
        raise ConfigurationError(
            f"{following} interfaces in one configuration, and the kernel has room for {MAX_INTERFACES} "
            "(MAX_CONFIG_INTERFACES of include/linux/usb/composite.h); spread them over two gadgets"
        )
    return first
