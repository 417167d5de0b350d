"""Which Microsoft OS descriptors FunctionFS takes, and which of those reach the host as they were meant.

The kernel checks the lengths when it takes them (``f_fs.c``, __ffs_data_do_os_desc), and not what it will make of them
when the host asks (``composite.c``, fill_ext_compat and fill_ext_prop).
"""

from __future__ import annotations

from collections.abc import Sequence

from gadget.errors import DescriptorError
from gadget.protocol.constants import PropertyType
from gadget.protocol.descriptors import Descriptor, InterfaceAssociation, InterfaceDescriptor
from gadget.protocol.microsoft_os import TEXT_TYPES, MicrosoftOs, Property
from gadget.protocol.microsoft_os_format import property_record

#: The most bytes of a property in the form of FunctionFS: the kernel keeps its length in one byte.
MAXIMUM_PROPERTY = 255
#: The most bytes of all properties of an interface as the host reads them, with their head of ten: the kernel leaves
#: out what would fill its buffer, which has one byte more (``composite.h``, USB_COMP_EP0_OS_DESC_BUFSIZ).
MAXIMUM_PROPERTIES = 4095

_TAKER = "f_fs.c, __ffs_data_do_os_desc"
_SERVER = "composite.c, fill_ext_prop"
_SERVED = (*TEXT_TYPES, PropertyType.BINARY)


def check_microsoft_os(microsoft_os: Sequence[MicrosoftOs], descriptors: Sequence[Descriptor]) -> None:
    """Refuses what FunctionFS does not take, or takes and then serves damaged or not at all.

    Args:
        microsoft_os: What the interfaces of one function say.
        descriptors: The function's descriptors at any of its speeds.

    Raises:
        DescriptorError: The first rule that is broken.
    """
    count = sum(isinstance(one, InterfaceDescriptor) for one in descriptors)
    seen: set[int] = set()
    for one in microsoft_os:
        if not 0 <= one.interface < count:
            rule = f"must be from 0 to {count - 1}: the function's interfaces are counted from 0"
            raise DescriptorError("interface", one.interface, rule, _TAKER)
        if one.interface in seen:
            rule = "must be different in each: the kernel keeps the last one's IDs"
            raise DescriptorError("interface", one.interface, rule, "f_fs.c, __ffs_func_bind_do_os_desc")
        seen.add(one.interface)
        _check_association(one, descriptors)
        _check_properties(one)


def _check_association(one: MicrosoftOs, descriptors: Sequence[Descriptor]) -> None:
    """Hosts ask for the driver of an association, and only its first interface stands for that."""
    numbers = [each.number for each in descriptors if isinstance(each, InterfaceDescriptor)]
    number = numbers[one.interface]
    for each in descriptors:
        if isinstance(each, InterfaceAssociation) and one.compatible_id:
            first = each.first_interface
            if first < number < first + each.interface_count:
                rule = f"must be said by interface {first}, which stands for the association that this one belongs to"
                raise DescriptorError("CompatibleID", one.compatible_id, rule, "functionfs.h, ExtCompat")


def check_served_properties(one: MicrosoftOs) -> None:
    """Refuses properties that the kernel serves damaged or not at all, whoever gave them to it.

    Raises:
        DescriptorError: The first rule that is broken.
    """
    served = 10
    for name, value in one.properties.items():
        _check_type(value)
        _check_ascii(name, value)
        served += _served_size(name, value)
    if served > MAXIMUM_PROPERTIES:
        rule = (
            f"must be at most {MAXIMUM_PROPERTIES} for all properties of an interface: the kernel leaves out the rest"
        )
        raise DescriptorError("dwLength", served, rule, _SERVER)


def _check_properties(one: MicrosoftOs) -> None:
    check_served_properties(one)
    for name, value in one.properties.items():
        if (size := len(property_record(name, value))) > MAXIMUM_PROPERTY:
            rule = (
                f"must be at most {MAXIMUM_PROPERTY}: 16, and the bytes of name and data with their NULs, for {name!r}"
            )
            raise DescriptorError("dwSize", size, rule, _TAKER)


def _check_type(value: Property) -> None:
    if value.type not in _SERVED:
        rule = "must be a text, a link or binary: the kernel takes numbers and lists of texts, and then stalls"
        if value.type is PropertyType.TEXTS:
            rule += "; Windows also reads DeviceInterfaceGUID, with one text, in place of DeviceInterfaceGUIDs"
        raise DescriptorError("dwPropertyDataType", value.type, rule, _SERVER)


def _check_ascii(name: str, value: Property) -> None:
    """The kernel counts two bytes of UTF-16 for each byte of UTF-8, and fills up with NULs what it counted too many."""
    source = "f_fs.c, __ffs_func_bind_do_os_desc"
    if not name.isascii():
        raise DescriptorError("bPropertyName", name, "must be ASCII: the host would read NULs behind it", source)
    if value.type in TEXT_TYPES and not value.data.isascii():
        raise DescriptorError("bPropertyData", value.value, "must be ASCII: the host would read NULs behind it", source)


def _served_size(name: str, value: Property) -> int:
    data = len(value.data) * (1 if value.type is PropertyType.BINARY else 2)
    return 14 + 2 * (len(name) + 1) + data
