"""How the table for a descriptor of a class is found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from gadget.protocol.describe.columns import Part


class Key(NamedTuple):
    """Where a table belongs: the class of the interface, then the descriptor. None stands for any number."""

    class_code: int
    subclass: int | None
    protocol: int | None
    descriptor_type: int
    subtype: int | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """How one descriptor is shown.

    Attributes:
        title: The line above; none if empty.
        parts: Its table, from bLength on.
        indent: How much deeper than others of its place it stands.
    """

    title: str
    parts: tuple[Part, ...]
    indent: int = 0


Layouts = Mapping[Key, Layout]


def find(layouts: Layouts, key: Key) -> Layout | None:
    """Finds the table that fits a descriptor best: the one that says most about where it belongs."""
    ways = product((key.subclass, None), (key.protocol, None), (key.subtype, None))
    for subclass, protocol, subtype in ways:
        layout = layouts.get(Key(key.class_code, subclass, protocol, key.descriptor_type, subtype))
        if layout is not None:
            return layout
    return None


def subtypes(where: Key, tables: Mapping[int, Layout]) -> dict[Key, Layout]:
    """Puts the tables of several subtypes in the same place."""
    return {where._replace(subtype=subtype): layout for subtype, layout in tables.items()}
