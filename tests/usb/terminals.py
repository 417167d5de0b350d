"""Files of drivers, read and written raw, with a limit to every wait."""

from __future__ import annotations

import os
import select
import subprocess
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gadget.errors import GadgetError

TIMEOUT = 30.0


def load(*modules: str) -> None:
    """Loads drivers of the host: nothing does so by itself in the guest, which has no udev."""
    subprocess.run(["modprobe", "--all", *modules], check=True)


@contextmanager
def opened(path: Path, flags: int = os.O_RDWR) -> Iterator[int]:
    """A device file, non-blocking."""
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def terminal(path: Path) -> Iterator[int]:
    """A terminal that passes every byte on as it is."""
    with opened(path) as descriptor:
        tty.setraw(descriptor)
        yield descriptor


def read(descriptor: int, size: int) -> bytes:
    """Reads exactly that many bytes."""
    data = b""
    while len(data) < size:
        if not select.select([descriptor], [], [], TIMEOUT)[0]:
            raise GadgetError(f"{len(data)} of {size} bytes have come in {TIMEOUT:g} s: {data!r}")
        data += os.read(descriptor, size - len(data))
    return data


def write(descriptor: int, data: bytes) -> None:
    """Writes all of it."""
    while data:
        if not select.select([], [descriptor], [], TIMEOUT)[1]:
            raise GadgetError(f"{len(data)} bytes cannot be written in {TIMEOUT:g} s")
        data = data[os.write(descriptor, data) :]
