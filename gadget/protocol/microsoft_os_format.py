"""Microsoft OS descriptors in the form that FunctionFS takes them: bytes of values, and values of bytes.

The form is the kernel's own (``functionfs.h``, OSDesc). It resembles what the host reads, but texts are UTF-8 here, and
the kernel makes UTF-16 of them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from gadget.errors import DescriptorError
from gadget.protocol.constants import PropertyType
from gadget.protocol.microsoft_os import MicrosoftOs, Property

#: interface, dwLength, bcdVersion, wIndex, wCount (struct usb_os_desc_header).
_HEAD = struct.Struct("<BIHHH")
#: bFirstInterfaceNumber, Reserved1, CompatibleID, SubCompatibleID, Reserved2 (struct usb_ext_compat_desc).
_COMPATIBLE = struct.Struct("<BB8s8s6s")
#: dwSize, dwPropertyDataType, wPropertyNameLength (struct usb_ext_prop_desc).
_PROPERTY = struct.Struct("<IIH")
_LENGTH = struct.Struct("<I")
_VERSION, _COMPATIBLE_INDEX, _PROPERTIES_INDEX = 1, 4, 5
_FORMAT = "functionfs.h, OSDesc"
_K = TypeVar("_K")
_V = TypeVar("_V")


def microsoft_os_bytes(microsoft_os: Sequence[MicrosoftOs], numbers: Sequence[int]) -> tuple[int, bytes]:
    """Makes the part of the descriptor blob that holds them (``functionfs.h``, OSDesc).

    Args:
        microsoft_os: What the interfaces say, at most once for each.
        numbers: bInterfaceNumber of each interface of the function.

    Returns:
        os_count, and the bytes.
    """
    said = {numbers[one.interface]: one for one in microsoft_os}
    # Every number up to the largest one gets an entry. The kernel's table has a place for each, and one that nothing
    # was written to counts as interface 0: the host would read that one again (f_fs.c, __ffs_func_bind_do_os_desc;
    # composite.c, fill_ext_compat).
    entries = b"".join(_compatible(number, said.get(number)) for number in range(max(numbers) + 1))
    blocks = [_block(0, _COMPATIBLE_INDEX, max(numbers) + 1, entries)]
    for number, one in sorted(said.items()):
        if one.properties:
            records = b"".join(property_record(name, value) for name, value in one.properties.items())
            blocks.append(_block(number, _PROPERTIES_INDEX, len(one.properties), records))
    return len(blocks), b"".join(blocks)


def _block(interface: int, index: int, count: int, body: bytes) -> bytes:
    return _HEAD.pack(interface, _HEAD.size + len(body), _VERSION, index, count) + body


def _compatible(number: int, one: MicrosoftOs | None) -> bytes:
    names = (one.compatible_id.encode(), one.sub_compatible_id.encode()) if one else (b"", b"")
    return _COMPATIBLE.pack(number, 1, *names, bytes(6))


def property_record(name: str, value: Property) -> bytes:
    """One property in the form that FunctionFS takes (``functionfs.h``, ExtProp)."""
    raw = name.encode() + b"\0"
    size = _PROPERTY.size + len(raw) + 4 + len(value.data)
    return _PROPERTY.pack(size, value.type, len(raw)) + raw + _LENGTH.pack(len(value.data)) + value.data


def parse_microsoft_os(data: bytes, count: int, numbers: Sequence[int]) -> tuple[MicrosoftOs, ...]:
    """Reads back what :func:`microsoft_os_bytes` made, and what others made in the same form.

    Args:
        data: The end of a descriptor blob.
        count: os_count.
        numbers: bInterfaceNumber of each interface of the function.

    Raises:
        DescriptorError: A length, a count or a number is wrong, or an interface or a property is there twice.
    """
    _require(bool(numbers), "bNumInterfaces", 0, "must be at least one interface")
    names: dict[int, tuple[str, str]] = {}
    properties: dict[int, dict[str, Property]] = {}
    rest = _Rest(data)
    for _ in range(count):
        interface, length, version, index, entries = rest.take(_HEAD)
        body = rest.part("dwLength", length - _HEAD.size)
        _require(version == _VERSION, "bcdVersion", version, "must be 1")
        known = index in (_COMPATIBLE_INDEX, _PROPERTIES_INDEX)
        _require(known, "wIndex", index, "must be 4 (compatible IDs) or 5 (properties)")
        if index == _COMPATIBLE_INDEX:
            _require(entries <= 255, "bCount", entries, "must be at most 255, and the byte behind it 0")
            _no_repeats("bFirstInterfaceNumber", names, _read_compatible(body, entries))
        else:
            _no_repeats("interface", properties, [(interface, _read_properties(body, entries))])
        body.end("dwLength")
    rest.end("os_count")
    return tuple(_joined(names, properties, numbers))


def _joined(
    names: Mapping[int, tuple[str, str]], properties: Mapping[int, Mapping[str, Property]], numbers: Sequence[int]
) -> Iterator[MicrosoftOs]:
    said = {number for number, ids in names.items() if any(ids)} | {n for n, found in properties.items() if found}
    for number in sorted(said):
        _require(number in numbers, "bFirstInterfaceNumber", number, "must be the number of an interface")
        yield MicrosoftOs(*names.get(number, ("", "")), properties.get(number, {}), numbers.index(number))
    for number in names.keys() | properties.keys():
        held = number <= max(numbers)
        _require(held, "bFirstInterfaceNumber", number, f"must be at most {max(numbers)}, the largest interface number")


def _read_compatible(body: _Rest, count: int) -> Iterator[tuple[int, tuple[str, str]]]:
    for _ in range(count):
        number, one, name, sub_name, reserved = body.take(_COMPATIBLE)
        _require(one == 1, "Reserved1", one, "must be 1")
        _require(not any(reserved), "Reserved2", reserved, "must be 0")
        yield number, (_ascii("CompatibleID", name), _ascii("SubCompatibleID", sub_name))


def _ascii(where: str, padded: bytes) -> str:
    text = padded.rstrip(b"\0")
    _require(text.isascii(), where, padded, "must be ASCII")
    return text.decode("ascii")


def _read_properties(body: _Rest, count: int) -> dict[str, Property]:
    found: dict[str, Property] = {}
    for _ in range(count):
        size, kind, name_length = body.take(_PROPERTY)
        name = body.part("wPropertyNameLength", name_length).data
        data = body.part("dwPropertyDataLength", body.take(_LENGTH)[0]).data
        expected = _PROPERTY.size + len(name) + 4 + len(data)
        _require(size == expected, "dwSize", size, f"must be {expected}, the bytes of the property")
        _require(kind in set(PropertyType), "dwPropertyDataType", kind, "must be from 1 to 7")
        _no_repeats("bPropertyName", found, [(_name(name), Property(PropertyType(kind), data))])
    return found


def _name(raw: bytes) -> str:
    _require(raw.endswith(b"\0"), "bPropertyName", raw, "must be ended by NUL, which wPropertyNameLength counts")
    try:
        return raw[:-1].decode()
    except UnicodeDecodeError:
        raise DescriptorError("bPropertyName", raw, "must be a text in UTF-8", _FORMAT) from None


class _Rest:
    """Bytes that are taken from the front."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def part(self, where: str, length: int) -> _Rest:
        _require(
            0 <= length <= len(self.data), where, length, f"must be within the {len(self.data)} bytes that are left"
        )
        taken, self.data = self.data[:length], self.data[length:]
        return _Rest(taken)

    def take(self, form: struct.Struct) -> tuple[Any, ...]:
        return form.unpack(self.part("length", form.size).data)

    def end(self, where: str) -> None:
        _require(not self.data, where, len(self.data), "must leave no bytes over")


def _require(held: bool, where: str, value: object, rule: str) -> None:
    if not held:
        raise DescriptorError(where, value, rule, _FORMAT)


def _no_repeats(where: str, found: dict[_K, _V], more: Iterable[tuple[_K, _V]]) -> None:
    for key, value in more:
        _require(key not in found, where, key, "must not be there twice")
        found[key] = value
