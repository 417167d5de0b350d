"""What ``scripts/bench aio`` measures: reads of a file in its ways, so many at a time. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: How the file is read: through the page cache, which has all of it, or past it with O_DIRECT.
MODES = ("cached", "direct")
DEPTHS = (1, 32, 256)
TITLES = {"cached": "from the page cache", "direct": "O_DIRECT"}


@dataclass(frozen=True, order=True)
class Case:
    """One way to read a file.

    Attributes:
        mode: One of :data:`MODES`.
        depth: Reads in flight at once.
    """

    mode: str
    depth: int

    def __str__(self) -> str:
        return f"{self.mode}, depth {self.depth}"

    @property
    def name(self) -> str:
        """The mode of a cell of it."""
        return f"{self.mode}-{self.depth}"


def parse(name: str) -> Case:
    """The case with this name."""
    mode, _, depth = name.partition("-")
    return Case(mode, int(depth))


def cases(modes: Sequence[str], depths: Sequence[int]) -> list[Case]:
    """All of them, one after the other."""
    return [Case(mode, depth) for mode in modes for depth in depths]
