"""The kinds of attributes that functions have in configfs: what is allowed, how it is written, how it reads back."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from gadget.errors import DescriptorError

T = TypeVar("T")

#: What the kernel's kstrtobool knows (``lib/kstrtox.c``), in whole words.
_YES, _NO = frozenset({"1", "y", "yes", "on", "t", "true"}), frozenset({"0", "n", "no", "off", "f", "false"})

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.IGNORECASE)


class Kind(ABC, Generic[T]):
    """One kind of attribute."""

    @abstractmethod
    def broken_rule(self, value: T) -> str | None:
        """The rule that a value breaks, as a clause; None if it breaks none."""

    @abstractmethod
    def encode(self, value: T) -> bytes:
        """What is written for a value."""

    @abstractmethod
    def decode(self, data: bytes) -> T | None:
        """The value that was read; None for one that nobody has given."""


@dataclass(frozen=True, slots=True)
class Number(Kind[int]):
    """A number.

    Attributes:
        minimum: The least.
        maximum: The most.
        form: How it is written.
        base: How it reads back.
    """

    minimum: int
    maximum: int
    form: str = "{:d}"
    base: int = 10

    def broken_rule(self, value: int) -> str | None:
        """It has a range."""
        if isinstance(value, bool) or not isinstance(value, int):
            return "must be a whole number"
        in_range = self.minimum <= value <= self.maximum
        return None if in_range else f"must be from {self.minimum} to {self.maximum}"

    def encode(self, value: int) -> bytes:
        """In the form that the kernel parses."""
        return self.form.format(value).encode()

    def decode(self, data: bytes) -> int:
        """In the form that the kernel writes."""
        return int(data, self.base)


@dataclass(frozen=True, slots=True)
class Flag(Kind[bool]):
    """Yes or no."""

    def broken_rule(self, value: bool) -> str | None:
        """It is a bool, as a number could be a mistake."""
        return None if isinstance(value, bool) else "must be True or False"

    def encode(self, value: bool) -> bytes:
        """As the kernel's kstrtobool takes it."""
        return b"1" if value else b"0"

    def decode(self, data: bytes) -> bool:
        """As the kernel prints it, or as people write it in files and on the command line."""
        word = data.strip(b"\0\n ").decode(errors="replace").lower()
        if word not in _YES | _NO:
            raise ValueError(f"{word!r} is neither yes (1) nor no (0)")
        return word in _YES


@dataclass(frozen=True, slots=True)
class Line(Kind[str]):
    """A text of one line.

    Attributes:
        maximum: Its bytes in UTF-8, at most.
        ending: What has to be written behind it.
        pattern: What it has to look like, as a regular expression; empty for anything.
        rule: That in words.
    """

    maximum: int
    ending: bytes = b""
    pattern: str = ""
    rule: str = ""

    def broken_rule(self, value: str) -> str | None:
        """It has no line break, and a length."""
        if not isinstance(value, str) or any(character in "\n\0" for character in value):
            return "must be a text without line breaks and zero bytes"
        if self.pattern and not re.fullmatch(self.pattern, value, re.ASCII):
            return self.rule
        size = len(value.encode(errors="replace"))
        return (
            None
            if size <= self.maximum
            else f"is {size} bytes long in UTF-8, and the kernel has room for {self.maximum}"
        )

    def encode(self, value: str) -> bytes:
        """In UTF-8."""
        return value.encode() + self.ending

    def decode(self, data: bytes) -> str | None:
        """Without what the kernel fills it up with; what does not fit the pattern is the kernel's own."""
        text = data.decode(errors="replace").rstrip(" \n\0")
        return text if text and (not self.pattern or re.fullmatch(self.pattern, text, re.ASCII)) else None


@dataclass(frozen=True, slots=True)
class MacAddress(Kind[str]):
    """The address of one end of a link (EUI-48)."""

    def broken_rule(self, value: str) -> str | None:
        """It is that of one station (``etherdevice.h``, is_valid_ether_addr)."""
        if not isinstance(value, str) or not _MAC.fullmatch(value):
            return "must be six bytes in hexadecimal, with colons: 02:00:00:00:00:01"
        if int(value[:2], 16) & 1:
            return "must not be a group's: the lowest bit of its first byte is set"
        return "must not be zero" if set(value) <= {"0", ":"} else None

    def encode(self, value: str) -> bytes:
        """As it is."""
        return value.encode()

    def decode(self, data: bytes) -> str:
        """The kernel writes a zero byte behind it."""
        return data.decode(errors="replace").strip("\0\n ")


@dataclass(frozen=True, slots=True)
class Numbers(Kind[tuple[int, ...]]):
    """Several numbers.

    Attributes:
        each: What each of them can be.
        count: How many there can be at most.
        separator: What stands between them.
    """

    each: Number
    count: int
    separator: str

    def broken_rule(self, value: Sequence[int]) -> str | None:
        """There is one at least, and each is in its range."""
        if isinstance(value, (str, bytes)) or not 1 <= len(value) <= self.count:
            return f"must be 1 to {self.count} numbers"
        broken = (self.each.broken_rule(number) for number in value)
        return next((f"each of them {rule}" for rule in broken if rule), None)

    def encode(self, value: Sequence[int]) -> bytes:
        """One after the other."""
        return self.separator.join(map(str, value)).encode()

    def decode(self, data: bytes) -> tuple[int, ...] | None:
        """None of them is nothing."""
        return tuple(int(word) for word in re.split(rb"[\s,]+", data.strip(b"\0\n ,")) if word) or None


@dataclass(frozen=True, slots=True)
class Blob(Kind[bytes]):
    """Bytes as they are.

    Attributes:
        minimum: How many there are at least.
        maximum: How many there are at most.
    """

    minimum: int
    maximum: int

    def broken_rule(self, value: bytes) -> str | None:
        """They have a length."""
        if not isinstance(value, (bytes, bytearray)):
            return "must be bytes"
        fits = self.minimum <= len(value) <= self.maximum
        return None if fits else f"is {len(value)} bytes long, and must be {self.minimum} to {self.maximum}"

    def encode(self, value: bytes) -> bytes:
        """As they are."""
        return bytes(value)

    def decode(self, data: bytes) -> bytes | None:
        """Nothing is None."""
        return data or None


@dataclass(frozen=True, slots=True)
class Choice(Kind[str]):
    """One of several words."""

    words: tuple[str, ...]

    def broken_rule(self, value: str) -> str | None:
        """It is one of them."""
        return None if value in self.words else f"must be one of {', '.join(self.words)}"

    def encode(self, value: str) -> bytes:
        """As it is."""
        return value.encode()

    def decode(self, data: bytes) -> str:
        """As it is."""
        return data.decode(errors="replace").strip()


@dataclass(frozen=True, slots=True)
class Attribute:
    """How a field of a class stands in configfs.

    Attributes:
        name: The attribute's name there.
        kind: What it can be.
        source: Where the kernel has its rule.
    """

    name: str
    kind: Kind[Any]
    source: str

    def check(self, value: Any) -> None:
        """Refuses what the kernel would not take, or not carry out.

        Raises:
            DescriptorError: The rule that it breaks, with its source.
        """
        if rule := self.kind.broken_rule(value):
            raise DescriptorError(self.name, value, rule, self.source)

    def decode(self, data: bytes) -> Any:
        """The value that was read; None for one that nobody has given.

        Raises:
            DescriptorError: It is none of its kind.
        """
        try:
            return self.kind.decode(data)
        except ValueError as error:
            said = data.decode(errors="backslashreplace").strip()
            raise DescriptorError(self.name, said, f"is no value of its kind: {error}", self.source) from error


def attribute(kind: Kind[Any], source: str, name: str | None = None, *, required: bool = False) -> Any:
    """Declares a field of a class as an attribute in configfs; None leaves it as the kernel has it.

    Args:
        kind: What it can be.
        source: Where the kernel has its rule.
        name: Its name in configfs, if that is another one than the field's.
        required: The kernel has no default that makes sense.
    """
    metadata = {"attribute": (name, kind, source)}
    return field(metadata=metadata) if required else field(default=None, metadata=metadata)
