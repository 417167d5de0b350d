"""What goes over the buses, as the kernel's usbmon tells it (``Documentation/usb/usbmon.rst``), and saved as pcapng.

A :class:`Capture` lets the kernel's ring collect, which costs this process nothing, until somebody asks. The ring
drops what comes when it is full: a test that moves much, and wants all of it, calls :meth:`Capture.start`.
"""

from __future__ import annotations

import array
import errno
import fcntl
import mmap
import os
import select
import struct
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from gadget.errors import ClosedError, KernelError, MissingModuleError, NotPermittedError, UsageError
from gadget.testing.observe.capture_file import write_pcapng
from gadget.testing.observe.usbmon_event import FILLER, HEADER, Event, parse_event
from gadget.testing.waiting import PATIENCE, StillWaitingError

#: Bytes of the kernel's ring to ask for, in turn: BUFF_MAX of ``drivers/usb/mon/mon_bin.c``, of new kernels and of old.
RING_SIZES = (64 << 20, 1200 << 10)

_SET_RING_SIZE = 0x9204  # MON_IOCT_RING_SIZE
_GET_RING_SIZE = 0x9205  # MON_IOCQ_RING_SIZE
_FLUSH = 0x9208  # MON_IOCH_MFLUSH
# These two carry the size of their structure in the number, as include/uapi/asm-generic/ioctl.h builds it.
_STATISTICS = 2 << 30 | struct.calcsize("@II") << 16 | 0x9203  # MON_IOCG_STATS
_MFETCH = 3 << 30 | struct.calcsize("@PII") << 16 | 0x9207  # MON_IOCX_MFETCH
_EVERYTHING = 2**31 - 1
_BATCH = 256


class Capture:
    """A reader of usbmon with a ring of its own. It sees what happens from its creation, or :meth:`flush`, on.

    Args:
        bus: The number of a bus, 0 for all of them.
        ring_size: Bytes of the kernel's ring; the most that the kernel takes by default.

    Raises:
        NotPermittedError: It takes root.
        MissingModuleError: The kernel has no usbmon.
        UsageError: There is no such bus.
    """

    def __init__(self, bus: int = 0, ring_size: int | None = None) -> None:
        self.bus = bus
        self._changed = threading.Condition()
        self._packets: list[bytes] = []
        self._events: list[Event] = []
        self._dropped = 0
        self._reader: threading.Thread | None = None
        self._descriptor: int | None = _open(bus)
        try:
            self._ring = _map_ring(self._descriptor, RING_SIZES if ring_size is None else (ring_size,))
            self._offsets = array.array("I", bytes(4 * _BATCH))
            # Only what is written after the mapping is sure to lie in the ring in one piece.
            self.flush()
        except BaseException:
            os.close(self._descriptor)
            self._descriptor = None
            raise

    @property
    def events(self) -> list[Event]:
        """All that happened since :meth:`flush`, in order."""
        with self._changed:
            self._fetch()
            self._events += [parse_event(packet) for packet in self._packets[len(self._events) :]]
            return list(self._events)

    @property
    def dropped(self) -> int:
        """How many events are missing because the ring was full."""
        with self._changed:
            self._dropped += self._take_dropped()
            return self._dropped

    def drain(self) -> list[Event]:
        """Takes what is in the ring, without waiting; returns what nobody had taken before."""
        with self._changed:
            known = len(self._packets)
            return self.events[known:]

    def flush(self) -> None:
        """Forgets what has happened so far."""
        with self._changed:
            fcntl.ioctl(self._fileno(), _FLUSH, _EVERYTHING)
            self._take_dropped()
            self._packets, self._events, self._dropped = [], [], 0

    def start(self) -> None:
        """Starts a thread that empties the ring as events come, so that it does not fill up. Idempotent."""
        if self._reader is None:
            self._fileno()
            self._stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._reader = threading.Thread(target=self._read, name="usbmon", daemon=True)
            self._reader.start()

    def stop(self) -> None:
        """Ends that thread; what it has read stays. Idempotent."""
        if self._reader is not None:
            os.eventfd_write(self._stop, 1)
            self._reader.join()
            os.close(self._stop)
            self._reader = None

    def wait_for(self, predicate: Callable[[Event], object], timeout: float = PATIENCE) -> Event:
        """Waits for an event, and returns the first since :meth:`flush` that the predicate is true for.

        Raises:
            StillWaitingError: It did not come in time.
        """
        deadline = time.monotonic() + timeout
        seen = 0
        while True:
            with self._changed:
                left = deadline - time.monotonic()
                events = self.events
                for event in events[seen:]:
                    if predicate(event):
                        return event
                seen = len(events)
                if left <= 0:
                    raise StillWaitingError(f"waited {timeout:g} s for an event of usbmon; none of {seen} was it")
                if self._reader is not None:
                    self._changed.wait(left)
                    continue
            self._poll(left)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes what happened since :meth:`flush` as pcapng, for Wireshark.

        Raises:
            UsageError: python-pcapng is not installed.
        """
        with self._changed:
            self._fetch()
            packets, dropped = list(self._packets), self.dropped
        write_pcapng(path, packets, dropped, f"usbmon{self.bus}")

    def close(self) -> None:
        """Ends it; what it has seen is lost. Idempotent."""
        self.stop()
        if self._descriptor is not None:
            self._ring.close()
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Capture:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)
            self.close()

    def _fileno(self) -> int:
        if self._descriptor is None:
            raise ClosedError("this capture is closed")
        return self._descriptor

    def _read(self) -> None:
        poll = select.poll()
        poll.register(self._fileno(), select.POLLIN)
        poll.register(self._stop, select.POLLIN)
        while True:
            ready = [descriptor for descriptor, _ in poll.poll()]
            with self._changed:
                self._fetch()
                self._changed.notify_all()
            if self._stop in ready:
                return

    def _poll(self, seconds: float) -> None:
        poll = select.poll()
        poll.register(self._fileno(), select.POLLIN)
        poll.poll(seconds * 1000)

    def _fetch(self) -> None:
        while count := self._fetch_batch():
            for offset in self._offsets[:count]:
                if self._ring[offset + 8] != FILLER:
                    (captured,) = struct.unpack_from("=I", self._ring, offset + 36)
                    self._packets.append(self._ring[offset : offset + HEADER.size + captured])
            # Only now may the kernel write there again.
            fcntl.ioctl(self._fileno(), _FLUSH, count)

    def _fetch_batch(self) -> int:
        """Asks where the oldest events lie; returns how many they are."""
        request = bytearray(struct.pack("@PII", self._offsets.buffer_info()[0], _BATCH, 0))
        try:
            fcntl.ioctl(self._fileno(), _MFETCH, request)
        except BlockingIOError:
            return 0
        _, count, _ = struct.unpack("@PII", request)
        return int(count)

    def _take_dropped(self) -> int:
        """What was dropped since this was last asked: the kernel forgets the number when it tells it."""
        statistics = bytearray(8)
        fcntl.ioctl(self._fileno(), _STATISTICS, statistics)
        return int(struct.unpack("@II", statistics)[1])


def _open(bus: int) -> int:
    path = Path(f"/dev/usbmon{bus}")
    if not path.exists():
        reason = _load_usbmon()
        if not path.exists() and Path("/dev/usbmon0").exists():
            raise UsageError(
                f"there is no bus {bus}: 0 is all of them, and /sys/bus/usb/devices/usb* has their numbers"
            )
        if not path.exists():
            raise MissingModuleError(errno.ENOENT, f"this kernel has no usbmon ({reason}): modprobe usbmon", str(path))
    try:
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError as error:
        raise NotPermittedError(
            error.errno or errno.EACCES, "capturing takes root; run it as root (sudo)", str(path)
        ) from error


def _load_usbmon() -> str:
    """Loads the module; returns what modprobe says against it."""
    import shutil
    import subprocess

    modprobe = shutil.which("modprobe", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if modprobe is None:
        return "modprobe is not installed; it is in the package kmod"
    done = subprocess.run([modprobe, "usbmon"], capture_output=True, text=True, errors="replace", check=False)
    return done.stderr.strip() or "no device file appeared"


def _map_ring(descriptor: int, sizes: tuple[int, ...]) -> mmap.mmap:
    """Maps the ring, made as large as the kernel takes; kernels refuse what is too large with EINVAL."""
    for size in sizes:
        try:
            fcntl.ioctl(descriptor, _SET_RING_SIZE, size)
            break
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOMEM):
                raise KernelError(error.errno or errno.EIO, f"usbmon's ring of {size} bytes") from error
    else:
        if len(sizes) == 1:
            raise UsageError(f"usbmon takes no ring of {sizes[0]} bytes: 8 KiB to 1200 KiB fit every kernel")
    return mmap.mmap(descriptor, fcntl.ioctl(descriptor, _GET_RING_SIZE), flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
