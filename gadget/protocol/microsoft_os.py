"""What a function tells Windows about its interfaces: Microsoft OS descriptors 1.0, as values.

Two kinds there are, each with a specification of Microsoft's: "Extended Compat ID OS Feature Descriptor" names a driver
(WINUSB), "Extended Properties OS Feature Descriptor" puts values into the registry. Windows reads them when string 0xEE
says that they are there; that string is the gadget's, and stands in configfs (``gadget.configfs.model``).

FunctionFS has a form of its own for them (``microsoft_os_format.py``), and serves some (``microsoft_os_rules.py``).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Self

from gadget.errors import DescriptorError
from gadget.protocol.constants import PropertyType

COMPATIBLE_ID = "Extended Compat ID OS Feature Descriptor Specification 1.0"
PROPERTIES = "Extended Properties OS Feature Descriptor Specification 1.0"

_ID = re.compile(r"[A-Z0-9_]{0,8}", re.ASCII)
#: The types that are one text.
TEXT_TYPES = (PropertyType.TEXT, PropertyType.EXPANDABLE_TEXT, PropertyType.LINK)
_NUMBER_TYPES: Mapping[int, str] = {PropertyType.LITTLE_ENDIAN_NUMBER: "<I", PropertyType.BIG_ENDIAN_NUMBER: ">I"}


@dataclass(frozen=True, slots=True)
class Property:
    """A value for the registry; :meth:`text`, :meth:`binary`, :meth:`number` and :meth:`texts` make them.

    Raises:
        DescriptorError: The data is none of that type.
    """

    type: PropertyType
    data: bytes
    """As FunctionFS takes it: texts in UTF-8, each with the NUL that ends it; numbers in four bytes."""

    def __post_init__(self) -> None:
        if self.type in _NUMBER_TYPES and len(self.data) != 4:
            raise DescriptorError("dwPropertyDataLength", len(self.data), "must be 4 for a number", PROPERTIES)
        if self.type in (*TEXT_TYPES, PropertyType.TEXTS):
            self._check_text()

    def _check_text(self) -> None:
        try:
            whole = self.data.decode()
        except UnicodeDecodeError:
            raise DescriptorError("bPropertyData", self.data, "must be a text in UTF-8", "functionfs.h") from None
        if self.type is PropertyType.TEXTS:
            held = whole == "\0" or (whole.endswith("\0\0") and "" not in whole[:-2].split("\0"))
            rule = "must be texts, none of them empty, each ended by NUL, and one more NUL"
        else:
            held, rule = whole.find("\0") == len(whole) - 1 >= 0, "must be ended by NUL, and hold no other"
        if not held:
            raise DescriptorError("bPropertyData", self.data, rule, PROPERTIES)

    @classmethod
    def text(cls, text: str, kind: PropertyType = PropertyType.TEXT) -> Self:
        """A text, or of another kind one that names variables of the environment, or a link."""
        if kind not in TEXT_TYPES:
            rule = "must be TEXT, EXPANDABLE_TEXT or LINK for one text"
            raise DescriptorError("dwPropertyDataType", kind, rule, PROPERTIES)
        return cls(kind, _encoded(text))

    @classmethod
    def binary(cls, data: bytes) -> Self:
        """Bytes as they are."""
        return cls(PropertyType.BINARY, bytes(data))

    @classmethod
    def number(cls, number: int, *, big_endian: bool = False) -> Self:
        """A number from 0 to 2**32 - 1."""
        if not 0 <= number < 2**32:
            raise DescriptorError("bPropertyData", number, "must be from 0 to 4294967295", PROPERTIES)
        kind = PropertyType.BIG_ENDIAN_NUMBER if big_endian else PropertyType.LITTLE_ENDIAN_NUMBER
        return cls(kind, struct.pack(_NUMBER_TYPES[kind], number))

    @classmethod
    def texts(cls, texts: Sequence[str]) -> Self:
        """Several texts."""
        return cls(PropertyType.TEXTS, b"".join(map(_encoded, texts)) + b"\0")

    @property
    def value(self) -> str | bytes | int | tuple[str, ...]:
        """The text, the bytes, the number or the texts."""
        if self.type in _NUMBER_TYPES:
            number: int = struct.unpack(_NUMBER_TYPES[self.type], self.data)[0]
            return number
        if self.type is PropertyType.TEXTS:
            return tuple(self.data.decode().split("\0")[:-2])
        return self.data.decode()[:-1] if self.type in TEXT_TYPES else self.data


def _encoded(text: str) -> bytes:
    try:
        return text.encode() + b"\0"
    except UnicodeEncodeError:
        rule = "must be encodable: it holds half of a surrogate pair"
        raise DescriptorError("bPropertyData", text, rule, PROPERTIES) from None


@dataclass(frozen=True, slots=True)
class MicrosoftOs:
    """What one interface of a function tells Windows.

    Args:
        compatible_id: CompatibleID, which names a driver of Windows: ``WINUSB``. Empty for none.
        sub_compatible_id: SubCompatibleID, for drivers that have several variants.
        properties: Values for the registry, by name. ``{"DeviceInterfaceGUID": Property.text("{...}")}`` is how
            programs find a device that WinUSB drives.
        interface: Which of the function's interfaces it is, counted from 0 in the order of their descriptors.

    Raises:
        DescriptorError: An ID or a name has characters or a length that it cannot have, or nothing is said.
    """

    compatible_id: str = ""
    sub_compatible_id: str = ""
    properties: Mapping[str, Property] = field(default_factory=dict)
    interface: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "properties", MappingProxyType(dict(self.properties)))
        for name, text in (("CompatibleID", self.compatible_id), ("SubCompatibleID", self.sub_compatible_id)):
            if not _ID.fullmatch(text):
                rule = "must be at most 8 capital letters (ASCII), digits and '_'"
                raise DescriptorError(name, text, rule, COMPATIBLE_ID)
        if self.sub_compatible_id and not self.compatible_id:
            rule = "must be empty while CompatibleID is"
            raise DescriptorError("SubCompatibleID", self.sub_compatible_id, rule, COMPATIBLE_ID)
        if not self.compatible_id and not self.properties:
            raise DescriptorError("CompatibleID", "", "must be given, or a property", COMPATIBLE_ID)
        for name in self.properties:
            if not name or "\0" in name or not name.isprintable():
                rule = "must be one printable character at least, and no other"
                raise DescriptorError("bPropertyName", name, rule, PROPERTIES)
