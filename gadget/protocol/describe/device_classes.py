"""HID, smart card readers, firmware upgrade, pipes of mass storage: classes with one descriptor of their own."""

from __future__ import annotations

from gadget.protocol.constants import ClassCode, DescriptorType
from gadget.protocol.describe.cells import (
    Cell,
    bits,
    either,
    hexadecimal,
    marks,
    nothing,
    one_of,
    unit,
    version,
)
from gadget.protocol.describe.columns import Column, IfLeft, Repeat, Skip, Text
from gadget.protocol.describe.layouts import Key, Layout, Layouts
from gadget.protocol.describe.standard import HEAD

#: bCountryCode, from 0 on (HID 1.11, 6.2.1).
_COUNTRIES = (
    "Not supported",
    "Arabic",
    "Belgian",
    "Canadian-Bilingual",
    "Canadian-French",
    "Czech Republic",
    "Danish",
    "Finnish",
    "French",
    "German",
    "Greek",
    "Hebrew",
    "Hungary",
    "International (ISO)",
    "Italian",
    "Japan (Katakana)",
    "Korean",
    "Latin American",
    "Netherlands/Dutch",
    "Norwegian",
    "Persian (Farsi)",
    "Poland",
    "Portuguese",
    "Russia",
    "Slovakia",
    "Spanish",
    "Swedish",
    "Swiss/French",
    "Swiss/German",
    "Switzerland",
    "Taiwan",
    "Turkish-Q",
    "UK",
    "US",
    "Yugoslavia",
    "Turkish-F",
)

_REPORT_TYPES = {0x21: "HID", 0x22: "Report", 0x23: "Physical"}

#: HID 1.11, 6.2.1. The report descriptor is read by a request of its own, so it never is among these bytes.
_HID = Layout(
    "HID Device Descriptor:",
    (
        *HEAD,
        Column("bcdHID", 2, version),
        Column("bCountryCode", after=one_of(dict(enumerate(_COUNTRIES)), "Unknown")),
        Column("bNumDescriptors"),
        Repeat(
            (Column("bDescriptorType", after=one_of(_REPORT_TYPES)), Column("wDescriptorLength", 2)),
            "bNumDescriptors",
        ),
        Text(("Report Descriptors:", "  ** UNAVAILABLE **"), -1),
    ),
    indent=2,
)


def _wide_hexadecimal(cell: Cell) -> str:
    return f"{cell.value:08X}"


def _echo(cell: Cell) -> str:
    return "echo" if cell.value == 0xFF else f"  {cell.value:02X}"


def _display(cell: Cell) -> str:
    return f"{cell.value & 0xFF} cols {cell.value >> 8} lines" if cell.value else "none"


_FEATURES = bits(
    "Auto configuration based on ATR",
    "Auto activation on insert",
    "Auto voltage selection",
    "Auto clock change",
    "Auto baud rate change",
    "Auto parameter negotiation made by CCID",
    "Auto PPS made by CCID",
    "CCID can set ICC in clock stop mode",
    "NAD value other than 0x00 accepted",
    "Auto IFSD exchange",
    *(None,) * 5,
    "TPDU level exchange",
    "Short APDU level exchange",
    "Short and extended APDU level exchange",
    None,
    "USB Wake up signaling supported",
    first=1,
)

#: CCID 1.10, 5.1.
_CCID = Layout(
    "ChipCard Interface Descriptor:",
    (
        *HEAD,
        Column("bcdCCID", 2, version),
        Column("bMaxSlotIndex"),
        Column("bVoltageSupport", after=marks("5.0V", "3.0V", "1.8V")),
        Column("dwProtocols", 4, after=marks("T=0", "T=1")),
        Column("dwDefaultClock", 4),
        Column("dwMaximumClock", 4),
        Column("bNumClockSupported"),
        Column("dwDataRate", 4, after=unit("bps")),
        Column("dwMaxDataRate", 4, after=unit("bps")),
        Column("bNumDataRatesSupp."),
        Column("dwMaxIFSD", 4),
        Column("dwSyncProtocols", 4, _wide_hexadecimal, marks("2-wire", "3-wire", "I2C")),
        Column("dwMechanical", 4, _wide_hexadecimal, marks("accept", "eject", "capture", "lock")),
        Column("dwFeatures", 4, _wide_hexadecimal, below=_FEATURES),
        Column("dwMaxCCIDMsgLen", 4),
        Column("bClassGetResponse", show=_echo),
        Column("bClassEnvelope", show=_echo),
        Column("wlcdLayout", 2, nothing, _display, width=20),
        Column("bPINSupport", after=marks("verification", "modification")),
        Column("bMaxCCIDBusySlots"),
    ),
)

_DFU_ATTRIBUTES = either(
    ("Download Unsupported", "Download Supported"),
    ("Upload Unsupported", "Upload Supported"),
    ("Manifestation Intolerant", "Manifestation Tolerant"),
    ("Will Not Detach", "Will Detach"),
)

#: DFU 1.1, 4.1.3; that of DFU 1.0 ends before the version.
_DFU = Layout(
    "Device Firmware Upgrade Interface Descriptor:",
    (
        Column("bLength", width=37),
        Column("bDescriptorType", width=37),
        Column("bmAttributes", below=lambda cell: list(_DFU_ATTRIBUTES(cell))[::-1], width=37),
        Column("wDetachTimeout", 2, after=unit("milliseconds"), width=37),
        Column("wTransferSize", 2, after=unit("bytes"), width=37),
        IfLeft((Column("bcdDFUVersion", 2, version, width=36),)),
    ),
)

_PIPES = {1: "Command pipe", 2: "Status pipe", 3: "Data-in pipe", 4: "Data-out pipe"}


def _pipe(cell: Cell) -> str:
    return f"{_PIPES.get(cell.value, 'Reserved')} ({hexadecimal(cell)})"


#: USB Attached SCSI, 5.3.3.
_PIPE_USAGE = Layout("", (Skip(2), Column("", show=_pipe), Skip(1)))

LAYOUTS: Layouts = {
    Key(ClassCode.HID, None, None, DescriptorType.CLASS_SPECIFIC): _HID,
    Key(ClassCode.SMART_CARD, None, None, DescriptorType.CLASS_SPECIFIC): _CCID,
    Key(ClassCode.APPLICATION_SPECIFIC, 1, None, DescriptorType.CLASS_SPECIFIC): _DFU,
    Key(ClassCode.MASS_STORAGE, None, None, DescriptorType.CLASS_SPECIFIC_INTERFACE): _PIPE_USAGE,
}
