"""What FunctionFS takes, and what it would take and then fail on.

The kernel answers a bad descriptor blob with EINVAL and a line for its debug log; some it takes, and fails (or worse)
when a controller is bound. Each rule here names the function of ``drivers/usb/gadget/function/f_fs.c`` it stands in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest

from gadget.errors import DescriptorError
from gadget.protocol.constants import DescriptorType, Speed, TransferType
from gadget.protocol.descriptors import (
    CLASS_SPECIFIC,
    Descriptor,
    EndpointDescriptor,
    InterfaceAssociation,
    InterfaceDescriptor,
    OtgDescriptor,
    SuperSpeedEndpointCompanion,
)
from gadget.protocol.speed_rules import check_packet_size
from gadget.protocol.wire import size_of

#: The most endpoints of one function: the kernel's table has 31 places and does not use the first (u_fs.h).
MAXIMUM_ENDPOINTS = 30
#: A configuration has 16 interfaces at most, which the kernel numbers from 0 (composite.h, MAX_CONFIG_INTERFACES).
LARGEST_INTERFACE_NUMBER = 15
#: The most strings of one gadget, and so of one function (composite.c, usb_string_ids_n).
MAXIMUM_STRINGS = 254
#: The bytes of a string that reach the host; the kernel cuts the rest, even within a character (usbstring.c).
MAXIMUM_STRING_BYTES = 126
#: The most languages of one gadget that fit into string descriptor 0 (composite.c, get_string).
MAXIMUM_LANGUAGES = 126

_PARSER = "f_fs.c, ffs_do_single_desc"
_COUNTER = "f_fs.c, __ffs_data_do_entity"
_STRINGS = "f_fs.c, __ffs_data_got_strings"
_TAKEN = (InterfaceDescriptor, EndpointDescriptor, InterfaceAssociation, SuperSpeedEndpointCompanion, OtgDescriptor)
_REASONS: Mapping[int, str] = {
    DescriptorType.DEVICE: "is made by the kernel, from the gadget's attributes in configfs",
    DescriptorType.CONFIGURATION: "is made by the kernel, from the configuration's attributes in configfs",
    DescriptorType.STRING: "goes into the strings, not among the descriptors",
    DescriptorType.DEVICE_QUALIFIER: "is made by the kernel, from the gadget's attributes in configfs",
    DescriptorType.CLASS_SPECIFIC_INTERFACE: "(audio, video, CDC, MIDI) needs the kernel's own function for that class",
    DescriptorType.CLASS_SPECIFIC_ENDPOINT: "(audio, video, MIDI) needs the kernel's own function for that class",
}


def check_descriptors(descriptors: Mapping[Speed, Sequence[Descriptor]]) -> None:
    """Refuses descriptors that FunctionFS would not serve.

    Raises:
        DescriptorError: The first rule that is broken.
    """
    _check_speeds(descriptors)
    for speed, of_speed in descriptors.items():
        _check_types(of_speed)
        _check_interfaces(of_speed)
        _check_associations(of_speed)
        _check_endpoints(of_speed, speed)
        _check_companions(of_speed, speed)
    for speed in descriptors:
        _check_same(descriptors[Speed.FULL], descriptors[speed], speed)


def _check_speeds(descriptors: Mapping[Speed, Sequence[Descriptor]]) -> None:
    if not descriptors.get(Speed.FULL):
        # The binding code reads the full-speed address of every endpoint it meets again at a higher speed.
        rule = "must have descriptors for full speed: without them the kernel crashes when a controller is bound"
        raise DescriptorError("fs_count", 0, rule, "f_fs.c, __ffs_func_bind_do_descs")
    for speed, of_speed in descriptors.items():
        if speed not in (Speed.FULL, Speed.HIGH, Speed.SUPER):
            rule = "must be full, high or super: super speed plus uses the descriptors of super speed"
            raise DescriptorError("speed", speed, rule, "functionfs.h")
        if not of_speed:
            rule = f"must have descriptors for {speed.maximum}, or not name that speed"
            raise DescriptorError("count", 0, rule, "f_fs.c, __ffs_data_got_descs")


def _check_types(descriptors: Sequence[Descriptor]) -> None:
    current_class = -1
    for descriptor in descriptors:
        if isinstance(descriptor, InterfaceDescriptor):
            current_class = descriptor.class_code
        if not isinstance(descriptor, _TAKEN):
            _check_other(descriptor, current_class)


def _check_other(descriptor: Descriptor, current_class: int) -> None:
    """Takes the descriptors of two classes, each in an interface of its class, and nothing else."""
    code = descriptor.type_code
    kind = OtgDescriptor if code == DescriptorType.OTG else CLASS_SPECIFIC.get(current_class)
    if code not in (DescriptorType.OTG, DescriptorType.CLASS_SPECIFIC):
        reason = _REASONS.get(code, "is not among those that FunctionFS takes")
        rule = f"must not be 0x{code:02x}: a descriptor of that type {reason}"
        raise DescriptorError("bDescriptorType", code, rule, _PARSER)
    if kind is None:
        rule = "must not be 0x21 except in an interface of class HID or smart card"
        raise DescriptorError("bDescriptorType", code, rule, _PARSER)
    if (length := len(descriptor.to_bytes())) != size_of(kind):
        rule = f"must be {size_of(kind)} for a descriptor of type 0x{code:02x}"
        raise DescriptorError("bLength", length, rule + f" ({kind.__name__})", _PARSER)
    if not isinstance(descriptor, kind):
        raise DescriptorError("bDescriptorType", code, f"must be built as {kind.__name__}", kind.SOURCE)


def _check_interfaces(descriptors: Sequence[Descriptor]) -> None:
    numbers: set[int] = set()
    for interface, endpoints in _by_interface(descriptors):
        if interface.alternate_setting:
            rule = "must be 0: FunctionFS serves no alternate settings"
            raise DescriptorError("bAlternateSetting", interface.alternate_setting, rule, "f_fs.c, ffs_func_set_alt")
        if interface.number > LARGEST_INTERFACE_NUMBER:
            rule = f"must be at most {LARGEST_INTERFACE_NUMBER}: a configuration has 16 interfaces at most"
            raise DescriptorError("bInterfaceNumber", interface.number, rule, "composite.c, usb_interface_id")
        if interface.number in numbers:
            rule = "must be different in every interface of a function"
            raise DescriptorError("bInterfaceNumber", interface.number, rule, "USB 2.0, 9.6.5")
        numbers.add(interface.number)
        if interface.endpoint_count != endpoints:
            rule = f"must be {endpoints}, the number of endpoint descriptors that follow"
            raise DescriptorError("bNumEndpoints", interface.endpoint_count, rule, "USB 2.0, 9.6.5")


def _by_interface(descriptors: Sequence[Descriptor]) -> Iterator[tuple[InterfaceDescriptor, int]]:
    """Yields each interface with the number of its endpoints."""
    interface, endpoints = None, 0
    for descriptor in descriptors:
        if isinstance(descriptor, InterfaceDescriptor):
            if interface is not None:
                yield interface, endpoints
            interface, endpoints = descriptor, 0
        elif isinstance(descriptor, EndpointDescriptor):
            if interface is None:
                rule = "must follow the descriptor of its interface"
                raise DescriptorError("bEndpointAddress", descriptor.address, rule, "USB 2.0, 9.6.6")
            endpoints += 1
    if interface is None:
        raise DescriptorError("bNumInterfaces", 0, "must be at least one interface", "USB 2.0, 9.6.3")
    yield interface, endpoints


def _check_associations(descriptors: Sequence[Descriptor]) -> None:
    """Hosts group interfaces by an association that they have read before; one that comes later is ignored."""
    seen: list[int] = []
    for descriptor in descriptors:
        if isinstance(descriptor, InterfaceDescriptor):
            seen.append(descriptor.number)
        elif isinstance(descriptor, InterfaceAssociation):
            first = descriptor.first_interface
            if any(first <= number < first + descriptor.interface_count for number in seen):
                rule = "must stand before the first of its interfaces"
                raise DescriptorError("bFirstInterface", first, rule, "USB 3.2, 9.6.4")


def _check_endpoints(descriptors: Sequence[Descriptor], speed: Speed) -> None:
    endpoints = [one for one in descriptors if isinstance(one, EndpointDescriptor)]
    addresses = [one.address for one in endpoints]
    if len(addresses) > MAXIMUM_ENDPOINTS:
        rule = f"must be at most {MAXIMUM_ENDPOINTS} in a function"
        raise DescriptorError("bNumEndpoints", len(addresses), rule, _COUNTER)
    for at, address in enumerate(addresses):
        if address in addresses[:at]:
            rule = f"must be unique in the function; 0x{address:02x} is there twice"
            raise DescriptorError("bEndpointAddress", address, rule, "f_fs.c, __ffs_func_bind_do_descs")
    for endpoint in endpoints:
        if endpoint.transfer_type is TransferType.CONTROL:
            rule = "must not be of type control: no controller has such an endpoint beside endpoint 0"
            raise DescriptorError("bmAttributes", endpoint.attributes, rule, "udc/core.c, usb_gadget_ep_match_desc")
        if endpoint.transactions > 1 and speed is not Speed.HIGH:
            rule = f"must be one transaction at {speed.maximum}: only high speed has up to three"
            raise DescriptorError("wMaxPacketSize", endpoint.max_packet_size, rule, "USB 2.0, 9.6.6; USB 3.2, 9.6.6")


def _check_companions(descriptors: Sequence[Descriptor], speed: Speed) -> None:
    """Checks what the speed decides: packet sizes, and a companion right behind each endpoint from super speed on."""
    endpoint: EndpointDescriptor | None = None
    for descriptor in (*descriptors, None):
        companion = descriptor if isinstance(descriptor, SuperSpeedEndpointCompanion) else None
        if companion is not None and (endpoint is None or speed < Speed.SUPER):
            rule = "must not be a companion, except behind an endpoint descriptor for super speed"
            raise DescriptorError("bDescriptorType", companion.type_code, rule, "USB 3.2, 9.6.7")
        if endpoint is not None:
            if speed >= Speed.SUPER and companion is None:
                rule = "must be followed by a SuperSpeed companion: enabling the endpoint fails without it"
                raise DescriptorError("bEndpointAddress", endpoint.address, rule, "composite.c, config_ep_by_speed")
            burst = companion.max_burst if companion else 0
            check_packet_size(endpoint.transfer_type, speed, endpoint.packet_size, burst)
        endpoint = descriptor if isinstance(descriptor, EndpointDescriptor) else None


def _check_same(full: Sequence[Descriptor], other: Sequence[Descriptor], speed: Speed) -> None:
    for field, kind, attribute in (
        ("bInterfaceNumber", InterfaceDescriptor, "number"),
        ("bEndpointAddress", EndpointDescriptor, "address"),
    ):
        wanted, found = (
            [getattr(one, attribute) for one in of_speed if isinstance(one, kind)] for of_speed in (full, other)
        )
        for one, two in zip_longest(wanted, found):
            if one != two:
                rule = f"must be {one!r} here at {speed.maximum}: every speed has the same, in the same order"
                raise DescriptorError(field, two, rule, _COUNTER)


def strings_needed(descriptors: Mapping[Speed, Sequence[Descriptor]]) -> int:
    """The largest number by which a descriptor names a string; the kernel wants that many in each language."""
    named = (
        one.string
        for of_speed in descriptors.values()
        for one in of_speed
        if isinstance(one, (InterfaceDescriptor, InterfaceAssociation))
    )
    return max(named, default=0)


def check_strings(strings: Mapping[int, Sequence[str]], needed: int = 0) -> None:
    """Refuses strings that FunctionFS would not serve, or would serve damaged.

    Args:
        strings: Those of each language.
        needed: How many of them the descriptors name.

    Raises:
        DescriptorError: The first rule that is broken.
    """
    count = len(next(iter(strings.values()), ()))
    if count < needed:
        raise DescriptorError("str_count", count, f"must be at least {needed}: descriptors name so many", _STRINGS)
    if count > MAXIMUM_STRINGS:
        rule = f"must be at most {MAXIMUM_STRINGS}"
        raise DescriptorError("str_count", count, rule, "composite.c, usb_string_ids_n")
    if len(strings) > MAXIMUM_LANGUAGES:
        rule = f"must be at most {MAXIMUM_LANGUAGES}: the table of languages has room for no more"
        raise DescriptorError("lang_count", len(strings), rule, "composite.c, get_string")
    for language, texts in strings.items():
        if not 0 < language <= 0xFFFF:
            raise DescriptorError("lang", language, "must be a language identifier from 1 to 65535", _STRINGS)
        if len(texts) != count:
            rule = f"must be {count} in language 0x{language:04x}, as in the others"
            raise DescriptorError("str_count", len(texts), rule, _STRINGS)
        for text in texts:
            _check_string(text)


def _check_string(text: str) -> None:
    if "\0" in text:
        raise DescriptorError("string", text, "must not hold a NUL character, which ends a string", _STRINGS)
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        rule = "must be encodable: it holds half of a surrogate pair"
        raise DescriptorError("string", text, rule, _STRINGS) from None
    if size > MAXIMUM_STRING_BYTES:
        rule = f"must be at most {MAXIMUM_STRING_BYTES} bytes in UTF-8, this one has {size}: the kernel cuts the rest"
        raise DescriptorError("string", text, rule, "usbstring.c, usb_gadget_get_string")
