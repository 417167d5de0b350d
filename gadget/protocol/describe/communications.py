"""The functional descriptors of communications devices (CDC 1.2, 5.2.3, and those of its subclasses)."""

from __future__ import annotations

from gadget.protocol.constants import ClassCode, DescriptorType
from gadget.protocol.describe.cells import Cell, bits, byte_list, guid, hexadecimal, version
from gadget.protocol.describe.columns import Column, Part, Repeat, Rest, Skip
from gadget.protocol.describe.layouts import Key, Layout, Layouts, subtypes
from gadget.protocol.describe.standard import text

#: The three bytes before what is shown: length, type, subtype.
_HEAD = Skip(3)


def _capabilities(*meanings: str | None) -> Column:
    return Column("bmCapabilities", 1, hexadecimal, below=bits(*meanings, highest_first=True))


def _network(*meanings: str | None) -> Column:
    return Column("bmNetworkCapabilities", 1, hexadecimal, below=bits(*meanings, highest_first=True))


def _functional(title: str, *parts: Part) -> Layout:
    return Layout(title, (_HEAD, *parts))


_HEADER = _functional("CDC Header:", Column("bcdCDC", 2, version))

_CALL_MANAGEMENT = _functional(
    "CDC Call Management:",
    Column("bmCapabilities", 1, hexadecimal, below=bits("call management", "use DataInterface")),
    Column("bDataInterface"),
)

_ACM = _functional(
    "CDC ACM:",
    _capabilities(
        "get/set/clear comm features",
        "line coding and serial state",
        "sends break",
        "connection notifications",
    ),
)


def _first(cell: Cell) -> str:
    return "".join(map(str, cell.raw[:1]))


def _further(cell: Cell) -> str:
    return " ".join(map(str, cell.raw[1:]))


_UNION = _functional(
    "CDC Union:",
    Column("bMasterInterface"),
    Column("bSlaveInterface", None, _first, _further),
)

_COUNTRY = _functional(
    "Country Selection:",
    text("iCountryCodeRelDate", 28),
    Repeat((Column("wCountryCode", 2, hexadecimal, width=28),)),
)

_TELEPHONE = _functional(
    "CDC Telephone operations:",
    _capabilities("simple mode", "standalone mode", "computer centric mode"),
)

_ETHERNET = _functional(
    "CDC Ethernet:",
    text("iMacAddress", 34),
    Column("bmEthernetStatistics", 4, hexadecimal, width=34),
    Column("wMaxSegmentSize", 2, width=34),
    Column("wNumberMCFilters", 2, hexadecimal, width=34),
    Column("bNumberPowerFilters", width=34),
)

_WHCM = _functional("CDC WHCM:", Column("bcdVersion", 2, version))

_MDLM = _functional("CDC MDLM:", Column("bcdCDC", 2, version), Column("bGUID", 16, guid, width=58))

_MDLM_DETAIL = _functional(
    "CDC MDLM detail:",
    Column("bGuidDescriptorType", 1, byte_list, width=23),
    Rest("bDetailData", 21),
)

_DEVICE_MANAGEMENT = _functional(
    "CDC Device Management:",
    Column("bcdVersion", 2, version),
    Column("wMaxCommand", 2),
)

_OBEX = _functional("CDC OBEX:", Column("bcdVersion", 2, version))

_NCM = _functional(
    "CDC NCM:",
    Column("bcdNcmVersion", 2, version),
    _network(
        "packet filter",
        "net address",
        "encapsulated commands",
        "max datagram size",
        "crc mode",
        "8-byte ntb input size",
    ),
)

_MBIM = _functional(
    "CDC MBIM:",
    Column("bcdMBIMVersion", 2, version),
    Column("wMaxControlMessage", 2),
    Column("bNumberFilters"),
    Column("bMaxFilterSize"),
    Column("wMaxSegmentSize", 2),
    _network(None, None, None, "max datagram size", None, "8-byte ntb input size"),
)

_MBIM_EXTENDED = _functional(
    "CDC MBIM Extended:",
    Column("bcdMBIMExtendedVersion", 2, version, width=37),
    Column("bMaxOutstandingCommandMessages", width=37),
    Column("wMTU", 2, width=37),
)

_UNKNOWN = Layout("", (Rest("UNRECOGNIZED CDC:  "),))

#: By bDescriptorSubtype (CDC 1.2, Table 13; MBIM 1.0, 6.4).
LAYOUTS: Layouts = {
    Key(ClassCode.COMMUNICATIONS, None, None, DescriptorType.CLASS_SPECIFIC_INTERFACE): _UNKNOWN,
    **subtypes(
        Key(ClassCode.COMMUNICATIONS, None, None, DescriptorType.CLASS_SPECIFIC_INTERFACE),
        {
            0x00: _HEADER,
            0x01: _CALL_MANAGEMENT,
            0x02: _ACM,
            0x06: _UNION,
            0x07: _COUNTRY,
            0x08: _TELEPHONE,
            0x0F: _ETHERNET,
            0x11: _WHCM,
            0x12: _MDLM,
            0x13: _MDLM_DETAIL,
            0x14: _DEVICE_MANAGEMENT,
            0x15: _OBEX,
            0x1A: _NCM,
            0x1B: _MBIM,
            0x1C: _MBIM_EXTENDED,
        },
    ),
}
