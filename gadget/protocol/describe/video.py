"""The descriptors of a VideoControl interface (UVC 1.5, 3.7)."""

from __future__ import annotations

from gadget.protocol.constants import ClassCode, DescriptorType
from gadget.protocol.describe.cells import (
    Cell,
    bits,
    guid,
    hexadecimal,
    in_brackets,
    one_of,
    version,
)
from gadget.protocol.describe.columns import Choose, Column, IfLeft, Part, Repeat, Rest
from gadget.protocol.describe.layouts import Key, Layout, Layouts, subtypes
from gadget.protocol.describe.standard import HEAD, head, text

_SUBTYPES = {
    1: "HEADER",
    2: "INPUT_TERMINAL",
    3: "OUTPUT_TERMINAL",
    4: "SELECTOR_UNIT",
    5: "PROCESSING_UNIT",
    6: "EXTENSION_UNIT",
    7: "ENCODING UNIT",
}

#: wTerminalType (UVC 1.5, B).
_TERMINALS = {
    0x0100: "USB Vendor Specific",
    0x0101: "USB Streaming",
    0x0200: "Input Vendor Specific",
    0x0201: "Camera Sensor",
    0x0202: "Sequential Media",
    0x0300: "Output Vendor Specific",
    0x0301: "Generic Display",
    0x0302: "Sequential Media",
    0x0400: "External Vendor Specific",
    0x0401: "Composite Video",
    0x0402: "S-Video",
    0x0403: "Component Video",
}
_TERMINAL_TYPE = Column("wTerminalType", 2, hexadecimal, one_of(_TERMINALS))
_CAMERA = 0x0201


def _wide(cell: Cell) -> str:
    """Controls are shown with eight digits, however few bytes they have."""
    return f"0x{cell.value:08x}"


def _megahertz(cell: Cell) -> str:
    return f"{cell.value // 1_000_000}.{cell.value % 1_000_000:06}MHz"


#: UVC 1.5, Table 3-6.
_CAMERA_CONTROLS = bits(
    "Scanning Mode",
    "Auto-Exposure Mode",
    "Auto-Exposure Priority",
    "Exposure Time (Absolute)",
    "Exposure Time (Relative)",
    "Focus (Absolute)",
    "Focus (Relative)",
    "Iris (Absolute)",
    "Iris (Relative)",
    "Zoom (Absolute)",
    "Zoom (Relative)",
    "PanTilt (Absolute)",
    "PanTilt (Relative)",
    "Roll (Absolute)",
    "Roll (Relative)",
    "Reserved",
    "Reserved",
    "Focus, Auto",
    "Privacy",
    "Focus, Simple",
    "Window",
    "Region of Interest",
)

_LENS: tuple[Part, ...] = (
    Column("wObjectiveFocalLengthMin", 2, width=31),
    Column("wObjectiveFocalLengthMax", 2, width=31),
    Column("wOcularFocalLength", 2, width=31),
    Column("bControlSize", width=31),
    Column("bmControls", "bControlSize", _wide, below=_CAMERA_CONTROLS, width=31),
)

#: UVC 1.5, Table 3-8.
_PROCESSING_CONTROLS = bits(
    "Brightness",
    "Contrast",
    "Hue",
    "Saturation",
    "Sharpness",
    "Gamma",
    "White Balance Temperature",
    "White Balance Component",
    "Backlight Compensation",
    "Gain",
    "Power Line Frequency",
    "Hue, Auto",
    "White Balance Temperature, Auto",
    "White Balance Component, Auto",
    "Digital Multiplier",
    "Digital Multiplier Limit",
    "Analog Video Standard",
    "Analog Video Lock Status",
    "Contrast, Auto",
)
_STANDARDS = bits("None", "NTSC - 525/60", "PAL - 625/50", "SECAM - 625/50", "NTSC - 625/50", "PAL - 525/60")

#: UVC 1.5, Table 3-10.
_ENCODING_CONTROLS = bits(
    "Select Layer",
    "Profile and Toolset",
    "Video Resolution",
    "Minimum Frame Interval",
    "Slice Mode",
    "Rate Control Mode",
    "Average Bit Rate",
    "CPB Size",
    "Peak Bit Rate",
    "Quantization Parameter",
    "Synchronization and Long-Term Reference Frame",
    "Long-Term Buffer",
    "Picture Long-Term Reference",
    "LTR Validation",
    "Level IDC",
    "SEI Message",
    "QP Range",
    "Priority ID",
    "Start or Stop Layer/View",
    "Error Resiliency",
)


def _sources(name: str) -> tuple[Part, ...]:
    return (Column("bNrInPins"), Repeat((Column(name),), "bNrInPins"))


def _control(*parts: Part) -> Layout:
    return Layout("VideoControl Interface Descriptor:", (*head(_SUBTYPES), *parts))


_CONTROL = {
    1: _control(
        Column("bcdUVC", 2, version),
        Column("wTotalLength", 2, hexadecimal),
        # The digits before the point stand where those of other numbers do.
        Column("dwClockFrequency", 4, _megahertz, width=35),
        Column("bInCollection"),
        Repeat((Column("baInterfaceNr({:2})"),), "bInCollection"),
    ),
    2: _control(
        Column("bTerminalID"),
        _TERMINAL_TYPE,
        Column("bAssocTerminal"),
        text("iTerminal"),
        Choose("wTerminalType", {_CAMERA: _LENS}),
    ),
    3: _control(
        Column("bTerminalID"),
        _TERMINAL_TYPE,
        Column("bAssocTerminal"),
        Column("bSourceID"),
        text("iTerminal"),
    ),
    4: _control(Column("bUnitID"), *_sources("baSource({:2})"), text("iSelector")),
    5: _control(
        Column("bUnitID"),
        Column("bSourceID"),
        Column("wMaxMultiplier", 2),
        Column("bControlSize"),
        Column("bmControls", "bControlSize", _wide, below=_PROCESSING_CONTROLS),
        text("iProcessing"),
        # UVC 1.0 ends before it.
        IfLeft((Column("bmVideoStandards", 1, hexadecimal, below=_STANDARDS),)),
    ),
    6: _control(
        Column("bUnitID"),
        Column("guidExtensionCode", 16, guid, width=64),
        Column("bNumControls"),
        *_sources("baSourceID({:2})"),
        Column("bControlSize"),
        Repeat((Column("bmControls({:2})", 1, hexadecimal),), "bControlSize"),
        text("iExtension"),
    ),
    7: _control(
        Column("bUnitID"),
        Column("bSourceID"),
        text("iEncoding"),
        Column("bControlSize"),
        Column("bmControls", "bControlSize", _wide, below=_ENCODING_CONTROLS, width=34),
        Column("bmControlsRuntime", "bControlSize", _wide, below=_ENCODING_CONTROLS, width=34),
    ),
}

#: UVC 1.5, 3.8.2.2: the interrupt endpoint of the control interface.
_ENDPOINT = Layout(
    "VideoControl Endpoint Descriptor:",
    (
        *HEAD,
        Column("bDescriptorSubtype", after=in_brackets({1: "EP_GENERAL", 2: "EP_ENDPOINT", 3: "EP_INTERRUPT"})),
        Column("wMaxTransferSize", 2),
    ),
)

_WHERE = Key(ClassCode.VIDEO, 1, None, DescriptorType.CLASS_SPECIFIC_INTERFACE)

LAYOUTS: Layouts = {
    **subtypes(_WHERE, _CONTROL),
    _WHERE: _control(Rest("Invalid desc subtype: ")),
    _WHERE._replace(descriptor_type=DescriptorType.CLASS_SPECIFIC_ENDPOINT): _ENDPOINT,
}
