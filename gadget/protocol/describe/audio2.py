"""The descriptors of audio 2.0 (Audio 2.0, 4; Audio Data Formats 2.0, 2)."""

from __future__ import annotations

from gadget.protocol.describe.audio import (
    FEATURES,
    LOCK_DELAY,
    OTHERS,
    SOURCES,
    TERMINAL_TYPE,
    endpoint,
    format_type,
    layouts,
    streaming,
)
from gadget.protocol.describe.cells import bits, controls, hexadecimal, one_of, version
from gadget.protocol.describe.columns import Choose, Column, Part, Repeat, Rest
from gadget.protocol.describe.layouts import Layout, Layouts
from gadget.protocol.describe.standard import head, text

_PROTOCOL = 0x20

#: Where the last digit of a number of four bytes stands.
_WIDE = 29

#: bDescriptorSubtype of an AudioControl interface (Audio 2.0, Table A-9).
_CONTROL_SUBTYPES = {
    1: "HEADER",
    2: "INPUT_TERMINAL",
    3: "OUTPUT_TERMINAL",
    4: "MIXER_UNIT",
    5: "SELECTOR_UNIT",
    6: "FEATURE_UNIT",
    7: "EFFECT_UNIT",
    8: "PROCESSING_UNIT",
    9: "EXTENSION_UNIT",
    10: "CLOCK_SOURCE",
    11: "CLOCK_SELECTOR",
    12: "CLOCK_MULTIPLIER",
    13: "SAMPLING_RATE_CONVERTER",
}

_CHANNELS: tuple[Part, ...] = (
    Column("bNrChannels"),
    Column(
        "bmChannelConfig",
        4,
        hexadecimal,
        below=bits(
            "Front Left (FL)",
            "Front Right (FR)",
            "Front Center (FC)",
            "Low Frequency Effects (LFE)",
            "Back Left (BL)",
            "Back Right (BR)",
            "Front Left of Center (FLC)",
            "Front Right of Center (FRC)",
            "Back Center (BC)",
            "Side Left (SL)",
            "Side Right (SR)",
            "Top Center (TC)",
            "Top Front Left (TFL)",
            "Top Front Center (TFC)",
            "Top Front Right (TFR)",
            "Top Back Left (TBL)",
            "Top Back Center (TBC)",
            "Top Back Right (TBR)",
            "Top Front Left of Center (TFLC)",
            "Top Front Right of Center (TFRC)",
            "Left Low Frequency Effects (LLFE)",
            "Right Low Frequency Effects (RLFE)",
            "Top Side Left (TSL)",
            "Top Side Right (TSR)",
            "Bottom Center (BC)",
            "Back Left of Center (BLC)",
            "Back Right of Center (BRC)",
        ),
        width=_WIDE,
    ),
    text("iChannelNames"),
)


def _controls(size: int, *meanings: str | None) -> Column:
    return Column("bmControls", size, hexadecimal, below=controls(*meanings))


def _control(*parts: Part) -> Layout:
    return Layout("AudioControl Interface Descriptor:", (*head(_CONTROL_SUBTYPES), *parts))


_FLOWS = ("Cluster", "Underflow", "Overflow")
_MODES: tuple[Part, ...] = (
    Column("bNrModes"),
    Repeat((Column("daModes({})", 4, hexadecimal, width=_WIDE),), "bNrModes"),
)
_CLOCKS = ("External", "Internal fixed", "Internal variable", "Internal programmable")
_CLOCK_TYPES = {
    number: f"{_CLOCKS[number & 3]} clock{' (synchronized to SOF)' if number & 4 else ''}" for number in range(8)
}

_PROCESSES = {0: "Undefined", 1: "Up/Down-mix", 2: "Dolby Prologic", 3: "Stereo Extender"}

_CONTROL = {
    1: _control(
        Column("bcdADC", 2, version),
        Column("bCategory"),
        Column("wTotalLength", 2, hexadecimal),
        _controls(1, "Latency control"),
    ),
    2: _control(
        Column("bTerminalID"),
        TERMINAL_TYPE,
        Column("bAssocTerminal"),
        Column("bCSourceID"),
        *_CHANNELS,
        _controls(2, "Copy Protect", "Connector", "Overload", *_FLOWS),
        text("iTerminal"),
    ),
    3: _control(
        Column("bTerminalID"),
        TERMINAL_TYPE,
        Column("bAssocTerminal"),
        Column("bSourceID"),
        Column("bCSourceID"),
        _controls(2, "Copy Protect", "Connector", "Overload", "Underflow", "Overflow"),
        text("iTerminal"),
    ),
    # How many controls a mixer has depends on its sources' channels; they reach to the last byte but two.
    4: _control(
        Column("bUnitID"),
        *SOURCES,
        *_CHANNELS,
        Repeat((Column("bmMixerControls({})", 1, hexadecimal),), leave=2),
        _controls(1, *_FLOWS),
        text("iMixer"),
    ),
    5: _control(Column("bUnitID"), *SOURCES, _controls(1, "Selector"), text("iSelector")),
    6: _control(
        Column("bUnitID"),
        Column("bSourceID"),
        Repeat(
            (
                Column(
                    "bmaControls({})", 4, hexadecimal, below=controls(*FEATURES, "Underflow", "Overflow"), width=_WIDE
                ),
            ),
            leave=1,
        ),
        text("iFeature"),
    ),
    7: _control(
        Column("bUnitID"),
        Column("wEffectType", 2, hexadecimal),
        Column("bSourceID"),
        Repeat((Column("bmaControls({})", 4, hexadecimal, width=_WIDE),), leave=1),
        text("iEffects"),
    ),
    8: _control(
        Column("bUnitID"),
        Column("wProcessType", 2, hexadecimal, one_of(_PROCESSES)),
        *SOURCES,
        *_CHANNELS,
        _controls(2),
        text("iProcessing"),
        Choose("wProcessType", {1: _MODES, 2: _MODES}),
    ),
    9: _control(
        Column("bUnitID"),
        Column("wExtensionCode", 2, hexadecimal),
        *SOURCES,
        *_CHANNELS,
        _controls(1, "Enable", *_FLOWS),
        text("iExtension"),
    ),
    10: _control(
        Column("bClockID"),
        Column("bmAttributes", after=one_of(_CLOCK_TYPES)),
        _controls(1, "Clock Frequency", "Clock Validity"),
        Column("bAssocTerminal"),
        text("iClockSource"),
    ),
    11: _control(
        Column("bClockID"),
        Column("bNrInPins"),
        Repeat((Column("baCSourceID({})"),), "bNrInPins"),
        _controls(1, "Clock Selector"),
        text("iClockSelector"),
    ),
    12: _control(
        Column("bClockID"),
        Column("bCSourceID"),
        _controls(1, "Clock Numerator", "Clock Denominator"),
        text("iClockMultiplier"),
    ),
    13: _control(
        Column("bUnitID"),
        Column("bSourceID"),
        Column("bCSourceInID"),
        Column("bCSourceOutID"),
        text("iSRC"),
    ),
}

#: bmFormats of type I (Audio Data Formats 2.0, A.2.1); the other types give the bits other meanings.
_FORMATS_I = bits("PCM", "PCM8", "IEEE_FLOAT", "ALAW", "MULAW")


def _formats(below: bool) -> Column:
    return Column("bmFormats", 4, hexadecimal, below=_FORMATS_I if below else None, width=_WIDE)


_STREAMING = {
    1: streaming(
        Column("bTerminalLink"),
        _controls(1, "Active Alternate Setting", "Valid Alternate Setting"),
        Column("bFormatType"),
        Choose("bFormatType", {1: (_formats(True),)}, (_formats(False),)),
        *_CHANNELS,
    ),
    2: format_type(
        (Column("bSubslotSize"), Column("bBitResolution")),
        (Column("wMaxBitRate", 2), Column("wSlotsPerFrame", 2)),
        (Column("bSubslotSize"), Column("bBitResolution")),
        (),
    ),
    3: streaming(Rest("format specific: ")),
}

_ENDPOINT = endpoint(
    Column("bmAttributes", 1, hexadecimal, below=bits(*(None,) * 7, "MaxPacketsOnly")),
    _controls(1, "Pitch", "Data Overrun", "Data Underrun"),
    *LOCK_DELAY,
)

LAYOUTS: Layouts = layouts(_PROTOCOL, _CONTROL, _control(OTHERS), _STREAMING, _ENDPOINT)
