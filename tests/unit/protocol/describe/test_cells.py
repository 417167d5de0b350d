from __future__ import annotations

import pytest

from gadget.protocol.describe.cells import (
    bits,
    byte_list,
    choices,
    controls,
    either,
    guid,
    hexadecimal,
    in_brackets,
    marks,
    one_of,
    string,
    unit,
    version,
)
from gadget.protocol.describe.columns import (
    Column,
    Part,
    Reader,
)
from gadget.protocol.describe.names import Texts


def shown(data: str, *table: Part, texts: Texts | None = None, **values: int) -> list[str]:
    reader = Reader(bytes.fromhex(data), dict(values), texts or Texts())
    return [f"{' ' * line.indent}{line.text}" for line in reader.lines(table)]


@pytest.mark.parametrize(
    ("column", "data", "line"),
    [
        (Column("bA"), "ff", "bA                    255"),
        (Column("wA", 2), "0201", "wA                    258"),
        (Column("bA", 1, hexadecimal), "0f", "bA                   0x0f"),
        (Column("tA", 3, hexadecimal), "010203", "tA               0x030201"),
        (Column("bcdA", 2, version), "1002", "bcdA                 2.10"),
        (Column("A", 2, byte_list), "1002", "A                   10 02"),
        (
            Column("A", 16, guid, width=44),
            "000102030405060708090a0b0c0d0e0f",
            "A     {03020100-0504-0706-0809-0a0b0c0d0e0f}",
        ),
        (Column("bA", width=6), "07", "bA   7"),
        (Column("bTooLong", width=6), "ff", "bTooLong 255"),
        (Column("", 1, hexadecimal), "ff", "0xff"),
        (Column("bA", after=unit("ms"), width=5), "07", "bA  7 ms"),
        (Column("bA", after=one_of({7: "seven"}), width=5), "07", "bA  7 seven"),
        (Column("bA", after=one_of({7: "seven"}), width=5), "08", "bA  8"),
        (Column("bA", after=in_brackets({7: "seven"}), width=5), "08", "bA  8 (unknown)"),
        (Column("bA", after=marks("one", "two", "four"), width=5), "05", "bA  5  one four"),
    ],
)
def test_one_column(column: Column, data: str, line: str) -> None:
    assert shown(data, column) == [line]


def test_strings() -> None:
    texts = Texts(string={1: "one"}.get)
    assert [shown(data, Column("iA", after=string, width=4), texts=texts) for data in ("00", "01", "02")] == [
        ["iA 0"],
        ["iA 1 one"],
        ["iA 2"],
    ]


@pytest.mark.parametrize(
    ("below", "data", "lines"),
    [
        (bits("a", None, "c"), "07", ["a", "c"]),
        (bits("a", "b", highest_first=True), "03", ["b", "a"]),
        (bits("a", "b", first=4), "23", ["b"]),
        (
            controls("a", "b", "c", None),
            "ed",
            ["a Control (read-only)", "b Control (read/write)", "c Control (ILLEGAL VALUE (0b10))"],
        ),
        (either(("no a", "a"), ("no b", "b")), "02", ["no a", "b"]),
        (choices((0x30, "F: ", {0: "x", 2: "y"})), "20", ["F: y"]),
        (choices((0x30, "F: ", {0: "x", 2: "y"})), "10", ["F: (reserved)"]),
    ],
)
def test_lines_below(below: object, data: str, lines: list[str]) -> None:
    assert callable(below)
    assert shown(data, Column("bA", below=below, width=6))[1:] == [f"  {line}" for line in lines]
