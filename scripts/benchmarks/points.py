"""What ``scripts/bench scale`` measures: points along axes, each beside the point where all of them begin. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

KIB = 1024


@dataclass(frozen=True)
class Point:
    """One kind of process.

    Attributes:
        pairs: Pairs of bulk endpoints of each device.
        gadgets: Devices in the process, each on a controller of its own.
        depth: Transfers in flight, each way.
        size: Bytes of a transfer.
    """

    pairs: int = 1
    gadgets: int = 1
    depth: int = 16
    size: int = KIB

    @property
    def transfer_size(self) -> int:
        """What the endpoints are declared with: at SuperSpeed a transfer of less than a packet is a short one."""
        return max(self.size, KIB)


#: Each axis: the values of one attribute, the others as they are in the first point.
AXES = {
    "pairs": (1, 2, 3, 4),
    "gadgets": (1, 2, 4, 8),
    "depth": (1, 2, 4, 8, 16, 32, 64),
    "size": (512, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, 1024 * KIB),
}
TITLES = {
    "pairs": "pairs of endpoints of a device",
    "gadgets": "gadgets in one process",
    "depth": "transfers in flight each way",
    "size": "bytes of a transfer",
}
MOST_GADGETS = max(AXES["gadgets"])


def point(axis: str, value: int, base: Point) -> Point:
    """The point at this value of an axis."""
    return replace(base, **{axis: value})


def name(axis: str, value: int) -> str:
    """What a cell of it is called."""
    return f"{axis}={value}"


def parse(text: str) -> tuple[str, int]:
    """The axis and the value of a cell."""
    axis, _, value = text.partition("=")
    return axis, int(value)
