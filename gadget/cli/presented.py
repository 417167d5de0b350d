"""What a gadget would present to a host at each speed, worked out without the kernel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from gadget.configfs.interfaces import allocate_interfaces
from gadget.configfs.model import ConfigurationModel, GadgetModel
from gadget.device import Gadget
from gadget.errors import UsageError
from gadget.functionfs.function import Function
from gadget.protocol.constants import LanguageId, Speed
from gadget.protocol.descriptors import (
    ConfigurationDescriptor,
    Descriptor,
    DeviceDescriptor,
    InterfaceAssociation,
    InterfaceDescriptor,
    join_descriptors,
)

#: bcdUSB and bMaxPacketSize0, which the kernel chooses (drivers/usb/gadget/composite.c, composite_setup).
_BY_SPEED = {Speed.FULL: (0x0200, 64), Speed.HIGH: (0x0200, 64), Speed.SUPER: (0x0320, 9)}
_ENGLISH = LanguageId.ENGLISH_US


@dataclass(frozen=True, slots=True)
class Presented:
    """A device as a host would see it.

    Attributes:
        data: Its descriptors: device, then configuration.
        strings: By the numbers that the descriptors have for them.
    """

    data: bytes
    strings: dict[int, str]


def speeds_of(gadget: Gadget) -> list[Speed]:
    """The speeds that the gadget can run at, and that all of its functions have descriptors for.

    Raises:
        UsageError: Not all that it presents is known here.
    """
    if not is_all_known(gadget):
        what = "what the kernel's own functions, or several configurations, present is for the kernel to say"
        raise UsageError(f"{what}: serve {gadget.name}, and show the device that the host sees")
    return speeds(gadget.model, gadget.own_functions)


def is_all_known(gadget: Gadget) -> bool:
    """Whether all that it presents is known here, down to the numbers of its strings."""
    return not gadget.kernel_functions and len(gadget.configurations) == 1


def speeds(model: GadgetModel, functions: Iterable[Function]) -> list[Speed]:
    """The speeds that a gadget can run at, and that its functions have descriptors for."""
    limit = model.max_speed or Speed.SUPER
    declared = [function.descriptors(0) for function in functions]
    return [speed for speed in _BY_SPEED if speed <= limit and all(speed in known for known in declared)]


def presented(gadget: Gadget, speed: Speed) -> Presented:
    """Works out what the gadget presents at one speed.

    Two things are the kernel's to choose, and may differ: the numbers of strings, and the addresses of endpoints,
    which depend on the controller. Here each function counts its endpoints from 1.
    """
    strings: dict[int, str] = {}
    device = device_descriptor(gadget.model, speed, strings)
    (configuration,) = gadget.model.configurations
    label = number_string(strings, configuration.label or None)
    counts = [(str(at), len(function.interfaces())) for at, function in enumerate(gadget.own_functions)]
    first = allocate_interfaces(counts)
    numbered = [(first[str(at)], function) for at, function in enumerate(gadget.own_functions)]
    body = [one for at, function in numbered for one in function_descriptors(function, speed, at, strings)]
    interfaces = sum(isinstance(one, InterfaceDescriptor) for one in body)
    data = join_descriptors(body)
    head = configuration_descriptor(configuration, speed, len(data), interfaces, label)
    return Presented(device.to_bytes() + head.to_bytes() + data, strings)


def number_string(strings: dict[int, str], text: str | Mapping[int, str] | None) -> int:
    """Numbers a string, 0 for none; one in several languages is shown in English, or else in its first."""
    if text is None:
        return 0
    strings[len(strings) + 1] = text if isinstance(text, str) else text.get(_ENGLISH, next(iter(text.values())))
    return len(strings)


def device_descriptor(
    model: GadgetModel, speed: Speed, strings: dict[int, str], controller: Speed | None = None
) -> DeviceDescriptor:
    """The device descriptor; its strings are numbered.

    Args:
        model: The gadget.
        speed: The speed of the connection.
        strings: The strings by their numbers, to which those of the device are added.
        controller: The fastest speed of the controller; that of the connection by default.
    """
    usb_version, max_packet_size_0 = _BY_SPEED[speed]
    # Below SuperSpeed, it says by this that there is a BOS.
    if (controller or speed) >= Speed.SUPER > speed:
        usb_version = 0x0210
    elif speed < Speed.SUPER and model.webusb is not None:
        usb_version = 0x0201
    texts = [text for _, text in model.strings()]
    # With one of them the kernel refers to all three (configfs.c); see gadget.configfs.plan.
    given = any(text is not None for text in texts)
    numbers = [number_string(strings, text or "") for text in texts] if given else [0] * 3
    return DeviceDescriptor(
        usb_version=usb_version,
        class_code=model.device_class,
        subclass=model.device_subclass,
        protocol=model.device_protocol,
        max_packet_size_0=max_packet_size_0,
        vendor_id=model.vendor_id,
        product_id=model.product_id,
        device_version=model.device_version,
        manufacturer=numbers[0],
        product=numbers[1],
        serial_number=numbers[2],
        configuration_count=len(model.configurations),
    )


def configuration_descriptor(
    configuration: ConfigurationModel, speed: Speed, size: int, interfaces: int, label: int
) -> ConfigurationDescriptor:
    """A configuration descriptor.

    Args:
        configuration: The configuration.
        speed: The speed of the connection.
        size: The bytes of what stands behind it.
        interfaces: How many interfaces stand there.
        label: The number of its string.
    """
    unit, limit = (8, 900) if speed >= Speed.SUPER else (2, 500)
    return ConfigurationDescriptor(
        total_length=9 + size,
        interface_count=interfaces,
        value=configuration.number,
        string=label,
        attributes=configuration.attributes,
        max_power=min(configuration.max_power_ma, limit) // unit,
    )


def function_descriptors(function: Function, speed: Speed, first: int, strings: dict[int, str]) -> Iterator[Descriptor]:
    """The descriptors of a function; its strings are numbered behind those that are there."""
    before, languages = len(strings), function.strings()
    for one in function.descriptors(first)[speed]:
        if isinstance(one, InterfaceDescriptor | InterfaceAssociation) and one.string:
            one = replace(one, string=before + one.string)
        yield one
    for text in languages.get(_ENGLISH, next(iter(languages.values()))):
        number_string(strings, text)
