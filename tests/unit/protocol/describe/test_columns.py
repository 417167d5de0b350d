from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, strategies as st

from gadget.protocol.describe.cells import (
    bits,
    byte_list,
    guid,
    hexadecimal,
)
from gadget.protocol.describe.columns import (
    Choose,
    Column,
    IfLeft,
    Part,
    Reader,
    Repeat,
    Rest,
    Skip,
    Text,
)
from gadget.protocol.describe.names import Texts


def shown(data: str, *table: Part, texts: Texts | None = None, **values: int) -> list[str]:
    reader = Reader(bytes.fromhex(data), dict(values), texts or Texts())
    return [f"{' ' * line.indent}{line.text}" for line in reader.lines(table)]


def test_hidden_numbers_are_read_all_the_same() -> None:
    hidden = Column("bA", hidden=lambda value: value == 1)
    assert shown("0102", hidden, Column("bB", width=4)) == ["bB 2"]
    assert shown("0202", hidden, Column("bB", width=4))[0].startswith("bA")


def test_repeat() -> None:
    count, each = Column("bCount", width=8), Column("a({:2})", width=8)
    assert shown("020708", count, Repeat((each,), "bCount")) == ["bCount 2", "a( 0)  7", "a( 1)  8"]
    assert shown("070809", Repeat((each,), leave=1), Column("bEnd", width=8)) == ["a( 0)  7", "a( 1)  8", "bEnd   9"]
    assert shown("020708", count, Repeat((each, each), "unknown"))[1:] == ["junk at descriptor end: 07 08"]


def test_a_repetition_that_takes_nothing_ends() -> None:
    sized = Column("a({})", "bSize", width=6)
    assert shown("0009", Column("bSize", width=7), Repeat((sized,), leave=0))[-1] == "junk at descriptor end: 09"


@pytest.mark.parametrize(
    ("size", "value"), [("bSize", 0x0201), (lambda values: values["bSize"] + 1, 0x030201), (None, 0x04030201)]
)
def test_sizes(size: object, value: int) -> None:
    table = (Column("bSize", width=7), Column("a", size, hexadecimal, width=12), Rest("rest: "))  # type: ignore[arg-type]
    assert int(shown("0201020304", *table)[1].split()[-1], 16) == value


def test_choices_of_parts() -> None:
    table = (Column("bA", width=4), Choose("bA", {1: (Column("bB", width=4),)}, (Column("bC", width=4),)))
    assert shown("0105", *table)[1] == "bB 5"
    assert shown("0205", *table)[1] == "bC 5"
    assert shown("05", Choose("known", {3: (Column("bD", width=4),)}), known=3) == ["bD 5"]


def test_other_parts() -> None:
    optional = IfLeft((Column("bA", width=4),))
    assert shown("", optional) == []
    assert shown("01", optional) == ["bA 1"]
    assert shown("0102", Skip(1), optional) == ["bA 2"]
    assert shown("0102", Rest("rest:", 6)) == ["rest: 01 02"]
    assert shown("", Rest("rest:", 6), Text(("one", "two"), 2)) == ["  one", "  two"]


def test_bytes_that_lack_or_are_too_many() -> None:
    assert shown("01", Column("wA", 2), Column("bB")) == ["Warning: Descriptor too short", "junk at descriptor end: 01"]
    assert shown("0102", Column("bA", width=4)) == ["bA 1", "junk at descriptor end: 02"]


part: st.SearchStrategy[Part] = st.deferred(
    lambda: st.one_of(st.sampled_from(SIMPLE), st.lists(part, min_size=1, max_size=3).map(several))
)
SIMPLE: list[Part] = [
    Column("bA"),
    Column("wB({})", 2, hexadecimal, below=bits("a", "b")),
    Column("c", "bA"),
    Column("d", None, byte_list),
    Column("e", 16, guid),
    Skip(2),
    Rest("rest: "),
]


def several(parts: Iterable[Part]) -> Part:
    inner = tuple(parts)
    return Choose("bA", {0: inner, 1: (Repeat(inner, "bA"),), 2: (IfLeft(inner),)}, (Repeat(inner, leave=1),))


@given(st.lists(part, max_size=5), st.binary(max_size=60))
def test_any_table_shows_any_bytes(table: list[Part], data: bytes) -> None:
    for line in Reader(data).lines(table):
        assert line.indent >= 0
        assert line.text.isprintable()
