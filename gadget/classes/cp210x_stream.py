"""What a CP210x puts into the stream to the host: characters as the line has them, and events between them.

A host that wants events in the stream names an escape character (EMBED_EVENTS; ``cp210x.c``, cp210x_process_char has
the other end of it). Where the escape is 0, it wants none.
"""

from __future__ import annotations

from gadget.classes.cp210x_values import (
    Embedded,
    FlowControl,
    LineControl,
    LineError,
    ModemLine,
    Replace,
    SpecialCharacters,
)

#: The line status as the UART has it (``cp210x.c``, CP210X_LSR_*).
_LINE_STATUS = {
    LineError.HARDWARE_OVERRUN: 0x02,
    LineError.QUEUE_OVERRUN: 0x02,
    LineError.PARITY: 0x04,
    LineError.FRAMING: 0x08,
    LineError.BREAK: 0x10,
}
#: What has changed, in the byte of the modem status that also has the lines.
_CHANGED = {ModemLine.CTS: 0x01, ModemLine.DSR: 0x02, ModemLine.DCD: 0x08}
_RI_TRAILING_EDGE = 0x04

_MASKED = {bits: bytes(byte & (1 << bits) - 1 for byte in range(256)) for bits in (5, 6, 7)}


def framed(data: bytes, line: LineControl) -> bytes:
    """A character has as many bits as the line says."""
    return data if line.data_bits == 8 else data.translate(_MASKED[line.data_bits])


def escaped(data: bytes, escape: int) -> bytes:
    """The data, where an escape in it is told from one that begins an event."""
    if not escape:
        return data
    begin = bytes([escape])
    return data.replace(begin, begin + bytes([Embedded.ESCAPE]))


def modem_status(before: ModemLine, after: ModemLine, escape: int) -> bytes:
    """That the lines from outside have changed, for a host that wants to be told in the stream."""
    if not escape or before == after:
        return b""
    status = int(after)
    for line, bit in _CHANGED.items():
        status |= bit if (before ^ after) & line else 0
    if before & ~after & ModemLine.RI:
        status |= _RI_TRAILING_EDGE
    return bytes([escape, Embedded.MODEM_STATUS, status])


def line_status(errors: LineError, character: int | None, escape: int) -> bytes:
    """That something went wrong on the line, together with what came in all the same."""
    status = 0
    for error, bit in _LINE_STATUS.items():
        status |= bit if errors & error else 0
    if character is None:
        return bytes([escape, Embedded.LINE_STATUS, status])
    return bytes([escape, Embedded.LINE_STATUS_AND_DATA, status, character])


def replaced(errors: LineError, character: int | None, flow: FlowControl, characters: SpecialCharacters) -> bytes:
    """What stands for a character with errors, for a host that is told of them when it asks."""
    if errors & LineError.BREAK and flow.replace & Replace.BREAK_CHARACTER:
        return bytes([characters.break_])
    if character is None:
        return b""
    if errors & LineError.PARITY and flow.replace & Replace.ERROR_CHARACTER:
        return bytes([characters.error])
    return bytes([character])
