"""Compiles the programs in C."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import BenchmarkError

SOURCES = Path(__file__).parent / "programs"
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror")


@dataclass(frozen=True)
class Programs:
    """The compiled programs."""

    device: Path
    host: Path


def build(folder: Path) -> Programs:
    """Compiles what is older than its source.

    Raises:
        BenchmarkError: The compiler is missing, or does not take it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    device = _compile(SOURCES / "device.c", folder / "device", "-laio")
    return Programs(device, _compile(SOURCES / "host.c", folder / "host"))


def build_reads(folder: Path) -> Path:
    """Compiles the program that reads a file, if it is older than its source; errors as :func:`build`."""
    folder.mkdir(parents=True, exist_ok=True)
    return _compile(SOURCES / "reads.c", folder / "reads", "-laio")


def build_native(folder: Path) -> Path:
    """Compiles the program that needs no gadget, if it is older than its source; errors as :func:`build`."""
    folder.mkdir(parents=True, exist_ok=True)
    return _compile(SOURCES / "native.c", folder / "native", "-laio")


def _compile(source: Path, target: Path, *libraries: str) -> Path:
    if target.exists() and target.stat().st_mtime > source.stat().st_mtime:
        return target
    command = ["gcc", *FLAGS, "-o", str(target), str(source), *libraries]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BenchmarkError(f"cannot compile {source.name}: {error}") from error
    if done.returncode:
        raise BenchmarkError(f"cannot compile {source.name} (libaio.h is in libaio-dev):\n{done.stderr}")
    return target
