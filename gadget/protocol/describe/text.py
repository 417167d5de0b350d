"""Raw descriptors as text, in the form in which ``lsusb -v`` shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from gadget.protocol.constants import DescriptorType
from gadget.protocol.describe import audio, audio2, communications, device_classes, midi, video, video_streaming
from gadget.protocol.describe.bos import BOS_TABLE, CAPABILITY_TABLES
from gadget.protocol.describe.columns import Line, Part, Reader
from gadget.protocol.describe.hub import HUB_TABLES
from gadget.protocol.describe.layouts import Key, Layout, Layouts, find
from gadget.protocol.describe.names import CLASSES, Names, Texts
from gadget.protocol.describe.standard import POWER_UNIT, TABLES, TRANSFER_TYPE
from gadget.protocol.tolerant import Malformed, Node, Truncated, parse_tolerant, tree

#: The tables of all classes.
LAYOUTS: Layouts = {
    **communications.LAYOUTS,
    **device_classes.LAYOUTS,
    **audio.LAYOUTS,
    **audio2.LAYOUTS,
    **midi.LAYOUTS,
    **video.LAYOUTS,
    **video_streaming.LAYOUTS,
}

#: The tables of what means the same everywhere.
_TABLES: Mapping[int, tuple[str, tuple[Part, ...]]] = {**TABLES, **HUB_TABLES, **BOS_TABLE}

#: How deep the descriptors stand that others belong to, in blanks; the others, two more than what they belong to.
_INDENTS: Mapping[int, int] = {
    DescriptorType.DEVICE: 0,
    DescriptorType.DEVICE_QUALIFIER: 0,
    DescriptorType.BOS: 0,
    DescriptorType.DEVICE_CAPABILITY: 2,
    DescriptorType.CONFIGURATION: 2,
    DescriptorType.OTHER_SPEED_CONFIGURATION: 2,
    DescriptorType.INTERFACE_ASSOCIATION: 4,
    DescriptorType.INTERFACE: 4,
    DescriptorType.ENDPOINT: 6,
}

#: What is said of a descriptor of a class that has no table, where it follows an endpoint.
_AT_ENDPOINT: Mapping[int, str] = {
    DescriptorType.CLASS_SPECIFIC: "DEVICE CLASS:  ",
    DescriptorType.CLASS_SPECIFIC_INTERFACE: "INTERFACE CLASS:  ",
}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a descriptor stands: what those above it have said.

    Attributes:
        texts: What numbers are called.
        indent: How deep it stands, unless its type says it.
        power_unit: The milliamperes that bMaxPower counts.
        interface: Class, subclass and protocol of the interface; None outside of one.
        transfer_type: That of the endpoint; None outside of one.
    """

    texts: Texts
    indent: int = 0
    power_unit: int = 2
    interface: tuple[int, int, int] | None = None
    transfer_type: int | None = None

    @property
    def values(self) -> dict[str, int]:
        """What the tables may ask for."""
        transfer = {} if self.transfer_type is None else {TRANSFER_TYPE: self.transfer_type}
        return {POWER_UNIT: self.power_unit, **transfer}

    def within(self, data: bytes, indent: int) -> _Place:
        """The place of what belongs to a descriptor."""
        place, kind = replace(self, indent=indent + 2), data[1] if len(data) > 1 else None
        if kind == DescriptorType.DEVICE and len(data) > 3:
            # bcdUSB is 3.x only while the device runs at SuperSpeed or above (USB 3.2, 9.2.6.6 and 9.6.1).
            return replace(place, power_unit=8 if data[3] >= 3 else 2)
        if kind == DescriptorType.INTERFACE and len(data) > 7:
            return replace(place, interface=(data[5], data[6], data[7]))
        if kind == DescriptorType.ENDPOINT and len(data) > 3:
            return replace(place, transfer_type=data[3] & 3)
        return place


def describe(
    data: bytes,
    *more: bytes,
    names: Names = CLASSES,
    string: Callable[[int], str | None] | Mapping[int, str] | None = None,
) -> str:
    """Shows descriptors as text, whatever is wrong with them; never raises.

    Args:
        data: A device as the file ``descriptors`` of sysfs has it, or one configuration.
        more: What the device answers when it is asked for something else: its BOS, a hub's descriptor, what it is at
            the other speed.
        names: What vendors, products and classes are called. :data:`~gadget.protocol.describe.names.CLASSES`
            knows the classes alone.
        string: The device's strings by their numbers.

    Returns:
        Lines, each with a line break.
    """
    find_string = string.get if isinstance(string, Mapping) else string
    texts = Texts(names, find_string or (lambda index: None))
    lines: list[Line] = []
    for part in (data, *more):
        place = _Place(texts)
        for node in tree(parse_tolerant(part)):
            lines += _node(node, place)
            # Configurations without their device still count power as that device did.
            place = replace(place, power_unit=place.within(node.found.to_bytes(), 0).power_unit)
    return "".join(f"{' ' * line.indent}{line.text}\n" for line in lines)


def _node(node: Node, place: _Place) -> Iterator[Line]:
    data = node.found.to_bytes()
    indent = _INDENTS.get(data[1] if len(data) > 1 else -1, place.indent)
    if isinstance(node.found, Truncated):
        yield Line(indent, f"** TRUNCATED:  {data.hex(' ')}")
        return
    yield from (line.indented(indent) for line in _lines(data, place))
    if isinstance(node.found, Malformed):
        yield Line(indent + 2, f"Warning: {node.found.reason}")
    for child in node.children:
        yield from _node(child, place.within(data, indent))


def _lines(data: bytes, place: _Place) -> Iterator[Line]:
    layout = _layout(data, place)
    if layout is None:
        words = _AT_ENDPOINT.get(data[1]) if place.transfer_type is not None else None
        yield Line(0, f"{words or '** UNRECOGNIZED:  '}{data.hex(' ')}")
        return
    indent = layout.indent
    if layout.title:
        yield Line(indent, layout.title)
        indent += 2
    for line in Reader(data, place.values, place.texts).lines(layout.parts):
        yield line.indented(indent)


def _layout(data: bytes, place: _Place) -> Layout | None:
    """Finds the table for a descriptor."""
    kind, subtype = data[1], data[2] if len(data) > 2 else None
    if place.interface is not None and kind & 0x60 == 0x20:
        found = find(LAYOUTS, Key(*place.interface, kind, subtype))
        if found is not None:
            return found
    table = CAPABILITY_TABLES.get(subtype or 0) if kind == DescriptorType.DEVICE_CAPABILITY else _TABLES.get(kind)
    return None if table is None else Layout(*table)
