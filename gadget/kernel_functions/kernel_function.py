"""What all functions of the kernel have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, Self

from gadget.configfs.checks import check_function
from gadget.configfs.model import FunctionModel
from gadget.configfs.steps import Step, WriteAttribute
from gadget.errors import ClosedError, DescriptorError
from gadget.kernel_functions.attributes import Attribute
from gadget.protocol.constants import Direction, Speed, TransferType
from gadget.protocol.microsoft_os import MicrosoftOs


@dataclass(frozen=True, slots=True)
class EndpointNeed:
    """An endpoint that a function asks the controller for.

    Attributes:
        transfer_type: Bulk, interrupt or isochronous.
        direction: As the host sees it.
    """

    transfer_type: TransferType
    direction: Direction


BULK_PAIR = (EndpointNeed(TransferType.BULK, Direction.IN), EndpointNeed(TransferType.BULK, Direction.OUT))
INTERRUPT_IN = EndpointNeed(TransferType.INTERRUPT, Direction.IN)
INTERRUPT_OUT = EndpointNeed(TransferType.INTERRUPT, Direction.OUT)
ISOCHRONOUS_IN = EndpointNeed(TransferType.ISOCHRONOUS, Direction.IN)
ISOCHRONOUS_OUT = EndpointNeed(TransferType.ISOCHRONOUS, Direction.OUT)


@dataclass(frozen=True, slots=True)
class SoundCard:
    """A card of ALSA's that a function has made on this side of the cable.

    Attributes:
        number: Its number, as in ``hw:1``.
        name: Its identifier, as in ``hw:Gadget``.
        devices: Its device nodes, ``/dev/snd/controlC1`` and those of its streams or ports.
    """

    number: int
    name: str
    devices: tuple[Path, ...]


class Reader(Protocol):
    """The folder of a function, or something that stands in for one. Paths begin in it."""

    def read(self, attribute: str) -> bytes | None:
        """Reads an attribute; None if there is none of that name, or if the kernel does not say now."""

    def folders(self, folder: str) -> list[str]:
        """The names of the folders in a folder; none if it is not there."""


class Place(Reader, Protocol):
    """Where a function is while its gadget is up: its folder in configfs, and what the kernel has made of it."""

    def write(self, attribute: str, value: bytes) -> None:
        """Writes an attribute."""

    def terminal(self) -> Path:
        """The terminal whose number stands in ``port_num``."""

    def character_device(self) -> Path:
        """The device whose number stands in ``dev``."""

    def network_interface(self) -> str:
        """The network interface whose name stands in ``ifname``."""

    def sound_card(self) -> SoundCard:
        """The card of ALSA's that the function has made."""

    def video_device(self) -> Path:
        """The device of V4L2's that the function has made."""

    def printer_device(self) -> Path:
        """The device of the printer function."""


@dataclass(frozen=True, kw_only=True)
class KernelFunction:
    """A function that the kernel has; its subclasses are the kinds that there are.

    What is None is left as the kernel has it. An object belongs to one gadget at a time, and knows what the kernel has
    made of it while that is up.

    Attributes:
        instance: The name behind the dot in configfs (``acm.NAME``); a number by default.
        attributes: Attributes that this package does not know, written behind those that it knows: by name, or by
            path below the function's folder.

    Raises:
        ConfigurationError: The name is malformed.
        DescriptorError: A value breaks a rule of the kernel or of USB.
    """

    FAMILY: ClassVar[str] = ""
    INTERFACES: ClassVar[int | None] = None
    ENDPOINTS: ClassVar[tuple[EndpointNeed, ...] | None] = None
    HAS_ASSOCIATION: ClassVar[bool] = False
    #: The fastest speed that the kernel has descriptors for.
    MAX_SPEED: ClassVar[Speed] = Speed.SUPER_PLUS
    #: Why it cannot be in two configurations, where the kernel has not thought of that.
    NOT_SHARED: ClassVar[str] = ""

    instance: str | None = None
    attributes: Mapping[str, str | bytes | int] = field(default_factory=dict)

    _place: ClassVar[Place | None] = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "attributes", MappingProxyType(dict(self.attributes)))
        check_function(f"{self.family}.{self.instance or 0}")
        for path in self.attributes:
            _check_path(path)
        required = {each.name for each in fields(self) if each.metadata and each.default is MISSING}
        for name, known in self.known_attributes().items():
            if (value := getattr(self, name)) is not None:
                known.check(value)
            elif name in required:
                raise DescriptorError(known.name, value, "must be given: the kernel has none", known.source)
        self._check()

    def _check(self) -> None:
        """The rules that concern several values."""

    @classmethod
    @cache
    def known_attributes(cls) -> Mapping[str, Attribute]:
        """The fields that are attributes in configfs, in the order in which they are written."""
        return MappingProxyType(
            {each.name: _attribute_of(each.name, *each.metadata["attribute"]) for each in fields(cls) if each.metadata}
        )

    @classmethod
    def attribute_at(cls, path: str) -> Attribute | None:
        """The attribute of a path below the function's folder, None if the class knows none there."""
        return next((each for each in cls.known_attributes().values() if each.name == path), None)

    @property
    def family(self) -> str:
        """What configfs calls this kind of function."""
        return self.FAMILY

    @property
    def interfaces(self) -> int | None:
        """How many interfaces it has; None if that is not known."""
        return self.INTERFACES

    @property
    def endpoints(self) -> tuple[EndpointNeed, ...] | None:
        """The endpoints that it cannot do without, beside endpoint 0; None if that is not known.

        They stand in the order in which the kernel asks the controller for them, on which their addresses depend.
        """
        return self.ENDPOINTS

    @property
    def microsoft_os_descriptors(self) -> MicrosoftOs | None:
        """What it tells Windows, if it can and does."""
        return None

    def steps(self) -> tuple[Step, ...]:
        """What is done in its folder before it is bound, in this order."""
        return (*self._own_steps(), *self._extra_steps())

    def _own_steps(self) -> Iterator[Step]:
        yield from written(self, self.known_attributes(), PurePosixPath())

    def _extra_steps(self) -> Iterator[Step]:
        for path, value in self.attributes.items():
            yield WriteAttribute(PurePosixPath(path), value if isinstance(value, bytes) else str(value).encode())

    def model(self, name: str) -> FunctionModel:
        """The function as a part of a gadget's model.

        Args:
            name: The name behind the dot, if it has none of its own.
        """
        return FunctionModel(f"{self.family}.{self.instance or name}", self.steps())

    @classmethod
    def read(cls, reader: Reader, instance: str | None = None) -> Self:
        """Makes an object of what stands in configfs.

        Args:
            reader: The function's folder.
            instance: The name behind the dot.
        """
        return cls(instance=instance, **cls._read_fields(reader))

    @classmethod
    def _read_fields(cls, reader: Reader) -> dict[str, Any]:
        return read_values(cls.known_attributes(), reader)

    # ---- while it is up ----------------------------------------------------------------------------------------------

    def placed(self, place: Place | None) -> None:
        """Is told where it is, by the gadget that it belongs to; None says that it is not there any more."""
        object.__setattr__(self, "_place", place)

    async def attend(self) -> None:
        """Runs beside the gadget while it is up, and is cancelled then; does nothing unless a subclass does.

        What it raises takes the gadget down.
        """

    @property
    def is_placed(self) -> bool:
        """Whether a gadget that has it is up."""
        return self._place is not None

    def _up(self) -> Place:
        if self._place is None:
            raise ClosedError(f"{type(self).__name__} is in no gadget that is up")
        return self._place

    def read_back(self) -> Self:
        """What the kernel has now, with everything that was left to it.

        Raises:
            ClosedError: It is not up.
        """
        return type(self).read(self._up(), self.instance)

    @property
    def devices(self) -> tuple[str, ...]:
        """What the kernel has made of it on this side: device nodes, or the name of a network interface.

        Raises:
            ClosedError: It is not up.
            KernelError: The kernel has made none, since it is not bound.
        """
        self._up()
        return ()


def _attribute_of(field_name: str, name: str | None, kind: Any, source: str) -> Attribute:
    return Attribute(name or field_name, kind, f"drivers/usb/gadget/function/{source}")


def _check_path(path: str) -> None:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts:
        rule = "must be the path of an attribute below the function's folder"
        raise DescriptorError("attributes", path, rule, "Documentation/ABI/testing/configfs-usb-gadget")


def written(values: object, known: Mapping[str, Attribute], folder: PurePosixPath) -> Iterator[WriteAttribute]:
    """The steps that write the fields of an object, as far as they are given."""
    for name, attribute in known.items():
        if (value := getattr(values, name)) is not None:
            yield WriteAttribute(folder / attribute.name, attribute.kind.encode(value))


def read_values(known: Mapping[str, Attribute], reader: Reader, folder: str = "") -> dict[str, Any]:
    """The fields that attributes stand for; one that the kernel does not have is None.

    Raises:
        DescriptorError: There is something that is no value of its kind.
    """
    found = {name: reader.read(f"{folder}{attribute.name}") for name, attribute in known.items()}
    return {name: None if data is None else known[name].decode(data) for name, data in found.items()}
