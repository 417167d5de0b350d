"""A function's folder in memory: what steps have written, made and linked in it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from gadget.configfs.steps import MakeDirectory, MakeLink, Step, WriteAttribute


class Folder:
    """What the steps have left."""

    def __init__(self, steps: Iterable[Step] = (), **attributes: bytes) -> None:
        self.attributes: dict[str, bytes] = dict(attributes)
        self.made: list[str] = []
        self.links: dict[str, str] = {}
        for step in steps:
            match step:
                case WriteAttribute(path, value):
                    self.attributes[str(path)] = value
                case MakeDirectory(path):
                    self.made.append(str(path))
                case MakeLink(path, target):
                    self.links[str(path)] = str(target)

    def read(self, attribute: str) -> bytes | None:
        return self.attributes.get(attribute)

    def folders(self, folder: str) -> list[str]:
        return [PurePosixPath(path).name for path in self.made if PurePosixPath(path).parent == PurePosixPath(folder)]
