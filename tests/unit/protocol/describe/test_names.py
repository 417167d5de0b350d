from __future__ import annotations

from hypothesis import given, strategies as st

from gadget.protocol.constants import ClassCode
from gadget.protocol.describe.names import CLASSES, Names

USB_IDS = """\
#
# List of USB ID's
#

1d6b  Linux Foundation
\t0104  Multifunction Composite Gadget
\t\t01  an interface
ffee  Nobody

C 02  Communications
\t02  Abstract (modem)
\t\t01  AT-commands (v.25ter)
C ff  Vendor Specific Class
AT 0100  USB Undefined
HID 21  HID
L 0409  English
\t01  US
"""


def test_the_list_of_names() -> None:
    names = Names.parse(USB_IDS)
    assert names.vendors == {0x1D6B: "Linux Foundation", 0xFFEE: "Nobody"}
    assert names.products == {(0x1D6B, 0x0104): "Multifunction Composite Gadget"}
    assert names.classes == {
        (2,): "Communications",
        (2, 2): "Abstract (modem)",
        (2, 2, 1): "AT-commands (v.25ter)",
        (0xFF,): "Vendor Specific Class",
    }


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    Names.parse(text)


def test_every_class_has_a_name_without_a_list() -> None:
    assert {(int(code),) for code in ClassCode} <= set(CLASSES.classes)
