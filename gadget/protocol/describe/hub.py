"""The hub descriptors (USB 2.0, 11.23.2.1; USB 3.2, 10.15.2.1), which a host asks a hub for by themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from gadget.protocol.describe.cells import Cell, hexadecimal, nothing, unit
from gadget.protocol.describe.columns import Column, Part

_WIDTH = 23

_POWER = ("Ganged power switching", "Per-port power switching", "No power switching (usb 1.0)")
_OVERCURRENT = ("Ganged overcurrent protection", "Per-port overcurrent protection", "No overcurrent protection")


def _characteristics(think_time: bool) -> Callable[[Cell], Iterator[str]]:
    def lines(cell: Cell) -> Iterator[str]:
        value = cell.value
        yield _POWER[min(value & 3, 2)]
        if value & 0x04:
            yield "Compound device"
        yield _OVERCURRENT[min(value >> 3 & 3, 2)]
        if think_time:
            yield f"TT think time {8 + 8 * (value >> 5 & 3)} FS bits"
        if value & 0x80:
            yield "Port indicators"

    return lines


def _port_bytes(values: Mapping[str, int]) -> int:
    """One bit for each port, and bit 0 for the hub itself."""
    return values["nNbrPorts"] // 8 + 1


def _each_byte(cell: Cell) -> str:
    return " ".join(f"0x{byte:02x}" for byte in cell.raw)


def _ports(name: str, size: int | Callable[[Mapping[str, int]], int]) -> Column:
    return Column(name, size, nothing, _each_byte, width=_WIDTH - 5)


def _head(think_time: bool, milliamperes: int) -> tuple[Part, ...]:
    return (
        Column("bLength", width=_WIDTH),
        Column("bDescriptorType", width=_WIDTH),
        Column("nNbrPorts", width=_WIDTH),
        Column("wHubCharacteristic", 2, hexadecimal, below=_characteristics(think_time)),
        Column("bPwrOn2PwrGood", after=unit("* 2 milli seconds"), width=_WIDTH),
        Column(
            "bHubContrCurrent",
            show=lambda cell: str(cell.value * milliamperes),
            after=unit("milli Ampere"),
            width=_WIDTH,
        ),
    )


_HUB: tuple[Part, ...] = (
    *_head(True, 1),
    _ports("DeviceRemovable", _port_bytes),
    _ports("PortPwrCtrlMask", _port_bytes),
)
_SUPERSPEED_HUB: tuple[Part, ...] = (
    *_head(False, 4),
    Column("bHubDecLat", show=lambda cell: f"{cell.value / 10:.1f}", after=unit("micro seconds"), width=_WIDTH),
    Column("wHubDelay", 2, after=unit("nano seconds"), width=_WIDTH),
    _ports("DeviceRemovable", 2),
)

#: By bDescriptorType.
HUB_TABLES: Mapping[int, tuple[str, tuple[Part, ...]]] = {
    0x29: ("Hub Descriptor:", _HUB),
    0x2A: ("Hub Descriptor:", _SUPERSPEED_HUB),
}
