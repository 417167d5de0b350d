"""What a gadget would present to a host at each speed, worked out without the kernel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from gadget.configfs.interfaces import allocate_interfaces
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
    """The speeds that the gadget can run at, and that all of its functions have descriptors for."""
    limit = gadget.model.max_speed or Speed.SUPER
    declared = [function.descriptors(0) for function in _described(gadget)]
    return [speed for speed in _BY_SPEED if speed <= limit and all(speed in speeds for speeds in declared)]


def _described(gadget: Gadget) -> tuple[Function, ...]:
    """Its functions, if all that they present is known here."""
    if gadget.kernel_functions or len(gadget.configurations) > 1:
        what = "what the kernel's own functions, or several configurations, present is for the kernel to say"
        raise UsageError(f"{what}: serve {gadget.name}, and describe the device that the host sees")
    return gadget.own_functions


def presented(gadget: Gadget, speed: Speed) -> Presented:
    """Works out what the gadget presents at one speed.

    Two things are the kernel's to choose, and may differ: the numbers of strings, and the addresses of endpoints,
    which depend on the controller. Here each function counts its endpoints from 1.
    """
    strings: dict[int, str] = {}
    device = _device(gadget, speed, strings)
    body = list(_functions(gadget, speed, strings))
    return Presented(device.to_bytes() + _configuration(gadget, speed, body), strings)


def _add(strings: dict[int, str], text: str | Mapping[int, str] | None) -> int:
    """Numbers a string; one in several languages is shown in English, or else in its first."""
    if text is None:
        return 0
    strings[len(strings) + 1] = text if isinstance(text, str) else text.get(_ENGLISH, next(iter(text.values())))
    return len(strings)


def _device(gadget: Gadget, speed: Speed, strings: dict[int, str]) -> DeviceDescriptor:
    model, (usb_version, max_packet_size_0) = gadget.model, _BY_SPEED[speed]
    texts = [text for _, text in model.strings()]
    # With one of them the kernel refers to all three (configfs.c); see gadget.configfs.plan.
    numbers = [_add(strings, text or "") for text in texts] if any(text is not None for text in texts) else [0] * 3
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
        configuration_count=1,
    )


def _configuration(gadget: Gadget, speed: Speed, body: list[Descriptor]) -> bytes:
    (configuration,) = gadget.model.configurations
    data = join_descriptors(body)
    unit, limit = (8, 900) if speed >= Speed.SUPER else (2, 500)
    head = ConfigurationDescriptor(
        total_length=9 + len(data),
        interface_count=sum(isinstance(one, InterfaceDescriptor) for one in body),
        value=configuration.number,
        attributes=configuration.attributes,
        max_power=min(configuration.max_power_ma, limit) // unit,
    )
    return head.to_bytes() + data


def _functions(gadget: Gadget, speed: Speed, strings: dict[int, str]) -> Iterator[Descriptor]:
    counts = [(str(number), len(function.interfaces())) for number, function in enumerate(gadget.own_functions)]
    first = allocate_interfaces(counts)
    for number, function in enumerate(gadget.own_functions):
        yield from _function(function, speed, first[str(number)], strings)


def _function(function: Function, speed: Speed, first: int, strings: dict[int, str]) -> Iterator[Descriptor]:
    before, languages = len(strings), function.strings()
    for one in function.descriptors(first)[speed]:
        if isinstance(one, InterfaceDescriptor | InterfaceAssociation) and one.string:
            one = replace(one, string=before + one.string)
        yield one
    for text in languages.get(_ENGLISH, next(iter(languages.values()))):
        _add(strings, text)
