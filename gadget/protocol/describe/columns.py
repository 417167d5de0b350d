"""What a descriptor's bytes mean, as a table of columns; and the lines that follow from a table and the bytes.

A table is a tuple of parts. Most are a :class:`Column`: one number, its name in the specification, how it is written,
and what it means. Others repeat, choose or skip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from gadget.protocol.describe.cells import Below, Cell, Words, decimal
from gadget.protocol.describe.names import Texts

#: Where the last digit of a number stands, counted from the beginning of its line's name.
WIDTH = 25


@dataclass(frozen=True, slots=True)
class Column:
    """One number.

    Attributes:
        name: What its specification calls it; ``{}`` in it is the place of the count in a :class:`Repeat`.
        size: Its bytes; the name of the column before it that says how many, or a function that works it out from the
            columns before it; None for all that are left.
        show: How it is written.
        after: What stands behind it.
        below: The lines under it.
        width: Where its last digit stands; text without a number begins one further.
        hidden: Whether it is read and not written: always, or while it is zero.
    """

    name: str
    size: int | str | Callable[[Mapping[str, int]], int] | None = 1
    show: Words = decimal
    after: Words | None = None
    below: Below | None = None
    width: int = WIDTH
    hidden: Callable[[int], bool] = lambda value: False

    def lines(self, cell: Cell, place: int) -> Iterator[Line]:
        """Writes it."""
        if self.hidden(cell.value):
            return
        name, number = self.name.format(place), self.show(cell)
        room = max(self.width - len(name), len(number) + 1) if name else 0
        text = f"{name}{number:>{room}}"
        if self.after is not None:
            text = f"{text} {self.after(cell)}"
        yield Line(0, text.rstrip())
        for below in self.below(cell) if self.below is not None else ():
            yield Line(2, below)


@dataclass(frozen=True, slots=True)
class Line:
    """A line, with the number of blanks before it."""

    indent: int
    text: str

    def indented(self, by: int) -> Line:
        """The same, deeper."""
        return replace(self, indent=self.indent + by)


@dataclass(frozen=True, slots=True)
class Skip:
    """Bytes that are not shown."""

    size: int


@dataclass(frozen=True, slots=True)
class Repeat:
    """Parts that come again.

    Attributes:
        parts: What comes again.
        count: How often: the name of the column that says it, or None for as long as there are bytes.
        leave: The bytes that come after the last, if ``count`` is None.
    """

    parts: tuple[Part, ...]
    count: str | None = None
    leave: int = 0


@dataclass(frozen=True, slots=True)
class Choose:
    """Parts that depend on a number before them."""

    name: str
    options: Mapping[int, tuple[Part, ...]]
    otherwise: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class IfLeft:
    """Parts that a longer form of the descriptor has."""

    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """Lines that are always there, ``indent`` blanks deeper than the others."""

    lines: tuple[str, ...]
    indent: int = 0


@dataclass(frozen=True, slots=True)
class Rest:
    """All bytes that are left, as one line with ``name`` before them; no line without bytes."""

    name: str
    width: int = 0


Part = Column | Skip | Repeat | Choose | IfLeft | Text | Rest


class _ShortError(Exception):
    """There are fewer bytes than the table has columns."""


@dataclass
class Reader:
    """Takes the bytes of one descriptor apart by a table.

    Attributes:
        data: The bytes.
        values: What is known before, by name; what was read is added to it.
        texts: What numbers are called.
    """

    data: bytes
    values: dict[str, int] = field(default_factory=dict)
    texts: Texts = field(default_factory=Texts)
    _at: int = 0
    _place: int = 0

    def lines(self, table: Iterable[Part]) -> Iterator[Line]:
        """Writes the lines; says at the end what the bytes lack, or have too many of."""
        try:
            yield from self._parts(table)
        except _ShortError:
            yield Line(0, "Warning: Descriptor too short")
        if self._at < len(self.data):
            yield Line(0, f"junk at descriptor end: {self.data[self._at :].hex(' ')}")

    def _parts(self, parts: Iterable[Part]) -> Iterator[Line]:
        for part in parts:
            yield from self._part(part)

    def _part(self, part: Part) -> Iterator[Line]:
        match part:
            case Column():
                yield from part.lines(self._cell(part), self._place)
            case Skip(size):
                self._take(size)
            case Repeat():
                yield from self._repeat(part)
            case Choose(name, options, otherwise):
                yield from self._parts(options.get(self.values.get(name, -1), otherwise))
            case IfLeft(parts):
                yield from self._parts(parts if self._left else ())
            case Text(lines, indent):
                yield from (Line(indent, text) for text in lines)
            case Rest(name, width):
                data = self._take(self._left)
                yield from [Line(0, f"{name:<{width}}{data.hex(' ')}")] if data else []

    @property
    def _left(self) -> int:
        return len(self.data) - self._at

    def _take(self, size: int) -> bytes:
        if size > self._left:
            raise _ShortError
        self._at += size
        return self.data[self._at - size : self._at]

    def _cell(self, column: Column) -> Cell:
        raw = self._take(self._size(column))
        cell = Cell(int.from_bytes(raw, "little"), len(raw), raw, self.values, self.texts)
        self.values[column.name] = cell.value
        return cell

    def _size(self, column: Column) -> int:
        match column.size:
            case None:
                return self._left
            case int(size):
                return size
            case str(name):
                return self.values.get(name, 0)
        return column.size(self.values)

    def _repeat(self, part: Repeat) -> Iterator[Line]:
        count = self.values.get(part.count, 0) if part.count is not None else None
        place = 0
        while place < count if count is not None else self._left > part.leave:
            self._place, before = place, self._at
            yield from self._parts(part.parts)
            if self._at == before:
                # A size of 0 that a broken descriptor gives: there is nothing that could come again.
                return
            place += 1
