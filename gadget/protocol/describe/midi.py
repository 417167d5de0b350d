"""The descriptors of MIDI streaming interfaces (MIDI 1.0, 6)."""

from __future__ import annotations

from gadget.protocol.constants import ClassCode, DescriptorType
from gadget.protocol.describe.cells import bits, hexadecimal, one_of, version
from gadget.protocol.describe.columns import Column, Part, Repeat, Rest
from gadget.protocol.describe.layouts import Key, Layout, Layouts, subtypes
from gadget.protocol.describe.standard import head, text

_SUBTYPES = {1: "HEADER", 2: "MIDI_IN_JACK", 3: "MIDI_OUT_JACK", 4: "ELEMENT"}

_JACK: tuple[Part, ...] = (
    Column("bJackType", after=one_of({1: "Embedded", 2: "External"}, "Invalid")),
    Column("bJackID"),
)
_INPUTS: tuple[Part, ...] = (
    Column("bNrInputPins"),
    Repeat((Column("baSourceID({:2})"), Column("BaSourcePin({:2})")), "bNrInputPins"),
)

#: bmElementCaps (MIDI 1.0, Table 6-5).
_ELEMENT = bits(
    "Undefined",
    "MIDI Clock",
    "MTC (MIDI Time Code)",
    "MMC (MIDI Machine Control)",
    "GM1 (General MIDI v.1)",
    "GM2 (General MIDI v.2)",
    "GS MIDI Extension",
    "XG MIDI Extension",
    "EFX",
    "MIDI Patch Bay",
    "DLS1 (Downloadable Sounds Level 1)",
    "DLS2 (Downloadable Sounds Level 2)",
)


def _interface(*parts: Part) -> Layout:
    return Layout("MIDIStreaming Interface Descriptor:", (*head(_SUBTYPES), *parts))


_INTERFACE = {
    1: _interface(Column("bcdMSC", 2, version), Column("wTotalLength", 2, hexadecimal)),
    2: _interface(*_JACK, text("iJack")),
    3: _interface(*_JACK, *_INPUTS, text("iJack")),
    4: _interface(
        Column("bElementID"),
        *_INPUTS,
        Column("bNrOutputPins"),
        Column("bInTerminalLink"),
        Column("bOutTerminalLink"),
        Column("bElCapsSize"),
        Column("bmElementCaps", "bElCapsSize", lambda cell: f"0x{cell.value:08x}", below=_ELEMENT),
        text("iElement"),
    ),
}

_ENDPOINT = Layout(
    "MIDIStreaming Endpoint Descriptor:",
    (
        *head({1: "GENERAL"}),
        Column("bNumEmbMIDIJack"),
        Repeat((Column("baAssocJackID({:2})"),), "bNumEmbMIDIJack"),
    ),
)

_WHERE = Key(ClassCode.AUDIO, 3, None, DescriptorType.CLASS_SPECIFIC_INTERFACE)

LAYOUTS: Layouts = {
    **subtypes(_WHERE, _INTERFACE),
    _WHERE: _interface(Rest("Invalid desc subtype: ")),
    _WHERE._replace(descriptor_type=DescriptorType.CLASS_SPECIFIC_ENDPOINT): _ENDPOINT,
}
