"""What numbers are called: vendors, products and classes by the list that they are kept in, strings by the device."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

_ENTRY = re.compile(r"(?P<tabs>\t{0,2})(?P<letters>[A-Z]{1,3} )?(?P<number>[0-9a-f]{2,4})  ?(?P<name>.*)")


@dataclass(frozen=True, slots=True)
class Names:
    """Names that are registered for numbers.

    Attributes:
        vendors: By idVendor.
        products: By idVendor and idProduct.
        classes: By class; by class and subclass; by all three with the protocol.
    """

    vendors: Mapping[int, str] = field(default_factory=dict)
    products: Mapping[tuple[int, int], str] = field(default_factory=dict)
    classes: Mapping[tuple[int, ...], str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads the file ``usb.ids`` (http://www.linux-usb.org/usb.ids), as far as it is about these numbers."""
        vendors: dict[tuple[int, ...], str] = {}
        classes: dict[tuple[int, ...], str] = {}
        table = vendors
        path: tuple[int, ...] = ()
        for line in text.splitlines():
            found = _ENTRY.fullmatch(line)
            if found is None:
                continue
            depth = len(found["tabs"])
            if depth == 0:
                # Sections of other letters name languages, terminals and the like.
                table = {None: vendors, "C ": classes}.get(found["letters"], {})
            path = (*path[:depth], int(found["number"], 16))
            table[path] = found["name"]
        return cls(
            vendors={number: name for (number, *more), name in vendors.items() if not more},
            products={(path[0], path[1]): name for path, name in vendors.items() if len(path) == 2},
            classes=classes,
        )


#: The classes that there are (usb.org, "Defined Class Codes").
CLASSES = Names(
    classes={
        (0x00,): "Defined by each interface",
        (0x01,): "Audio",
        (0x02,): "Communications",
        (0x03,): "Human Interface Device",
        (0x05,): "Physical",
        (0x06,): "Image",
        (0x07,): "Printer",
        (0x08,): "Mass Storage",
        (0x09,): "Hub",
        (0x0A,): "CDC Data",
        (0x0B,): "Smart Card",
        (0x0D,): "Content Security",
        (0x0E,): "Video",
        (0x0F,): "Personal Healthcare",
        (0x10,): "Audio/Video",
        (0x11,): "Billboard",
        (0x12,): "Type-C Bridge",
        (0xDC,): "Diagnostic",
        (0xE0,): "Wireless Controller",
        (0xEF,): "Miscellaneous",
        (0xFE,): "Application Specific",
        (0xFF,): "Vendor Specific",
    }
)


@dataclass(frozen=True, slots=True)
class Texts:
    """All that can be asked for the text of a number.

    Attributes:
        names: The registered names.
        string: A string of the device by its number; None where it is not known.
    """

    names: Names = field(default_factory=Names)
    string: Callable[[int], str | None] = lambda index: None
