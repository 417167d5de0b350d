"""Serial ports of the host's, opened with pyserial, and what moves through them."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import serial

from gadget.testing import ServedGadget, wait_for
from tests.usb.terminals import load

#: pid.codes has these for tests: nobody's driver knows them.
VENDOR, PRODUCT = 0x1209, 0x0001
EVERY_BYTE = bytes(range(256))
MIB = 1 << 20
TIMEOUT = 60.0


def bind_cp210x() -> None:
    """The host's driver takes every vendor-specific interface of our device."""
    load("cp210x")
    file, ours = Path("/sys/bus/usb-serial/drivers/cp210x/new_id"), f"{VENDOR:04x} {PRODUCT:04x} ff"
    if ours not in file.read_text():
        file.write_text(ours)


def node(served: ServedGadget, pattern: str) -> Path:
    """The host's terminal of an interface: ``*:1.0/ttyUSB*``, ``*:1.0/tty/ttyACM*``."""
    wait_for(lambda: list(served.device.path.glob(pattern)), f"the host's {pattern}")
    (found,) = served.device.path.glob(pattern)
    return Path("/dev", found.name)


@contextmanager
def opened(path: Path, **settings: Any) -> Iterator[serial.Serial]:
    """The port as a program on the host has it."""
    port = serial.Serial(str(path), **{"baudrate": 115200, "timeout": TIMEOUT, "write_timeout": TIMEOUT} | settings)
    try:
        yield port
    finally:
        port.close()


def noise(seed: int, size: int = MIB) -> bytes:
    """Bytes that are the same each time."""
    return random.Random(seed).randbytes(size)


def digest(data: bytes) -> str:
    """What two sides compare: in a failure it is shorter than the data."""
    return f"{len(data)} bytes, {hashlib.sha256(data).hexdigest()}"


@contextmanager
def beside(function: Callable[..., object], *arguments: object) -> Iterator[None]:
    """Runs something in a thread beside the body, and raises what went wrong in it."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            function(*arguments)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join(TIMEOUT)
    assert not thread.is_alive()
    if errors:
        raise errors[0]
