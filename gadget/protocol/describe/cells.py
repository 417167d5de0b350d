"""How one number of a descriptor is written, what stands behind it, and the lines below it.

:class:`~gadget.protocol.describe.columns.Column` puts these functions together; each is given the :class:`Cell`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from gadget.protocol.describe.names import Texts


@dataclass(frozen=True, slots=True)
class Cell:
    """A number that was read: what the functions of a column are given.

    Attributes:
        value: The number.
        size: How many bytes it took.
        raw: These bytes.
        values: The numbers read before it, by name, and what is known of the surroundings.
        texts: What numbers are called.
    """

    value: int
    size: int
    raw: bytes
    values: Mapping[str, int]
    texts: Texts


Words = Callable[[Cell], str]


def decimal(cell: Cell) -> str:
    """Writes a number as it is."""
    return str(cell.value)


def hexadecimal(cell: Cell) -> str:
    """Writes every digit of its bytes."""
    return f"0x{cell.value:0{2 * cell.size}x}"


def version(cell: Cell) -> str:
    """Writes binary-coded decimal with its point."""
    return f"{cell.value >> 8:x}.{cell.value & 0xFF:02x}"


def nothing(cell: Cell) -> str:
    """Writes no number, where text says it all."""
    return ""


def guid(cell: Cell) -> str:
    """Writes 16 bytes as a UUID."""
    return f"{{{UUID(bytes_le=cell.raw)}}}"


def byte_list(cell: Cell) -> str:
    """Writes bytes one by one."""
    return cell.raw.hex(" ")


def string(cell: Cell) -> str:
    """The text of the string that the number stands for."""
    return cell.texts.string(cell.value) or "" if cell.value else ""


def unit(text: str) -> Words:
    """What is counted."""
    return lambda cell: text


def one_of(meanings: Mapping[int, str], otherwise: str = "") -> Words:
    """What one number means."""
    return lambda cell: meanings.get(cell.value, otherwise)


def in_brackets(meanings: Mapping[int, str], otherwise: str = "unknown") -> Words:
    """What one number means, as the names of subtypes are written."""
    return lambda cell: f"({meanings.get(cell.value, otherwise)})"


Below = Callable[[Cell], Iterable[str]]


def bits(*meanings: str | None, first: int = 0, highest_first: bool = False) -> Below:
    """A line for each bit that is set, from bit ``first`` on; None for a bit that means nothing."""

    def lines(cell: Cell) -> list[str]:
        found = [name for bit, name in enumerate(meanings, first) if name is not None and cell.value & 1 << bit]
        return found[::-1] if highest_first else found

    return lines


def controls(*meanings: str | None) -> Below:
    """A line for each pair of bits that is set, as audio 2.0 has them: what the host may do with a control."""
    access = {1: "read-only", 2: "ILLEGAL VALUE (0b10)", 3: "read/write"}

    def lines(cell: Cell) -> Iterator[str]:
        for number, meaning in enumerate(meanings):
            pair = cell.value >> 2 * number & 3
            if meaning is not None and pair:
                yield f"{meaning} Control ({access[pair]})"

    return lines


def marks(*meanings: str) -> Words:
    """The meaning of each bit that is set, in one line."""
    return lambda cell: "".join(f" {name}" for bit, name in enumerate(meanings) if cell.value & 1 << bit)


def either(*meanings: tuple[str, str]) -> Below:
    """A line for each bit, from bit 0 on: what it means when clear, and when set."""
    return lambda cell: [both[cell.value >> bit & 1] for bit, both in enumerate(meanings)]


def choices(*fields: tuple[int, str, Mapping[int, str]]) -> Below:
    """A line for each field within the number: its mask, what it is, what its values mean."""

    def lines(cell: Cell) -> Iterator[str]:
        for mask, name, meanings in fields:
            yield f"{name}{meanings.get((cell.value & mask) // (mask & -mask), '(reserved)')}"

    return lines
