"""The tables of chapter 9 (USB 2.0, 9.6; USB 3.2, 9.6), and what all tables begin with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gadget.protocol.constants import DescriptorType, TransferType
from gadget.protocol.describe.cells import (
    Cell,
    Words,
    bits,
    choices,
    hexadecimal,
    in_brackets,
    one_of,
    string,
    version,
)
from gadget.protocol.describe.columns import WIDTH, Choose, Column, IfLeft, Part, Skip

#: What all descriptors begin with.
HEAD: tuple[Part, ...] = (Column("bLength"), Column("bDescriptorType"))


def head(subtypes: Mapping[int, str], width: int = WIDTH) -> tuple[Part, ...]:
    """What the descriptors of a class begin with that have a subtype."""
    subtype = Column("bDescriptorSubtype", after=in_brackets(subtypes), width=width)
    return (Column("bLength", width=width), Column("bDescriptorType", width=width), subtype)


def text(name: str, width: int = WIDTH) -> Column:
    """The number of a string, and the string."""
    return Column(name, after=string, width=width)


def _class_name(*columns: str) -> Words:
    """The name that class, subclass and protocol have together, of those before it and its own."""

    def name(cell: Cell) -> str:
        path = tuple(cell.values[column] for column in columns)
        return cell.texts.names.classes.get((*path, cell.value), "")

    return name


def _classes(prefix: str) -> tuple[Part, ...]:
    names = [f"{prefix}{part}" for part in ("Class", "SubClass", "Protocol")]
    return tuple(Column(name, after=_class_name(*names[:at])) for at, name in enumerate(names))


def _vendor(cell: Cell) -> str:
    return cell.texts.names.vendors.get(cell.value, "")


def _product(cell: Cell) -> str:
    return cell.texts.names.products.get((cell.values["idVendor"], cell.value), "")


_DEVICE = (
    *HEAD,
    Column("bcdUSB", 2, version),
    *_classes("bDevice"),
    Column("bMaxPacketSize0"),
    Column("idVendor", 2, hexadecimal, _vendor),
    Column("idProduct", 2, hexadecimal, _product),
    Column("bcdDevice", 2, version),
    text("iManufacturer"),
    text("iProduct"),
    text("iSerial"),
    Column("bNumConfigurations"),
)

_QUALIFIER = (
    *HEAD,
    Column("bcdUSB", 2, version),
    *_classes("bDevice"),
    Column("bMaxPacketSize0"),
    Column("bNumConfigurations"),
    Skip(1),
)


def _power_attributes(cell: Cell) -> Iterator[str]:
    if not cell.value & 0x80:
        yield "(Missing must-be-set bit!)"
    yield "Self Powered" if cell.value & 0x40 else "(Bus Powered)"
    yield from bits("Battery Powered", "Remote Wakeup", first=4)(cell) if cell.value & 0x30 else ()


def _max_power(milliamperes: int) -> Column:
    return Column("MaxPower", show=lambda cell: f"{cell.value * milliamperes}mA", width=WIDTH + 2)


#: The unit of bMaxPower, among what is known of the surroundings (USB 3.2, 9.6.3).
POWER_UNIT = "mA"

_CONFIGURATION = (
    *HEAD,
    Column("wTotalLength", 2, hexadecimal),
    Column("bNumInterfaces"),
    Column("bConfigurationValue"),
    text("iConfiguration"),
    Column("bmAttributes", 1, hexadecimal, below=_power_attributes),
    Choose(POWER_UNIT, {8: (_max_power(8),)}, (_max_power(2),)),
)

_ASSOCIATION = (
    *HEAD,
    Column("bFirstInterface"),
    Column("bInterfaceCount"),
    *_classes("bFunction"),
    text("iFunction"),
)

_INTERFACE = (
    *HEAD,
    Column("bInterfaceNumber"),
    Column("bAlternateSetting"),
    Column("bNumEndpoints"),
    *_classes("bInterface"),
    text("iInterface"),
)


def endpoint_address(cell: Cell) -> str:
    """What an endpoint address says."""
    return f" EP {cell.value & 0x0F} {'IN' if cell.value & 0x80 else 'OUT'}"


_TRANSFER_TYPES = {0: "Control", 1: "Isochronous", 2: "Bulk", 3: "Interrupt"}
_SYNCHRONISATION = {0: "None", 1: "Asynchronous", 2: "Adaptive", 3: "Synchronous"}
_USAGE = {0: "Data", 1: "Feedback", 2: "Implicit feedback Data"}


def _packets(cell: Cell) -> str:
    """How many packets of which size a microframe has, at most (USB 2.0, 9.6.6)."""
    times = {0: "1x", 1: "2x", 2: "3x"}.get(cell.value >> 11 & 3, "(??)")
    return f" {times} {cell.value & 0x07FF} bytes"


_ENDPOINT = (
    *HEAD,
    Column("bEndpointAddress", 1, hexadecimal, endpoint_address),
    Column(
        "bmAttributes",
        below=choices(
            (0x03, "Transfer Type            ", _TRANSFER_TYPES),
            (0x0C, "Synch Type               ", _SYNCHRONISATION),
            (0x30, "Usage Type               ", _USAGE),
        ),
    ),
    Column("wMaxPacketSize", 2, hexadecimal, _packets),
    Column("bInterval"),
    IfLeft((Column("bRefresh"), Column("bSynchAddress"))),
)


def _is_zero(value: int) -> bool:
    return value == 0


#: Bits 1..0 of the attributes of the endpoint that a companion belongs to, among what is known of the surroundings.
TRANSFER_TYPE = "transfer type"

_STREAMS = Column("MaxStreams", show=lambda cell: str(1 << (cell.value & 0x1F)), hidden=_is_zero)
_MULT = Column("Mult", show=lambda cell: str(cell.value & 3), hidden=_is_zero)

_COMPANION = (
    Skip(2),
    Column("bMaxBurst"),
    Choose(TRANSFER_TYPE, {TransferType.BULK: (_STREAMS,), TransferType.ISOCHRONOUS: (_MULT,)}, (Skip(1),)),
    Skip(2),
)

_OTG = (
    *HEAD,
    Column(
        "bmAttributes",
        1,
        hexadecimal,
        below=bits(
            "SRP (Session Request Protocol)", "HNP (Host Negotiation Protocol)", "ADP (Attach Detection Protocol)"
        ),
    ),
    IfLeft((Column("bcdOTG", 2, version),)),
)

_DEBUG = (*HEAD, Column("bDebugInEndpoint", 1, hexadecimal), Column("bDebugOutEndpoint", 1, hexadecimal))

_SECURITY = (*HEAD, Column("wTotalLength", 2, hexadecimal), Column("bNumEncryptionTypes"))
_ENCRYPTION = (
    *HEAD,
    Column("bEncryptionType", after=one_of({0: "UNSECURE", 1: "WIRED", 2: "CCM_1", 3: "RSA_1"}, "RESERVED")),
    Column("bEncryptionValue"),
    Column("bAuthKeyIndex"),
)

#: bDescriptorType of an encryption type, which only Wireless USB has (Wireless USB 1.1, 7.4.5.2).
ENCRYPTION_TYPE = 0x0E

#: The title and the table of each descriptor that means the same everywhere.
TABLES: Mapping[int, tuple[str, tuple[Part, ...]]] = {
    DescriptorType.DEVICE: ("Device Descriptor:", _DEVICE),
    DescriptorType.DEVICE_QUALIFIER: ("Device Qualifier (for other device speed):", _QUALIFIER),
    DescriptorType.CONFIGURATION: ("Configuration Descriptor:", _CONFIGURATION),
    DescriptorType.OTHER_SPEED_CONFIGURATION: ("Other Speed Configuration Descriptor:", _CONFIGURATION),
    DescriptorType.INTERFACE_ASSOCIATION: ("Interface Association:", _ASSOCIATION),
    DescriptorType.INTERFACE: ("Interface Descriptor:", _INTERFACE),
    DescriptorType.ENDPOINT: ("Endpoint Descriptor:", _ENDPOINT),
    DescriptorType.SUPERSPEED_ENDPOINT_COMPANION: ("", _COMPANION),
    DescriptorType.OTG: ("OTG Descriptor:", _OTG),
    DescriptorType.DEBUG: ("Debug descriptor:", _DEBUG),
    DescriptorType.SECURITY: ("Security Descriptor:", _SECURITY),
    ENCRYPTION_TYPE: ("Encryption Type Descriptor:", _ENCRYPTION),
}
