"""The descriptors of audio 1.0 (Audio 1.0, 4; Audio Data Formats 1.0, 2), and what audio 2.0 shares with it."""

from __future__ import annotations

from gadget.protocol.constants import ClassCode, DescriptorType
from gadget.protocol.describe.audio_terminals import TERMINALS
from gadget.protocol.describe.cells import (
    bits,
    hexadecimal,
    in_brackets,
    one_of,
    unit,
    version,
)
from gadget.protocol.describe.columns import Choose, Column, Part, Repeat, Rest
from gadget.protocol.describe.layouts import Key, Layout, Layouts, subtypes
from gadget.protocol.describe.standard import head, text

CONTROL, STREAMING = 1, 2
_PROTOCOL = 0x00

TERMINAL_TYPE = Column("wTerminalType", 2, hexadecimal, one_of(TERMINALS))

#: bDescriptorSubtype of an AudioStreaming interface (Audio 1.0, Table A-6).
STREAMING_SUBTYPES = {1: "AS_GENERAL", 2: "FORMAT_TYPE", 3: "FORMAT_SPECIFIC"}
FORMAT_TYPES = {1: "FORMAT_TYPE_I", 2: "FORMAT_TYPE_II", 3: "FORMAT_TYPE_III", 4: "FORMAT_TYPE_IV"}

#: The inputs of a unit, and a descriptor whose subtype has no table.
SOURCES: tuple[Part, ...] = (Column("bNrInPins"), Repeat((Column("baSourceID({})"),), "bNrInPins"))
OTHERS = Rest("Invalid desc subtype: ")

#: Audio 1.0, Table A-5.
_CONTROL_SUBTYPES = {
    1: "HEADER",
    2: "INPUT_TERMINAL",
    3: "OUTPUT_TERMINAL",
    4: "MIXER_UNIT",
    5: "SELECTOR_UNIT",
    6: "FEATURE_UNIT",
    7: "PROCESSING_UNIT",
    8: "EXTENSION_UNIT",
}

_CHANNELS: tuple[Part, ...] = (
    Column("bNrChannels"),
    Column(
        "wChannelConfig",
        2,
        hexadecimal,
        below=bits(
            "Left Front (L)",
            "Right Front (R)",
            "Center Front (C)",
            "Low Frequency Enhancement (LFE)",
            "Left Surround (LS)",
            "Right Surround (RS)",
            "Left of Center (LC)",
            "Right of Center (RC)",
            "Surround (S)",
            "Side Left (SL)",
            "Side Right (SR)",
            "Top (T)",
        ),
    ),
    text("iChannelNames"),
)

#: Audio 1.0, Table 4-7, bmaControls.
FEATURES = (
    "Mute",
    "Volume",
    "Bass",
    "Mid",
    "Treble",
    "Graphic Equalizer",
    "Automatic Gain",
    "Delay",
    "Bass Boost",
    "Loudness",
    "Input gain",
    "Input gain pad",
    "Phase inverter",
)

_CONTROL_BYTES: tuple[Part, ...] = (
    Column("bControlSize"),
    Repeat((Column("bmControls({})", 1, hexadecimal),), "bControlSize"),
)

_PROCESSES = {
    0: "Undefined",
    1: "Up/Down-mix",
    2: "Dolby Prologic",
    3: "3D Stereo Extender",
    4: "Reverberation",
    5: "Chorus",
    6: "Dyn Range Comp",
}
_MODES: tuple[Part, ...] = (Column("bNrModes"), Repeat((Column("waModes({})", 2, hexadecimal),), "bNrModes"))


def _control(*parts: Part) -> Layout:
    return Layout("AudioControl Interface Descriptor:", (*head(_CONTROL_SUBTYPES), *parts))


_CONTROL = {
    1: _control(
        Column("bcdADC", 2, version),
        Column("wTotalLength", 2, hexadecimal),
        Column("bInCollection"),
        Repeat((Column("baInterfaceNr({})"),), "bInCollection"),
    ),
    2: _control(
        Column("bTerminalID"),
        TERMINAL_TYPE,
        Column("bAssocTerminal"),
        *_CHANNELS,
        text("iTerminal"),
    ),
    3: _control(
        Column("bTerminalID"),
        TERMINAL_TYPE,
        Column("bAssocTerminal"),
        Column("bSourceID"),
        text("iTerminal"),
    ),
    # How many controls a mixer has depends on its sources' channels; they reach to the last byte but one.
    4: _control(
        Column("bUnitID"),
        *SOURCES,
        *_CHANNELS,
        Repeat((Column("bmControls({})", 1, hexadecimal),), leave=1),
        text("iMixer"),
    ),
    5: _control(Column("bUnitID"), *SOURCES, text("iSelector")),
    6: _control(
        Column("bUnitID"),
        Column("bSourceID"),
        Column("bControlSize"),
        Repeat(
            (
                Column(
                    "bmaControls({})",
                    "bControlSize",
                    hexadecimal,
                    below=bits(*(f"{feature} Control" for feature in FEATURES)),
                ),
            ),
            leave=1,
        ),
        text("iFeature"),
    ),
    7: _control(
        Column("bUnitID"),
        Column("wProcessType", 2, hexadecimal, one_of(_PROCESSES)),
        *SOURCES,
        *_CHANNELS,
        *_CONTROL_BYTES,
        text("iProcessing"),
        Choose("wProcessType", {1: _MODES, 2: _MODES}),
    ),
    8: _control(
        Column("bUnitID"),
        Column("wExtensionCode", 2, hexadecimal),
        *SOURCES,
        *_CHANNELS,
        *_CONTROL_BYTES,
        text("iExtension"),
    ),
}

#: wFormatTag (Audio Data Formats 1.0, A.1).
_FORMATS = {
    0x0000: "TYPE_I_UNDEFINED",
    0x0001: "PCM",
    0x0002: "PCM8",
    0x0003: "IEEE_FLOAT",
    0x0004: "ALAW",
    0x0005: "MULAW",
    0x1000: "TYPE_II_UNDEFINED",
    0x1001: "MPEG",
    0x1002: "AC-3",
    0x2000: "TYPE_III_UNDEFINED",
    0x2001: "IEC1937_AC-3",
    0x2002: "IEC1937_MPEG-1_Layer1",
    0x2003: "IEC1937_MPEG-Layer2/3/NOEXT",
    0x2004: "IEC1937_MPEG-2_EXT",
    0x2005: "IEC1937_MPEG-2_Layer1_LS",
    0x2006: "IEC1937_MPEG-2_Layer2/3_LS",
}

_FREQUENCIES: tuple[Part, ...] = (
    Column("bSamFreqType", after=one_of({0: "Continuous"}, "Discrete")),
    Choose(
        "bSamFreqType",
        {0: (Column("tLowerSamFreq", 3), Column("tUpperSamFreq", 3))},
        (Repeat((Column("tSamFreq[{:2}]", 3),), "bSamFreqType"),),
    ),
)
_SAMPLES = (Column("bNrChannels"), Column("bSubframeSize"), Column("bBitResolution"), *_FREQUENCIES)
_FRAMES = (Column("wMaxBitRate", 2), Column("wSamplesPerFrame", 2), *_FREQUENCIES)


def streaming(*parts: Part) -> Layout:
    """A descriptor of an AudioStreaming interface."""
    return Layout("AudioStreaming Interface Descriptor:", (*head(STREAMING_SUBTYPES), *parts))


def format_type(*options: tuple[Part, ...]) -> Layout:
    """A format type descriptor; ``options`` are those of types I, II, ..."""
    return streaming(
        Column("bFormatType", after=in_brackets(FORMAT_TYPES)),
        Choose("bFormatType", dict(enumerate(options, 1)), (Rest("Invalid desc format type: "),)),
    )


_STREAMING = {
    1: streaming(
        Column("bTerminalLink"),
        Column("bDelay", after=unit("frames")),
        Column("wFormatTag", 2, hexadecimal, one_of(_FORMATS, "undefined")),
    ),
    2: format_type(_SAMPLES, _FRAMES, _SAMPLES),
    3: streaming(
        Column("wFormatTag", 2, after=one_of(_FORMATS, "undefined")),
        Rest("format specific: "),
    ),
}

LOCK_DELAY: tuple[Part, ...] = (
    Column("bLockDelayUnits", after=one_of({0: "Undefined", 1: "Milliseconds", 2: "Decoded PCM samples"})),
    Column("wLockDelay", 2, hexadecimal),
)


def endpoint(*parts: Part) -> Layout:
    """A descriptor of a streaming endpoint (Audio 1.0, 4.6.1.2)."""
    return Layout("AudioStreaming Endpoint Descriptor:", (*head({1: "EP_GENERAL"}), *parts))


_ENDPOINT = endpoint(
    Column(
        "bmAttributes",
        1,
        hexadecimal,
        below=bits("Sampling Frequency", "Pitch", *(None,) * 5, "MaxPacketsOnly"),
    ),
    *LOCK_DELAY,
)


def layouts(
    protocol: int, control: dict[int, Layout], others: Layout, stream: dict[int, Layout], end: Layout
) -> Layouts:
    """Puts the tables of one version of the audio class where they belong."""
    in_control = Key(ClassCode.AUDIO, CONTROL, protocol, DescriptorType.CLASS_SPECIFIC_INTERFACE)
    in_stream = in_control._replace(subclass=STREAMING)
    return {
        **subtypes(in_control, control),
        in_control: others,
        **subtypes(in_stream, stream),
        in_stream: streaming(OTHERS),
        in_stream._replace(descriptor_type=DescriptorType.CLASS_SPECIFIC_ENDPOINT): end,
    }


LAYOUTS: Layouts = layouts(_PROTOCOL, _CONTROL, _control(OTHERS), _STREAMING, _ENDPOINT)
