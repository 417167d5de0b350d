"""The files that ``scripts/bench aio`` reads: each block is full of its own number."""

from __future__ import annotations

import os
import random
import struct
from array import array
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import BenchmarkError
from benchmarks.programs.reads import BLOCK


@dataclass(frozen=True)
class Files:
    """What is read, and where.

    Attributes:
        cached: A file that the page cache has.
        direct: One that it has not.
        offsets: Where the blocks are to be read from, in which order.
    """

    cached: Path
    direct: Path
    offsets: Path

    def of(self, mode: str) -> Path:
        """The file that is read in this mode."""
        return self.cached if mode == "cached" else self.direct


def content(blocks: int) -> bytes:
    """The content of a file of so many blocks."""
    return b"".join(struct.pack("=Q", number) * (BLOCK // 8) for number in range(blocks))


def order(blocks: int, seed: int = 0) -> array[int]:
    """The offset of each block once, in random order."""
    offsets = [number * BLOCK for number in range(blocks)]
    random.Random(seed).shuffle(offsets)
    return array("Q", offsets)


def write(folder: Path, size: int) -> Files:
    """Writes them, with so many bytes each.

    Raises:
        BenchmarkError: The file system has no O_DIRECT.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = Files(folder / "cached", folder / "direct", folder / "offsets")
    files.offsets.write_bytes(order(size // BLOCK))
    for path in (files.cached, files.direct):
        with path.open("wb") as file:
            file.write(content(size // BLOCK))
            os.fsync(file.fileno())
            if path == files.direct:  # Nothing of it is in the page cache then, for the kernel to look after.
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    try:
        os.close(os.open(files.direct, os.O_RDONLY | os.O_DIRECT))
    except OSError as error:
        raise BenchmarkError(
            f"{folder}: its file system has no O_DIRECT ({error}); choose another one: --folder"
        ) from error
    return files


def remove(files: Files) -> None:
    """Removes them."""
    for path in (files.cached, files.direct, files.offsets):
        path.unlink()


def where(folder: Path) -> str:
    """The file system of a folder, in words: its kind, and on what."""
    best = ("", "an unknown file system")
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        point = before.split()[4]
        kind, source = after.split()[:2]
        if folder.resolve().is_relative_to(point) and len(point) >= len(best[0]):
            best = (point, f"{kind} on {source}")
    return best[1]
