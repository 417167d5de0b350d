from __future__ import annotations

import pytest

from gadget.protocol.describe.layouts import Key, Layout, find, subtypes

WIDE, OF_SUBCLASS, OF_PROTOCOL, OF_SUBTYPE = (Layout(name, ()) for name in ("wide", "subclass", "protocol", "subtype"))
LAYOUTS = {
    Key(1, None, None, 0x24): WIDE,
    Key(1, 2, None, 0x24): OF_SUBCLASS,
    Key(1, 2, 3, 0x24): OF_PROTOCOL,
    **subtypes(Key(1, 2, None, 0x24), {7: OF_SUBTYPE}),
}


@pytest.mark.parametrize(
    ("key", "layout"),
    [
        (Key(1, 9, 9, 0x24, 9), WIDE),
        (Key(1, 2, 9, 0x24, 9), OF_SUBCLASS),
        (Key(1, 2, 9, 0x24, 7), OF_SUBTYPE),
        (Key(1, 2, 3, 0x24, 7), OF_PROTOCOL),
        (Key(1, 2, 3, 0x24, None), OF_PROTOCOL),
        (Key(1, 2, 3, 0x25, 7), None),
        (Key(2, 2, 3, 0x24, 7), None),
    ],
)
def test_the_table_that_says_most_is_taken(key: Key, layout: Layout | None) -> None:
    assert find(LAYOUTS, key) is layout
