"""What a run has seen, as values and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.host import Slice


@dataclass(frozen=True)
class Round:
    """One slice of each, one right after the other.

    Attributes:
        competitor: What the competitor did in its slice.
        floor: What the device in C did in its own.
        control: What another device in C did, which is up as well; None where there is none.
    """

    competitor: Slice
    floor: Slice
    control: Slice | None = None


@dataclass(frozen=True)
class Cell:
    """One competitor doing one thing.

    Attributes:
        device: Its name in ``devices.DEVICES``.
        mode: What it did.
        size: Bytes of a transfer.
        rounds: What was seen.
        error: Why there is nothing to see.
        floor: The name of what it was measured beside.
    """

    device: str
    mode: str
    size: int
    rounds: Sequence[Round] = field(default_factory=list)
    error: str = ""
    floor: str = "c"


@dataclass(frozen=True)
class Results:
    """A whole run.

    Attributes:
        machine: What it ran on, in words by name.
        command: The command line.
        cells: What was measured.
    """

    machine: Mapping[str, str]
    command: str
    cells: list[Cell] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Writes all of it as JSON, whole or not at all."""
        draft = path.with_suffix(".tmp")
        draft.write_text(json.dumps(asdict(self), indent=1) + "\n")
        draft.replace(path)


def load(path: Path) -> Results:
    """Reads what :meth:`Results.save` has written."""
    data = json.loads(path.read_text())
    return Results(data["machine"], data["command"], [_cell(each) for each in data["cells"]])


def _cell(data: dict[str, Any]) -> Cell:
    return Cell(**{**data, "rounds": [_round(each) for each in data["rounds"]]})


def _round(data: dict[str, Any]) -> Round:
    control = data["control"]
    return Round(Slice(**data["competitor"]), Slice(**data["floor"]), None if control is None else Slice(**control))
