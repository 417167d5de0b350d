"""What can be done to a tree in configfs, one value a step.

Nothing here touches the kernel. Paths are relative: in a plan to the folder of all gadgets, and where a function says
what it needs to that function's own; :func:`below` makes the one of the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePosixPath


@dataclass(frozen=True, slots=True)
class MakeDirectory:
    """Makes one folder; the kernel fills it with attributes and with folders of its own."""

    path: PurePosixPath

    def __str__(self) -> str:
        return f"mkdir {self.path}"


@dataclass(frozen=True, slots=True)
class WriteAttribute:
    """Writes an attribute that the kernel made, in one call."""

    path: PurePosixPath
    value: bytes

    def __str__(self) -> str:
        text = self.value.decode(errors="backslashreplace").rstrip("\n")
        shown = text if text.isprintable() else f"{len(self.value)} bytes, {self.value[:16].hex(' ')}"
        return f"write {self.path} = {shown}"


@dataclass(frozen=True, slots=True)
class MakeLink:
    """Makes a symbolic link; ``target`` is relative to the same folder as ``path``, never to ``path`` itself."""

    path: PurePosixPath
    target: PurePosixPath

    def __str__(self) -> str:
        return f"link {self.path} -> {self.target}"


@dataclass(frozen=True, slots=True)
class RemoveLink:
    """Removes a symbolic link."""

    path: PurePosixPath

    def __str__(self) -> str:
        return f"unlink {self.path}"


@dataclass(frozen=True, slots=True)
class RemoveDirectory:
    """Removes a folder; its attributes go with it.

    Attributes:
        path: The folder.
        perhaps_default: The kernel may have made it together with its parent, and then keeps it until that goes.
    """

    path: PurePosixPath
    perhaps_default: bool = False

    def __str__(self) -> str:
        return f"rmdir {self.path}"


Step = MakeDirectory | WriteAttribute | MakeLink
UndoStep = RemoveLink | RemoveDirectory


@dataclass(frozen=True, slots=True)
class Entry:
    """A folder or a symbolic link that was found in a tree; attributes are not listed."""

    path: PurePosixPath
    is_link: bool = False


def below(folder: PurePosixPath, step: Step) -> Step:
    """The same step for a path that was relative to a folder."""
    if isinstance(step, MakeLink):
        return MakeLink(folder / step.path, folder / step.target)
    return replace(step, path=folder / step.path)
