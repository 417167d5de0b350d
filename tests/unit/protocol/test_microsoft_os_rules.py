from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from gadget.errors import DescriptorError
from gadget.protocol.constants import PropertyType
from gadget.protocol.descriptors import Descriptor, InterfaceAssociation, InterfaceDescriptor
from gadget.protocol.microsoft_os import MicrosoftOs, Property
from gadget.protocol.microsoft_os_rules import check_microsoft_os

ONE = [InterfaceDescriptor(3, 0, 0, 0xFF)]
TWO = [*ONE, InterfaceDescriptor(4, 0, 0, 0xFF)]
PAIR = [InterfaceAssociation(3, 2, 0xEF, 2, 1), *TWO]
#: 14 and "Label" with its NUL leave this many bytes of the 255 of a property.
ROOM = 255 - 14 - 6


def saying(**properties: Property) -> list[MicrosoftOs]:
    return [MicrosoftOs("WINUSB", properties=properties)]


def many(count: int) -> Mapping[str, Property]:
    """Properties that the host reads with 100 bytes each."""
    return {f"p{number:02}": Property.binary(bytes(100 - 14 - 2 * 4)) for number in range(count)}


@pytest.mark.parametrize(
    ("said", "descriptors"),
    [
        ([], ONE),
        ([MicrosoftOs("WINUSB"), MicrosoftOs("RNDIS", "5162001", interface=1)], TWO),
        ([MicrosoftOs("WINUSB")], PAIR),
        ([MicrosoftOs("WINUSB"), MicrosoftOs(properties=many(1), interface=1)], PAIR),
        (saying(Label=Property.text("x" * (ROOM - 1))), ONE),
        (saying(Label=Property.binary(b"\xff" * ROOM)), ONE),
        (saying(Icons=Property.text("%SystemRoot%\\x.dll,-233", PropertyType.EXPANDABLE_TEXT)), ONE),
        (saying(Link=Property.text("a", PropertyType.LINK)), ONE),
        (saying(**many(40), last=Property.binary(bytes(4095 - 10 - 4000 - 14 - 10))), ONE),
    ],
)
def test_what_reaches_the_host_is_taken(said: Sequence[MicrosoftOs], descriptors: Sequence[Descriptor]) -> None:
    check_microsoft_os(said, descriptors)


@pytest.mark.parametrize(
    ("said", "descriptors", "field", "rule"),
    [
        ([MicrosoftOs("WINUSB", interface=1)], ONE, "interface", "from 0 to 0"),
        ([MicrosoftOs("WINUSB", interface=-1)], ONE, "interface", "from 0 to 0"),
        ([MicrosoftOs("WINUSB"), MicrosoftOs("RNDIS")], ONE, "interface", "different in each"),
        ([MicrosoftOs("WINUSB", interface=1)], PAIR, "CompatibleID", "must be said by interface 3"),
        (saying(a=Property.number(1)), ONE, "dwPropertyDataType", "and then stalls"),
        (saying(a=Property.number(1, big_endian=True)), ONE, "dwPropertyDataType", "and then stalls"),
        (saying(a=Property.texts(["b"])), ONE, "dwPropertyDataType", "DeviceInterfaceGUID, with one text"),
        (saying(Größe=Property.text("b")), ONE, "bPropertyName", "must be ASCII"),
        (saying(a=Property.text("Größe")), ONE, "bPropertyData", "must be ASCII"),
        (saying(Label=Property.text("x" * ROOM)), ONE, "dwSize", "at most 255"),
        (saying(Label=Property.binary(b"\xff" * (ROOM + 1))), ONE, "dwSize", "at most 255"),
        (saying(**many(40), last=Property.binary(bytes(4096 - 10 - 4000 - 14 - 10))), ONE, "dwLength", "at most 4095"),
    ],
)
def test_what_would_reach_the_host_damaged_or_not_at_all_is_refused(
    said: Sequence[MicrosoftOs], descriptors: Sequence[Descriptor], field: str, rule: str
) -> None:
    with pytest.raises(DescriptorError) as caught:
        check_microsoft_os(said, descriptors)
    assert caught.value.field == field
    assert rule in caught.value.rule
    assert ".c, " in caught.value.source or ".h, " in caught.value.source
