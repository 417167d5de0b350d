"""What ``lsusb -v`` of usbutils 014 prints, made comparable with our own text.

Everything that is not compared line by line stands here, each with its reason; all else has to be equal.
"""

from __future__ import annotations

from collections.abc import Iterator

#: Fields that lsusb calls by another name than their specifications do.
SPELLINGS = {
    "    bU2DevExitLat": "    wU2DevExitLat",  # USB 3.2, Table 9-16: it has two bytes
    "    nMaxSlotIndex": "    bMaxSlotIndex",  # CCID 1.10, 5.1
    "    dwMaxiumumClock": "    dwMaximumClock ",  # CCID 1.10, 5.1
}
#: MIDI 1.0, Table 6-2: the version in the header of a MIDI interface is no version of an audio device.
MIDI, MIDI_VERSION = "MIDIStreaming Interface Descriptor:", ("bcdADC", "bcdMSC")


def comparable(text: str) -> list[str]:
    """The lines of ``lsusb -v`` that ours have to be equal to."""
    lines = [line.rstrip() for line in text.splitlines()]  # It leaves blanks where it has no name for a number.
    lines = [line for line in lines if line and not line.startswith("Bus ")]  # An address is no descriptor.
    return [_spelled(line, title) for title, line in _titled(_without_live_parts(lines))]


def _without_live_parts(lines: list[str]) -> Iterator[str]:
    """Leaves out what lsusb asks the device for, and is no part of its descriptors: status and HID reports."""
    skipping = None
    for line in lines:
        depth = len(line) - len(line.lstrip())
        if skipping is not None and depth > skipping:
            continue
        skipping = None
        if line.startswith("Device Status:"):
            skipping = depth
        elif line.strip().startswith("Report Descriptor: (length is"):
            # Ours says instead that it is not among the descriptors, as lsusb does where it cannot read it.
            skipping = depth
            yield f"{' ' * (depth - 1)}Report Descriptors:"
            yield f"{' ' * (depth + 1)}** UNAVAILABLE **"
        else:
            yield line


def _titled(lines: Iterator[str]) -> Iterator[tuple[str, str]]:
    title = ""
    for line in lines:
        title = line.strip() if line.endswith(":") else title
        yield title, line


def _spelled(line: str, title: str) -> str:
    if title == MIDI:
        line = line.replace(*MIDI_VERSION)
    for theirs, ours in SPELLINGS.items():
        line = line.replace(theirs, ours)
    return line
