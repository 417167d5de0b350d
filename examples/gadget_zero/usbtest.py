"""The kernel's driver usbtest, asked from Python: its cases, what each is given, and the ioctl that runs one.

Nothing here knows what the device is made of. The cases are those of drivers/usb/misc/usbtest.c, and so are the names
of what they are given; the kernel's own program for them is tools/usb/testusb.c.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from dataclasses import dataclass, fields
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Self

DRIVER = Path("/sys/bus/usb/drivers/usbtest")
PATTERN = Path("/sys/module/usbtest/parameters/pattern")

#: MAX_SGLEN: the most entries in a list, and the most transfers in a queue.
MOST_ENTRIES = 128


class Case(IntEnum):
    """The cases by their numbers."""

    says: str
    uses: frozenset[str]

    def __new__(cls, number: int, says: str, uses: str = "") -> Self:
        case = int.__new__(cls, number)
        case._value_ = number
        case.says, case.uses = says, frozenset(uses.split())
        return case

    NOTHING = 0, "does nothing but select the interface's setting anew, as every case does first"
    WRITE = 1, "writes", "length"
    READ = 2, "reads", "length"
    WRITE_VARIED = 3, "writes of varied lengths", "length vary"
    READ_VARIED = 4, "reads of varied lengths", "length vary"
    WRITE_LISTS = 5, "writes from scatter lists", "length sglen"
    READ_LISTS = 6, "reads into scatter lists", "length sglen"
    WRITE_VARIED_LISTS = 7, "writes from scatter lists, entries of varied lengths", "length vary sglen"
    READ_VARIED_LISTS = 8, "reads into scatter lists, entries of varied lengths", "length vary sglen"
    STANDARD_REQUESTS = 9, "standard requests (USB 2.0, chapter 9), one by one"
    QUEUED_REQUESTS = 10, "standard requests, queued, some of them to be refused", "sglen"
    UNLINK_READS = 11, "takes reads back in the middle", "length"
    UNLINK_WRITES = 12, "takes writes back in the middle", "length"
    HALT = 13, "halts both bulk endpoints, and clears that"
    CONTROL_WRITE = 14, "stores data by control requests of varied lengths, and has it given back", "length vary"
    ISO_WRITE = 15, "isochronous writes", "length sglen"
    ISO_READ = 16, "isochronous reads", "length sglen"
    WRITE_ODD = 17, "writes from an odd address", "length"
    READ_ODD = 18, "reads to an odd address", "length"
    WRITE_ODD_MAPPED = 19, "writes from an odd address of memory that is mapped before", "length"
    READ_ODD_MAPPED = 20, "reads to an odd address of memory that is mapped before", "length"
    CONTROL_WRITE_ODD = 21, "as 14, at an odd address", "length vary"
    ISO_WRITE_ODD = 22, "isochronous writes from an odd address", "length sglen"
    ISO_READ_ODD = 23, "isochronous reads to an odd address", "length sglen"
    UNLINK_QUEUED_WRITES = 24, "takes two writes back out of a queue", "length sglen"
    INTERRUPT_WRITE = 25, "interrupt writes", "length"
    INTERRUPT_READ = 26, "interrupt reads", "length"
    QUEUED_WRITES = 27, "writes, queued, as fast as it goes", "length sglen"
    QUEUED_READS = 28, "reads, queued, as fast as it goes", "length sglen"
    TOGGLE = 29, "clears the data toggle between writes"


ISOCHRONOUS = frozenset({Case.ISO_WRITE, Case.ISO_READ, Case.ISO_WRITE_ODD, Case.ISO_READ_ODD})
INTERRUPT = frozenset({Case.INTERRUPT_WRITE, Case.INTERRUPT_READ})
#: The cases for a device with nothing but a source, a sink and the two control requests.
BULK_AND_CONTROL = tuple(case for case in Case if case not in ISOCHRONOUS | INTERRUPT)
#: These measure, look at no data, and refuse to run with another pattern than zeros.
ZEROS_ONLY = frozenset({Case.QUEUED_WRITES, Case.QUEUED_READS})
CONTROL_DATA = frozenset({Case.CONTROL_WRITE, Case.CONTROL_WRITE_ODD})
#: Their lengths need not be multiples of the packet size. Those of reads have to be, as the device sends full packets;
#: those of scatter lists, as a packet is not made from two entries (drivers/usb/core/urb.c, no_sg_constraint).
ANY_LENGTH = CONTROL_DATA | {
    Case.WRITE,
    Case.WRITE_VARIED,
    Case.UNLINK_WRITES,
    Case.WRITE_ODD,
    Case.WRITE_ODD_MAPPED,
    Case.UNLINK_QUEUED_WRITES,
    Case.QUEUED_WRITES,
}


@dataclass(frozen=True)
class Parameters:
    """What a case is given; each looks at what :attr:`Case.uses` names, and at the iterations.

    Attributes:
        iterations: How often.
        length: Bytes of a transfer, or of the largest entry of a list. A read has to be a multiple of the packet size:
            the device sends full packets.
        vary: By how much each length is longer than the one before; beyond ``length`` they start over.
        sglen: Entries of a scatter list, or transfers in a queue.
    """

    iterations: int = 100
    length: int = 4096
    vary: int = 1024
    sglen: int = 32

    def __post_init__(self) -> None:
        for field in fields(self):
            if not 0 <= getattr(self, field.name) < 1 << 31:
                raise ValueError(f"{field.name} = {getattr(self, field.name)}: it is 0 to 2147483647")
        if self.iterations < 1:
            raise ValueError(f"iterations = {self.iterations}: the driver refuses less than 1")
        if self.sglen > MOST_ENTRIES:
            raise ValueError(f"sglen = {self.sglen}: the driver refuses more than {MOST_ENTRIES}")

    def said_for(self, case: Case) -> str:
        """What of it the case looks at, in the words of the command line."""
        used = [field.name for field in fields(self) if field.name in case.uses | {"iterations"}]
        return " ".join(f"--{name} {getattr(self, name)}" for name in used)


@dataclass(frozen=True)
class Result:
    """How a case went.

    Attributes:
        case: Which.
        parameters: What it was given.
        error: What the driver returned, as a positive errno; 0 where it passed.
        seconds: How long it took by the driver's own clock; 0 where it failed.
    """

    case: Case
    parameters: Parameters
    error: int = 0
    seconds: float = 0.0

    @property
    def reason(self) -> str:
        """What the error means, coming from this driver; the kernel's log says which transfer it was."""
        if self.error >= 1000:  # 1000 and more: usb_unlink_urb, 2000 and more: usb_kill_urb (usbtest.c, unlink1)
            return f"a transfer taken back ended with {_name(self.error % 1000)}"
        return f"{_name(self.error)}: {MEANINGS.get(self.error, os.strerror(self.error))}"


MEANINGS = {
    errno.EOPNOTSUPP: "the device has no such endpoint, a parameter the case needs is 0, or the pattern is not zeros",
    errno.EINVAL: "data is not the pattern, an endpoint does not do what its halt bit says, or a parameter is refused",
    errno.ETIMEDOUT: "the device did nothing for 10 seconds",
    errno.EPIPE: "the device stalled",
    errno.EREMOTEIO: "the device ended a transfer early",
    errno.EOVERFLOW: "the device sent a longer packet than was asked for: reads take a multiple of the packet size",
    errno.EIO: "transfers of the queue failed, or were short",
    errno.EBADMSG: "the device gave back other data than was stored, or less",
    errno.EDOM: "an answer to a standard request is wrong, or came out of order",
    errno.EPROTO: "the endpoint is not enabled",
    errno.ESHUTDOWN: "the device went away",
    errno.ENODEV: "the device went away, or the interface is not the first one",
}


def _name(number: int) -> str:
    return errno.errorcode.get(number, str(number))


class _TestParameters(ctypes.Structure):
    """struct usbtest_param_32: of the two that the driver takes, the one that looks the same on every machine."""

    _fields_ = (
        *((name, ctypes.c_uint32) for name in ("test_num", "iterations", "length", "vary", "sglen")),
        ("seconds", ctypes.c_int32),
        ("microseconds", ctypes.c_int32),
    )


class _InterfaceIoctl(ctypes.Structure):
    """struct usbdevfs_ioctl: an ioctl for the driver of an interface."""

    _fields_ = (("interface", ctypes.c_int), ("code", ctypes.c_uint), ("data", ctypes.c_void_p))


def _iowr(number: int, argument: type[ctypes.Structure]) -> int:
    """_IOWR('U', number, argument) of include/uapi/asm-generic/ioctl.h."""
    return 3 << 30 | ctypes.sizeof(argument) << 16 | ord("U") << 8 | number


_USBTEST_REQUEST = _iowr(100, _TestParameters)
_USBDEVFS_IOCTL = _iowr(18, _InterfaceIoctl)


class NoTargetError(LookupError):
    """Usbtest is bound to no device, or to several."""


class Target:
    """The device under test: the file through which usbtest is asked, open inside a ``with`` block.

    Args:
        interface: The folder in sysfs of the interface that usbtest is bound to.
    """

    def __init__(self, interface: Path) -> None:
        device = interface.resolve().parent
        bus, address = (int((device / name).read_text()) for name in ("busnum", "devnum"))
        self.interface = interface
        self.node = Path(f"/dev/bus/usb/{bus:03}/{address:03}")
        self.speed = (device / "speed").read_text().strip()
        bulk = [folder for folder in interface.glob("ep_*") if (folder / "type").read_text().strip() == "Bulk"]
        self.packet_size = max(int((folder / "wMaxPacketSize").read_text(), 16) for folder in bulk)
        self._fd = -1

    @classmethod
    def find(cls, name: str = "*") -> Self:
        """The device that usbtest is bound to.

        Args:
            name: Which one, such as ``1-1``, where there are several.

        Raises:
            NoTargetError: There is none, or there are several.
        """
        found = sorted(DRIVER.glob(f"{name}:*"))
        if len(found) != 1:
            names = ", ".join(path.name for path in sorted(DRIVER.glob("*:*"))) or "nothing"
            raise NoTargetError(
                f"usbtest is bound to {names}: load it (modprobe usbtest), serve a gadget zero, name it"
            )
        return cls(found[0])

    def __enter__(self) -> Self:
        self._fd = os.open(self.node, os.O_RDWR | os.O_CLOEXEC)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def run(self, case: Case, parameters: Parameters) -> Result:
        """Runs one case. No signal ends it, and some cases have no time-out: then only the device's end does."""
        p = parameters
        test = _TestParameters(case, p.iterations, p.length, p.vary, p.sglen)
        number = int(self.interface.name.rpartition(".")[2])
        wrapped = _InterfaceIoctl(number, _USBTEST_REQUEST, ctypes.addressof(test))
        try:
            fcntl.ioctl(self._fd, _USBDEVFS_IOCTL, wrapped)
        except OSError as error:
            return Result(case, parameters, error=error.errno or errno.EIO)
        return Result(case, parameters, seconds=test.seconds + test.microseconds / 1e6)


def set_pattern(name: str) -> None:
    """What is written, and what has to be read: ``zeros``, or ``mod63``, which counts within each packet."""
    PATTERN.write_text({"zeros": "0", "mod63": "1"}[name])
