"""Network links: each is a network interface, ``usb0``, on this side, and one on the host's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, ClassVar

from gadget.configfs.steps import MakeDirectory, Step, WriteAttribute
from gadget.errors import DescriptorError
from gadget.kernel_functions.attributes import Line, MacAddress, Number, attribute
from gadget.kernel_functions.kernel_function import BULK_PAIR, INTERRUPT_IN, EndpointNeed, KernelFunction, Reader
from gadget.protocol.constants import PropertyType, Speed
from gadget.protocol.microsoft_os import TEXT_TYPES, MicrosoftOs, Property
from gadget.protocol.microsoft_os_rules import check_served_properties

_IFNAME = Line(15, pattern="[^ /:%]*%d[^ /:%]*", rule="must be a name with one %d in it, for a number: usb%d")


@dataclass(frozen=True, kw_only=True)
class _Link(KernelFunction):
    """A function with a network interface on this side."""

    @property
    def network_interface(self) -> str:
        """The name of its network interface on this side.

        Raises:
            ClosedError: It is not up.
            KernelError: There is none: it is made when the gadget is bound for the first time.
        """
        return self._up().network_interface()

    @property
    def devices(self) -> tuple[str, ...]:
        """Its network interface."""
        return (self.network_interface,)


@dataclass(frozen=True, kw_only=True)
class _Ethernet(_Link):
    """An Ethernet link.

    Attributes:
        dev_addr: The MAC address of this side; a random one by default.
        host_addr: The MAC address of the host's side; a random one by default. Windows makes a new network of each.
        qmult: How many times longer the queues are at high speed and above; the kernel has 5.
        ifname: What the network interface of this side is called, with ``%d`` for a number: ``usb%d``.
    """

    dev_addr: str | None = attribute(MacAddress(), "u_ether.c, gether_set_dev_addr")
    host_addr: str | None = attribute(MacAddress(), "u_ether.c, gether_set_host_addr")
    qmult: int | None = attribute(Number(1, 255), "u_ether_configfs.h")
    ifname: str | None = attribute(_IFNAME, "u_ether.c, gether_set_ifname")


@dataclass(frozen=True, kw_only=True)
class Ecm(_Ethernet):
    """CDC Ethernet, for Linux and macOS (``f_ecm.c``)."""

    FAMILY: ClassVar[str] = "ecm"
    ENDPOINTS: ClassVar[tuple[EndpointNeed, ...] | None] = (*BULK_PAIR, INTERRUPT_IN)
    INTERFACES: ClassVar[int | None] = 2
    HAS_ASSOCIATION: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class Geth(_Ethernet):
    """The subset of CDC Ethernet for controllers that can do no more (``f_subset.c``)."""

    FAMILY: ClassVar[str] = "geth"
    ENDPOINTS: ClassVar[tuple[EndpointNeed, ...] | None] = BULK_PAIR
    INTERFACES: ClassVar[int | None] = 1


@dataclass(frozen=True, kw_only=True)
class Eem(_Ethernet):
    """CDC EEM: Ethernet with bulk endpoints alone (``f_eem.c``)."""

    FAMILY: ClassVar[str] = "eem"
    ENDPOINTS: ClassVar[tuple[EndpointNeed, ...] | None] = BULK_PAIR
    INTERFACES: ClassVar[int | None] = 1


@dataclass(frozen=True, kw_only=True)
class _WindowsEthernet(_Ethernet):
    """An Ethernet link that can tell Windows which driver it wants.

    Attributes:
        microsoft_os: What Windows is told.
    """

    microsoft_os: MicrosoftOs | None = None

    def _check(self) -> None:
        if self.microsoft_os is not None:
            if self.microsoft_os.interface != 0:
                rule = "must be 0: the kernel has one place for them, and it stands for both interfaces"
                raise DescriptorError("interface", self.microsoft_os.interface, rule, "drivers/usb/gadget/configfs.c")
            check_served_properties(self.microsoft_os)

    @property
    def microsoft_os_descriptors(self) -> MicrosoftOs | None:
        """What Windows is told."""
        return self.microsoft_os

    def _own_steps(self) -> Iterator[Step]:
        yield from super()._own_steps()
        if self.microsoft_os is not None:
            yield from _plan_microsoft_os(self.microsoft_os, PurePosixPath("os_desc", f"interface.{self.family}"))

    @classmethod
    def _read_fields(cls, reader: Reader) -> dict[str, Any]:
        return {**super()._read_fields(reader), "microsoft_os": _read_microsoft_os(reader, cls.FAMILY)}


def _read_microsoft_os(reader: Reader, family: str) -> MicrosoftOs | None:
    folder = f"os_desc/interface.{family}"
    ids = [(reader.read(f"{folder}/{name}") or b"").rstrip(b"\0\n") for name in ("compatible_id", "sub_compatible_id")]
    properties = {name: _read_property(reader, f"{folder}/{name}") for name in reader.folders(folder)}
    if not ids[0] and not properties:
        return None
    return MicrosoftOs(ids[0].decode(), ids[1].decode(), properties)


def _read_property(reader: Reader, folder: str) -> Property:
    kind = PropertyType(int(reader.read(f"{folder}/type") or 0))
    data = reader.read(f"{folder}/data") or b""
    # Of a text, the kernel shows one byte more than it has been given (configfs.c, ext_prop_data_show).
    return Property(kind, data[:-1] + b"\0" if kind in TEXT_TYPES else data)


def _plan_microsoft_os(said: MicrosoftOs, folder: PurePosixPath) -> Iterator[Step]:
    yield WriteAttribute(folder / "compatible_id", said.compatible_id.encode() or b"\n")
    yield WriteAttribute(folder / "sub_compatible_id", said.sub_compatible_id.encode() or b"\n")
    for name, value in said.properties.items():
        yield MakeDirectory(folder / name)
        # The kernel counts the bytes of the data by the type that it knows by then (ext_prop_data_store).
        yield WriteAttribute(folder / name / "type", b"%d" % value.type)
        # It takes off one NUL or line break at the end, which is the last byte of binary data otherwise.
        yield WriteAttribute(folder / name / "data", value.data if isinstance(value.value, str) else value.data + b"\0")


@dataclass(frozen=True, kw_only=True)
class Ncm(_WindowsEthernet):
    """CDC NCM: several frames in a transfer; for Linux, macOS and Windows 11 (``f_ncm.c``).

    ``microsoft_os=MicrosoftOs("WINNCM")`` makes older Windows take its own driver.
    """

    FAMILY: ClassVar[str] = "ncm"
    ENDPOINTS: ClassVar[tuple[EndpointNeed, ...] | None] = (*BULK_PAIR, INTERRUPT_IN)
    INTERFACES: ClassVar[int | None] = 2
    HAS_ASSOCIATION: ClassVar[bool] = True


_CODE = Number(0, 255, "{:02x}", 16)


@dataclass(frozen=True, kw_only=True)
class Rndis(_WindowsEthernet):
    """Microsoft's RNDIS, for Windows (``f_rndis.c``).

    ``microsoft_os=MicrosoftOs("RNDIS", "5162001")`` makes Windows take its own driver.

    Attributes:
        interface_class: bInterfaceClass; the kernel has 2.
        interface_subclass: bInterfaceSubClass; the kernel has 6.
        interface_protocol: bInterfaceProtocol; the kernel has 0.
    """

    FAMILY: ClassVar[str] = "rndis"
    ENDPOINTS: ClassVar[tuple[EndpointNeed, ...] | None] = (*BULK_PAIR, INTERRUPT_IN)
    INTERFACES: ClassVar[int | None] = 2
    HAS_ASSOCIATION: ClassVar[bool] = True

    interface_class: int | None = attribute(_CODE, "u_ether_configfs.h", "class")
    interface_subclass: int | None = attribute(_CODE, "u_ether_configfs.h", "subclass")
    interface_protocol: int | None = attribute(_CODE, "u_ether_configfs.h", "protocol")


@dataclass(frozen=True, kw_only=True)
class Phonet(_Link):
    """Nokia's Phonet over USB, ``upnlink0`` on this side (``f_phonet.c``). It has no SuperSpeed."""

    FAMILY: ClassVar[str] = "phonet"
    ENDPOINTS: ClassVar[tuple[EndpointNeed, ...] | None] = BULK_PAIR[::-1]
    MAX_SPEED: ClassVar[Speed] = Speed.HIGH
    INTERFACES: ClassVar[int | None] = 2
