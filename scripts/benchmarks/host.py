"""The host's side: finds a device in sysfs, and has ``programs/host.c`` move data."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks.errors import BenchmarkError
from benchmarks.programs import ANSWER, COUNTS

SYSFS = Path("/sys/bus/usb/devices")
PATIENCE = 60.0
LIBUSB1 = Path("libusb1")


@dataclass(frozen=True)
class Slice:
    """What was seen in one slice of time.

    Attributes:
        transfers: How many completed in it; of an echo those that came back; of control, requests.
        seconds: How long it was.
        total: How many completed in all, with the ramp before it and what was in flight at its end.
        host_cpu: The host program's CPU time in it, in seconds.
        latency: The median of the round trips in seconds; 0 where that was not measured.
        size: Bytes of a transfer.
        device_cpu: The device's CPU time for all of ``total``, in seconds; None if nobody knows.
    """

    transfers: int
    seconds: float
    total: int
    host_cpu: float
    latency: float
    size: int
    device_cpu: float | None = None


def wait_for(condition: Callable[[], bool], what: str, pause: float = 0.005) -> None:
    """Waits until it is true. Nothing tells of what it is asked about, so it is asked again after each pause (seconds).

    Raises:
        BenchmarkError: It did not become true.
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise BenchmarkError(f"waited {PATIENCE:g} s for {what}")
        time.sleep(pause)


def read(path: Path) -> str:
    """Reads an attribute; one that is gone is empty."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def find(serial: str) -> Path | None:
    """The configured device with this serial number, in sysfs."""
    for path in SYSFS.glob("[0-9]*/serial"):
        if read(path) == serial and read(path.parent / "bConfigurationValue"):
            return path.parent
    return None


def wait_configured(serial: str) -> Path:
    """Waits until the host has configured the device with this serial number, and says where it is in sysfs."""
    path = None

    def configured() -> bool:
        nonlocal path
        path = find(serial)
        return path is not None

    wait_for(configured, f"the host to configure the device {serial}")
    assert path is not None
    return path


def wait_gone(serial: str) -> None:
    """Waits until the host has seen it go."""
    wait_for(lambda: find(serial) is None, f"the host to see the device {serial} go")


class Host:
    """The host program, running.

    Args:
        program: The compiled one, or :data:`LIBUSB1` for the one in Python.
    """

    def __init__(self, program: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.programs.host_libusb1"] if program == LIBUSB1 else [program]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.kill()
        self._process.communicate()

    def _call(self, *words: object) -> list[str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        command = " ".join(map(str, words))
        try:
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise BenchmarkError(f"the host program has ended before {command!r}") from None
        status, *answer = self._process.stdout.readline().split() or ["ended"]
        if status != "ok":
            raise BenchmarkError(f"the host program, at {command!r}: {' '.join(answer) or 'it ended'}")
        return answer

    @contextmanager
    def device(self, serial: str) -> Iterator[HostSide]:
        """Waits for the device with this serial number, and opens it for the length of a ``with`` block."""
        path = wait_configured(serial)
        node = f"/dev/bus/usb/{int(read(path / 'busnum')):03}/{int(read(path / 'devnum')):03}"
        wait_for(lambda: Path(node).exists(), node)
        (number,) = self._call("open", node)
        try:
            yield HostSide(self, number)
        finally:
            self._call("close", number)


class HostSide:
    """A device, opened by the host, or several that are used together.

    Args:
        host: The host program.
        number: Its number for each, with commas between them.
    """

    def __init__(self, host: Host, number: str) -> None:
        self._host = host
        self._number = number

    @classmethod
    def together(cls, sides: Sequence[HostSide]) -> HostSide:
        """Several as one: all of them move data in the same slice."""
        return cls(sides[0]._host, ",".join(side._number for side in sides))

    def run(self, mode: str, size: int, queue: int, ramp: float, length: float) -> Slice:
        """Moves data for that long.

        Args:
            mode: ``in``, ``out``, ``stream``, ``echo`` or ``control``.
            size: Bytes of a transfer.
            queue: Transfers to keep queued, each way.
            ramp: Seconds before the slice.
            length: Seconds.

        Raises:
            BenchmarkError: A transfer failed, or moved something else than it should.
        """
        nanoseconds = (int(part * 1e9) for part in (ramp, length))
        answer = self._host._call("run", self._number, mode, size, queue, *nanoseconds)
        transfers, elapsed, total, cpu, latency, size = map(int, answer)
        return Slice(transfers, elapsed / 1e9, total, cpu / 1e9, latency / 1e9, size)

    def enable(self) -> None:
        """Selects the interface's setting anew, at which the device starts over."""
        self._host._call("enable", self._number)

    def answer(self) -> bytes:
        """The constant bytes that the device answers with."""
        return bytes.fromhex(self._host._call("ask", self._number, ANSWER)[0])

    def counts(self) -> tuple[int, int]:
        """How many bytes the device has received and sent, as it says itself; several of them altogether."""
        answers = [self._host._call("ask", number, COUNTS)[0] for number in self._number.split(",")]
        counts = [struct.unpack("<QQ", bytes.fromhex(answer)) for answer in answers]
        return sum(received for received, _ in counts), sum(sent for _, sent in counts)
