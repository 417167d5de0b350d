"""What all descriptors share: fields that know their place on the wire, and the way there and back.

A descriptor class lists its fields in the order of the specification, each an ``int`` that carries a
:class:`Field`. From that list follow the bytes, the parser, and the check that every number fits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self, get_type_hints

from gadget.errors import DescriptorError
from gadget.protocol.constants import DescriptorType


@dataclass(frozen=True, slots=True)
class Field:
    """A number's name in the specification, and the number of bytes that it takes (little endian)."""

    name: str
    size: int = 1


_layouts: dict[type, tuple[tuple[str, Field], ...]] = {}


def layout(descriptor: type) -> tuple[tuple[str, Field], ...]:
    """Lists the attributes of a descriptor class that go on the wire, in order, each with its field."""
    if descriptor not in _layouts:
        hints = get_type_hints(descriptor, include_extras=True).items()
        extras = [(attribute, getattr(hint, "__metadata__", ())) for attribute, hint in hints]
        _layouts[descriptor] = tuple((attribute, more[0]) for attribute, more in extras if more)
    return _layouts[descriptor]


def size_of(descriptor: type) -> int:
    """The bLength that the fields of a descriptor class make, if it has nothing else."""
    return 2 + sum(field.size for _, field in layout(descriptor))


@dataclass(frozen=True, slots=True)
class Descriptor(ABC):
    """One descriptor: a value that was valid when it was built.

    Raises:
        DescriptorError: A number does not fit its field, or breaks a rule of the specification.
    """

    SOURCE: ClassVar[str] = "USB 2.0, 9.5"

    def __post_init__(self) -> None:
        for attribute, field in layout(type(self)):
            value = getattr(self, attribute)
            limit = 256**field.size - 1
            if not (isinstance(value, int) and 0 <= value <= limit):
                raise self.error(field.name, value, f"must be a whole number from 0 to {limit}")
        self._validate()

    @property
    @abstractmethod
    def type_code(self) -> int:
        """The number that says what kind of descriptor this is, bDescriptorType."""

    def _validate(self) -> None:  # noqa: B027 - not every class has a rule of its own to add
        """Checks the rules that need no more than this descriptor. Each class adds its own."""

    def _payload(self) -> bytes:
        """What follows bLength and bDescriptorType."""
        return b"".join(
            getattr(self, attribute).to_bytes(field.size, "little") for attribute, field in layout(type(self))
        )

    def to_bytes(self) -> bytes:
        """The descriptor as it goes over the bus, bLength and bDescriptorType included."""
        payload = self._payload()
        return bytes([2 + len(payload), self.type_code]) + payload

    @classmethod
    def _from_payload(cls, payload: bytes) -> Self:
        """Builds the descriptor from what follows bLength and bDescriptorType.

        Raises:
            DescriptorError: The length is not that of this descriptor, or a field breaks a rule.
        """
        fields = layout(cls)
        if 2 + len(payload) != size_of(cls):
            rule = f"must be {size_of(cls)} for a descriptor of type {cls.__name__}"
            raise cls.error("bLength", 2 + len(payload), rule)
        values, at = {}, 0
        for attribute, field in fields:
            values[attribute] = int.from_bytes(payload[at : at + field.size], "little")
            at += field.size
        return cls(**values)

    @classmethod
    def error(cls, field: str, value: object, rule: str) -> DescriptorError:
        """Makes the error to raise, with the section that describes this descriptor as the source."""
        return DescriptorError(field, value, rule, cls.SOURCE)

    def require(self, held: bool, field: str, value: object, rule: str) -> None:
        """Raises :class:`~gadget.errors.DescriptorError` unless a rule held."""
        if not held:
            raise self.error(field, value, rule)


class StandardDescriptor(Descriptor):
    """A descriptor whose class says its bDescriptorType."""

    __slots__ = ()
    TYPE: ClassVar[DescriptorType]

    @property
    def type_code(self) -> int:
        """The number of its class."""
        return self.TYPE

    def require_bcd(self, field: str, value: int) -> None:
        """Refuses a version number that is not binary-coded decimal."""
        held = all(digit in "0123456789" for digit in f"{value:x}")
        self.require(held, field, value, "must be binary-coded decimal, as 0x0210 for 2.10")

    def require_class(self, prefix: str, class_code: int, subclass: int) -> None:
        """Refuses a subclass where there is no class."""
        held = class_code != 0 or subclass == 0
        self.require(held, f"{prefix}SubClass", subclass, f"must be 0 while {prefix}Class is 0")
