"""What a function declares about itself, once for all speeds, and the descriptors that follow from it for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from gadget.errors import DescriptorError
from gadget.protocol.constants import ClassCode, Direction, LanguageId, Speed, TransferType
from gadget.protocol.descriptors import (
    Descriptor,
    EndpointDescriptor,
    InterfaceAssociation,
    InterfaceDescriptor,
    SuperSpeedEndpointCompanion,
)
from gadget.protocol.speed_rules import (
    allowed_packet_sizes,
    check_packet_size,
    default_packet_size,
    interval_code,
    largest_burst,
)

#: How often the host polls an interrupt or isochronous endpoint that does not say it: every millisecond.
DEFAULT_INTERVAL = 0.001

#: What a string descriptor says: the same in every language, or by language identifier.
Text = str | Mapping[int, str]


@dataclass(frozen=True, slots=True)
class EndpointDeclaration:
    """One endpoint, at every speed.

    Args:
        direction: Seen from the host.
        transfer_type: BULK, INTERRUPT or ISOCHRONOUS.
        packet_size: The bytes of a full packet: one number for all speeds, or one for each of some speeds (super
            also stands for super plus). Left out, as :func:`~gadget.protocol.speed_rules.default_packet_size` says.
        interval: How long the host may wait between two polls, in seconds; not for bulk. See
            :func:`~gadget.protocol.speed_rules.interval_code` for what becomes of it at each speed.
        max_burst: At super speed, the packets of a burst after the first: 0 to 15, and 0 to 2 for interrupt.
        attributes: How an isochronous endpoint is synchronised and used, or that an interrupt endpoint is for
            notifications: bits 5..2 of bmAttributes.

    Raises:
        DescriptorError: No speed allows this, or a speed does not allow what was given for it.
    """

    direction: Direction
    transfer_type: TransferType
    packet_size: int | Mapping[Speed, int] | None = None
    interval: float | None = None
    max_burst: int = 0
    attributes: int = 0

    def __post_init__(self) -> None:
        if self.transfer_type is TransferType.CONTROL:
            rule = "must be bulk, interrupt or isochronous: endpoint 0 is the control endpoint"
            raise DescriptorError("bmAttributes", self.transfer_type, rule, "USB 2.0, 9.6.6")
        limit = largest_burst(self.transfer_type)
        if not 0 <= self.max_burst <= limit:
            rule = f"must be from 0 to {limit} for {self.transfer_type.name.lower()}"
            raise DescriptorError("bMaxBurst", self.max_burst, rule, "USB 3.2, 9.6.7")
        if self.interval is not None:
            interval_code(self.transfer_type, Speed.HIGH, self.interval)
        self._check_packet_sizes()

    def _check_packet_sizes(self) -> None:
        given = self.packet_size
        if isinstance(given, Mapping):
            object.__setattr__(self, "packet_size", MappingProxyType(dict(given)))
            for speed, size in given.items():
                check_packet_size(self.transfer_type, speed, size, self._burst(speed))
        elif given is None:
            default_packet_size(self.transfer_type, Speed.FULL)
        elif not any(given in allowed_packet_sizes(self.transfer_type, speed) for speed in Speed):
            rule = f"must be a packet size that {self.transfer_type.name.lower()} has at some speed"
            raise DescriptorError("wMaxPacketSize", given, rule, "USB 2.0, 9.6.6")

    def _burst(self, speed: Speed) -> int:
        return self.max_burst if speed >= Speed.SUPER else 0

    def packet_size_at(self, speed: Speed) -> int:
        """The bytes of a full packet at one speed.

        Raises:
            DescriptorError: One number was given for all speeds, and this speed does not allow it.
        """
        given, burst = self.packet_size, self._burst(speed)
        if isinstance(given, Mapping):
            given = given.get(speed, given.get(Speed.SUPER) if speed > Speed.SUPER else None)
        if given is None:
            return default_packet_size(self.transfer_type, speed, burst)
        try:
            check_packet_size(self.transfer_type, speed, given, burst)
        except DescriptorError as error:
            rule = f"{error.rule}; give a size for each speed that needs one, or none for the default"
            raise DescriptorError(error.field, given, rule, error.source) from None
        return given

    def descriptors(self, speed: Speed, number: int) -> tuple[Descriptor, ...]:
        """The endpoint descriptor, and from super speed on its companion.

        Args:
            speed: The speed that they are for.
            number: The endpoint's number, 1 to 15.

        Raises:
            DescriptorError: The speed does not allow the packet size.
        """
        periodic = self.transfer_type is not TransferType.BULK
        size = self.packet_size_at(speed)
        interval = interval_code(self.transfer_type, speed, self.interval or DEFAULT_INTERVAL) if periodic else 0
        attributes = self.transfer_type | self.attributes
        endpoint = EndpointDescriptor(self.direction | number, attributes, size, interval)
        if speed < Speed.SUPER:
            return (endpoint,)
        reserved = size * (self.max_burst + 1) if periodic else 0
        return endpoint, SuperSpeedEndpointCompanion(self.max_burst, 0, reserved)


@dataclass(frozen=True, slots=True)
class InterfaceDeclaration:
    """One interface: its class, what its string says, its endpoints in the order of their numbers.

    ``descriptors`` are what its class wants right behind the interface descriptor (of HID, or of CCID).
    """

    class_code: int = ClassCode.VENDOR_SPECIFIC
    subclass: int = 0
    protocol: int = 0
    string: Text | None = None
    endpoints: tuple[EndpointDeclaration, ...] = ()
    descriptors: tuple[Descriptor, ...] = ()

    def __post_init__(self) -> None:
        if self.class_code == 0:
            rule = "must not be 0, which is reserved; a protocol of your own has 0xff"
            raise DescriptorError("bInterfaceClass", 0, rule, "USB 2.0, 9.6.5")


@dataclass(frozen=True, slots=True)
class Association:
    """Says that the interfaces of a function belong together, to hosts that would drive each by itself.

    Args:
        class_code: bFunctionClass; most often that of the first interface.
        subclass: bFunctionSubClass.
        protocol: bFunctionProtocol.
        string: What iFunction names.
    """

    class_code: int
    subclass: int = 0
    protocol: int = 0
    string: Text | None = None


def function_strings(
    interfaces: Sequence[InterfaceDeclaration], association: Association | None = None
) -> tuple[Text, ...]:
    """Lists the strings of a function in the order in which descriptors number them, from 1."""
    declared = [interface.string for interface in interfaces]
    if association is not None:
        declared.append(association.string)
    return tuple(string for string in declared if string is not None)


def translated(texts: Sequence[Text]) -> dict[int, tuple[str, ...]]:
    """Lists the strings of a function for each language that one of them has.

    A text that is given without a language is the same in all of them.

    Raises:
        DescriptorError: A text misses a language that another one has, since the kernel takes all or none.
    """
    languages = list(dict.fromkeys(language for text in texts if isinstance(text, Mapping) for language in text))
    for text in texts:
        if isinstance(text, Mapping) and (missing := [language for language in languages if language not in text]):
            rule = f"must also be given in language {missing[0]:#06x}, which another string of this function has"
            raise DescriptorError("string", dict(text), rule, "f_fs.c, __ffs_data_got_strings")
    return {
        language: tuple(text[language] if isinstance(text, Mapping) else text for text in texts)
        for language in languages or [LanguageId.ENGLISH_US]
    }


def function_descriptors(
    interfaces: Sequence[InterfaceDeclaration],
    speed: Speed,
    first_interface: int = 0,
    *,
    association: Association | None = None,
) -> list[Descriptor]:
    """Makes the descriptors of one function at one speed, as FunctionFS takes them.

    Interfaces are numbered from ``first_interface`` on. The kernel gives them other numbers where it must, but never
    to the association, so it has to be the number that the first of them will have in the configuration.
    Endpoints are numbered from 1 on, through all interfaces, each number once while there are enough; the kernel
    replaces them by what the controller has. Strings are numbered as :func:`function_strings` lists them.

    Raises:
        DescriptorError: The speed does not allow a packet size, or there are too many endpoints.
    """
    found: list[Descriptor] = []
    if association is not None:
        found.append(_association(association, first_interface, interfaces))
    strings, numbers = 0, _EndpointNumbers()
    for number, interface in enumerate(interfaces, start=first_interface):
        strings += interface.string is not None
        found.append(_interface(interface, number, strings if interface.string is not None else 0))
        found += interface.descriptors
        for endpoint in interface.endpoints:
            found += endpoint.descriptors(speed, numbers.take(endpoint.direction))
    return found


def _interface(interface: InterfaceDeclaration, number: int, string: int) -> InterfaceDescriptor:
    count, kind = len(interface.endpoints), (interface.class_code, interface.subclass, interface.protocol)
    return InterfaceDescriptor(number, 0, count, *kind, string)


def _association(
    association: Association, first: int, interfaces: Sequence[InterfaceDeclaration]
) -> InterfaceAssociation:
    # Its string is the last one of the function, so that it changes no other's number.
    string = len(function_strings(interfaces, association)) if association.string is not None else 0
    kind = (association.class_code, association.subclass, association.protocol)
    return InterfaceAssociation(first, len(interfaces), *kind, string)


class _EndpointNumbers:
    """Hands out 1, 2, 3, ... and past 15 what is left in that direction: an address has four bits for it."""

    def __init__(self) -> None:
        self._given: set[int] = set()
        self._next = 1

    def take(self, direction: Direction) -> int:
        number = self._next if self._next <= 15 else self._left(direction)
        self._given.add(direction | number)
        self._next += 1
        return number

    def _left(self, direction: Direction) -> int:
        for number in range(1, 16):
            if direction | number not in self._given:
                return number
        rule = f"must be at most 15 with direction {direction.name}"
        raise DescriptorError("bNumEndpoints", self._next, rule, "USB 2.0, 9.6.6")
