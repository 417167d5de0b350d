"""The descriptors of a VideoStreaming interface (UVC 1.5, 3.9, and the specifications of the payloads)."""

from __future__ import annotations

from gadget.protocol.constants import ClassCode, DescriptorType
from gadget.protocol.describe.cells import (
    Cell,
    Words,
    choices,
    guid,
    hexadecimal,
    in_brackets,
)
from gadget.protocol.describe.columns import Choose, Column, IfLeft, Part, Repeat, Rest
from gadget.protocol.describe.layouts import Key, Layout, Layouts, subtypes
from gadget.protocol.describe.standard import endpoint_address, head

#: Where the last digits stand, and the end of a GUID that begins after them.
_WIDTH = 37
_GUID_WIDTH = _WIDTH + 1 + 38
#: Where the last digits of an output header stand.
_OUTPUT_WIDTH = 33

#: UVC 1.5, Table A-6.
_SUBTYPES = {
    1: "INPUT_HEADER",
    2: "OUTPUT_HEADER",
    3: "STILL_IMAGE_FRAME",
    4: "FORMAT_UNCOMPRESSED",
    5: "FRAME_UNCOMPRESSED",
    6: "FORMAT_MJPEG",
    7: "FRAME_MJPEG",
    10: "FORMAT_MPEG2TS",
    13: "COLORFORMAT",
    16: "FORMAT_FRAME_BASED",
    17: "FRAME_FRAME_BASED",
    18: "FORMAT_STREAM_BASED",
}

_HEAD = head(_SUBTYPES, _WIDTH)


def _column(name: str, size: int = 1, after: Words | None = None) -> Column:
    return Column(name, size, after=after, width=_WIDTH)


def _streaming(*parts: Part) -> Layout:
    return Layout("VideoStreaming Interface Descriptor:", (*_HEAD, *parts))


def _address(width: int) -> Column:
    return Column("bEndpointAddress", 1, hexadecimal, endpoint_address, width=width)


def _controls(width: int) -> tuple[Part, ...]:
    """The controls of each format."""
    column = Column("bmaControls({:2})", "bControlSize", width=width)
    return (Column("bControlSize", width=width), Repeat((column,), "bNumFormats"))


_NO_YES = {0: "No", 1: "Yes"}
_PATTERNS = {
    0: "Field 1 only",
    1: "Field 2 only",
    2: "Regular pattern of fields 1 and 2",
    3: "Random pattern of fields 1 and 2",
}

#: How every format ends (UVC 1.5 Uncompressed Payload, Table 3-1).
_FORMAT_END: tuple[Part, ...] = (
    _column("bDefaultFrameIndex"),
    _column("bAspectRatioX"),
    _column("bAspectRatioY"),
    Column(
        "bmInterlaceFlags",
        1,
        hexadecimal,
        below=choices(
            (0x01, "Interlaced stream or variable: ", _NO_YES),
            (0x02, "Fields per frame: ", {0: "2 fields", 1: "1 fields"}),
            (0x04, "Field 1 first: ", _NO_YES),
            (0x30, "Field pattern: ", _PATTERNS),
        ),
        width=_WIDTH,
    ),
    _column("bCopyProtect"),
)
_FORMAT: tuple[Part, ...] = (
    _column("bFormatIndex"),
    _column("bNumFrameDescriptors"),
    Column("guidFormat", 16, guid, width=_GUID_WIDTH),
    _column("bBitsPerPixel"),
    *_FORMAT_END,
)


def _frame_capabilities(cell: Cell) -> list[str]:
    still = "Still image supported" if cell.value & 1 else "Still image unsupported"
    return [still, *(["Fixed frame-rate"] if cell.value & 2 else [])]


_FRAME: tuple[Part, ...] = (
    _column("bFrameIndex"),
    Column("bmCapabilities", 1, hexadecimal, below=_frame_capabilities, width=_WIDTH),
    _column("wWidth", 2),
    _column("wHeight", 2),
    _column("dwMinBitRate", 4),
    _column("dwMaxBitRate", 4),
)
_INTERVALS = Choose(
    "bFrameIntervalType",
    {0: (_column("dwMinFrameInterval", 4), _column("dwMaxFrameInterval", 4), _column("dwFrameIntervalStep", 4))},
    (Repeat((_column("dwFrameInterval({:2})", 4),), "bFrameIntervalType"),),
)
_SIZED_FRAME = _streaming(
    *_FRAME,
    _column("dwMaxVideoFrameBufferSize", 4),
    _column("dwDefaultFrameInterval", 4),
    _column("bFrameIntervalType"),
    _INTERVALS,
)

#: UVC 1.5, Table 3-19.
_PRIMARIES = {
    0: "Unspecified",
    1: "BT.709,sRGB",
    2: "BT.470-2 (M)",
    3: "BT.470-2 (B,G)",
    4: "SMPTE 170M",
    5: "SMPTE 240M",
}
_TRANSFER = {**_PRIMARIES, 1: "BT.709", 6: "Linear", 7: "sRGB"}
_MATRIX = {0: "Unspecified", 1: "BT.709", 2: "FCC", 3: "BT.470-2 (B,G)", 4: "SMPTE 170M (BT.601)", 5: "SMPTE 240M"}

_STREAMING = {
    1: _streaming(
        _column("bNumFormats"),
        Column("wTotalLength", 2, hexadecimal, width=_WIDTH),
        _address(_WIDTH),
        _column("bmInfo"),
        _column("bTerminalLink"),
        _column("bStillCaptureMethod"),
        _column("bTriggerSupport"),
        _column("bTriggerUsage"),
        *_controls(_WIDTH),
    ),
    2: _streaming(
        Column("bNumFormats", width=_OUTPUT_WIDTH),
        Column("wTotalLength", 2, hexadecimal, width=_OUTPUT_WIDTH),
        _address(_OUTPUT_WIDTH),
        Column("bTerminalLink", width=_OUTPUT_WIDTH),
        *_controls(_OUTPUT_WIDTH),
    ),
    3: _streaming(
        _address(_WIDTH),
        _column("bNumImageSizePatterns"),
        Repeat((_column("wWidth({:2})", 2), _column("wHeight({:2})", 2)), "bNumImageSizePatterns"),
        _column("bNumCompressionPatterns"),
        Repeat((_column("bCompression({:2})"),), "bNumCompressionPatterns"),
    ),
    4: _streaming(*_FORMAT),
    5: _SIZED_FRAME,
    6: _streaming(
        _column("bFormatIndex"),
        _column("bNumFrameDescriptors"),
        Column("bFlags", below=choices((0x01, "Fixed-size samples: ", _NO_YES)), width=_WIDTH),
        *_FORMAT_END,
    ),
    7: _SIZED_FRAME,
    10: _streaming(
        _column("bFormatIndex"),
        _column("bDataOffset"),
        _column("bPacketLength"),
        _column("bStrideLength"),
        # UVC 1.0 ends before it.
        IfLeft((Column("guidStrideFormat", 16, guid, width=_GUID_WIDTH),)),
    ),
    13: _streaming(
        _column("bColorPrimaries", after=in_brackets(_PRIMARIES, "Unknown")),
        _column("bTransferCharacteristics", after=in_brackets(_TRANSFER, "Unknown")),
        _column("bMatrixCoefficients", after=in_brackets(_MATRIX, "Unknown")),
    ),
    16: _streaming(*_FORMAT, _column("bVariableSize")),
    17: _streaming(
        *_FRAME,
        _column("dwDefaultFrameInterval", 4),
        _column("bFrameIntervalType"),
        _column("dwBytesPerLine", 4),
        _INTERVALS,
    ),
    18: _streaming(
        _column("bFormatIndex"), Column("guidFormat", 16, guid, width=_GUID_WIDTH), _column("dwPacketLength", 4)
    ),
}

_WHERE = Key(ClassCode.VIDEO, 2, None, DescriptorType.CLASS_SPECIFIC_INTERFACE)

LAYOUTS: Layouts = {**subtypes(_WHERE, _STREAMING), _WHERE: _streaming(Rest("Invalid desc subtype: "))}
