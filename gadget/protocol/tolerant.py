"""Descriptors as real devices have them: what breaks a rule is kept with the reason, and no byte is lost.

:func:`~gadget.protocol.descriptors.parse_descriptors` is strict, since what this package writes itself has to be right.
What comes from elsewhere (the file ``descriptors`` that sysfs has for every device, a capture, a dump) often is
not, and there is still something to be learned from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gadget.errors import DescriptorError
from gadget.protocol.capabilities import BosDescriptor, parse_capability
from gadget.protocol.constants import ClassCode, DescriptorType
from gadget.protocol.descriptors import Descriptor, InterfaceDescriptor, parse_descriptors


@dataclass(frozen=True, slots=True)
class Malformed:
    """A descriptor that breaks a rule.

    Attributes:
        data: All of its bytes, bLength and bDescriptorType included.
        reason: The rule.
    """

    data: bytes
    reason: str

    def to_bytes(self) -> bytes:
        """The bytes as they were found."""
        return self.data


@dataclass(frozen=True, slots=True)
class Truncated:
    """What is left where no descriptor can begin or end: bLength is below 2, or leads past the last byte."""

    data: bytes

    def to_bytes(self) -> bytes:
        """The bytes as they were found."""
        return self.data

    @property
    def reason(self) -> str:
        """Why this is no descriptor."""
        length, left = self.data[0], len(self.data)
        return f"bLength = {length}: must be at least 2 and within the {left} bytes that are left (USB 2.0, 9.5)"


Found = Descriptor | Malformed | Truncated


@dataclass(frozen=True, slots=True)
class Node:
    """A descriptor and what belongs to it: endpoints to an interface, interfaces to a configuration."""

    found: Found
    children: tuple[Node, ...] = ()

    def walk(self) -> Iterator[Found]:
        """Yields this one and all below it, in the order of the bytes."""
        yield self.found
        for child in self.children:
            yield from child.walk()


def type_of(found: Found) -> int | None:
    """The bDescriptorType of whatever was found; None where no byte says it."""
    if isinstance(found, Descriptor):
        return found.type_code
    return found.data[1] if len(found.data) > 1 else None


def parse_tolerant(data: bytes) -> list[Found]:
    """Takes descriptors apart that follow one another; never raises.

    Args:
        data: A whole device as sysfs has it, one configuration, a BOS, or any other bytes.

    Returns:
        What was found, in order; joined, their bytes are ``data``. A :class:`Truncated` can only be the last.
    """
    found: list[Found] = []
    rest, interface_class = bytes(data), int(ClassCode.PER_INTERFACE)
    while rest:
        length = rest[0]
        if not 2 <= length <= len(rest):
            return [*found, Truncated(rest)]
        one, rest = rest[:length], rest[length:]
        # An interface that breaks a rule still says of which class the descriptors after it are.
        if one[1] == DescriptorType.INTERFACE and length > 5:
            interface_class = one[5]
        found.append(_parse_one(one, interface_class))
    return found


def _parse_one(data: bytes, interface_class: int) -> Descriptor | Malformed:
    try:
        if data[1] == DescriptorType.BOS:
            return BosDescriptor._from_payload(data[2:])
        if data[1] == DescriptorType.DEVICE_CAPABILITY:
            return parse_capability(data)
        # The types of classes (0x21, ...) mean something only within an interface of their class.
        *_, parsed = parse_descriptors(InterfaceDescriptor(0, 0, 0, interface_class).to_bytes() + data)
    except DescriptorError as error:
        return Malformed(data, str(error))
    return parsed


#: How deep the descriptors stand that others belong to. All others belong to the one before them.
_LEVELS: Mapping[int, int] = {
    DescriptorType.DEVICE: 0,
    DescriptorType.DEVICE_QUALIFIER: 0,
    DescriptorType.BOS: 0,
    DescriptorType.DEVICE_CAPABILITY: 1,
    DescriptorType.CONFIGURATION: 1,
    DescriptorType.OTHER_SPEED_CONFIGURATION: 1,
    DescriptorType.INTERFACE_ASSOCIATION: 2,
    DescriptorType.INTERFACE: 2,
    DescriptorType.ENDPOINT: 3,
}
_DEEPEST = 4


def tree(found: Iterable[Found]) -> tuple[Node, ...]:
    """Puts a list of descriptors into the order of what belongs to what, by their types alone."""
    return _nodes([(_LEVELS.get(type_of(one) or 0, _DEEPEST), one) for one in found])


def _nodes(levelled: Sequence[tuple[int, Found]]) -> tuple[Node, ...]:
    nodes, at = [], 0
    while at < len(levelled):
        level, found = levelled[at]
        end = at + 1
        while end < len(levelled) and levelled[end][0] > level:
            end += 1
        nodes.append(Node(found, _nodes(levelled[at + 1 : end])))
        at = end
    return tuple(nodes)
