"""A host without a library in between: usbfs (``drivers/usb/core/devio.c``), asked from Python.

libusb keeps programs from mistakes: it refuses control transfers of more than 4096 bytes, and hands out no request that
has not ended. Whoever plays a host that makes such mistakes, or makes them on purpose, needs what is below it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import struct
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gadget.errors import UsageError

_CONTROL, _BULK = 2, 3  # USBDEVFS_URB_TYPE_* of include/uapi/linux/usbdevice_fs.h
_SETUP = struct.Struct("<BBHHH")


class _Urb(ctypes.Structure):
    """struct usbdevfs_urb."""

    _fields_ = (
        ("type", ctypes.c_ubyte),
        ("endpoint", ctypes.c_ubyte),
        ("status", ctypes.c_int),
        ("flags", ctypes.c_uint),
        ("buffer", ctypes.c_void_p),
        ("buffer_length", ctypes.c_int),
        ("actual_length", ctypes.c_int),
        ("start_frame", ctypes.c_int),
        ("stream_id", ctypes.c_uint),
        ("error_count", ctypes.c_int),
        ("signal", ctypes.c_uint),
        ("user_context", ctypes.c_void_p),
    )


def _code(direction: int, number: int, size: int) -> int:
    """_IO, _IOW and _IOR of ``include/uapi/asm-generic/ioctl.h``."""
    return direction << 30 | size << 16 | ord("U") << 8 | number


_SUBMIT = _code(2, 10, ctypes.sizeof(_Urb))
_DISCARD = _code(0, 11, 0)
_REAP_NOW = _code(1, 13, ctypes.sizeof(ctypes.c_void_p))
_CLAIM = _code(2, 15, ctypes.sizeof(ctypes.c_uint))
_CLEAR_HALT = _code(2, 21, ctypes.sizeof(ctypes.c_uint))
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class ControlRequest:
    """A SETUP packet, and what is sent after it.

    Attributes:
        request_type: bmRequestType.
        request: bRequest.
        value: wValue.
        index: wIndex.
        length: wLength.
        data: What the host sends in the data stage; as many bytes as ``length`` says, to the device.
    """

    request_type: int
    request: int
    value: int = 0
    index: int = 0
    length: int = 0
    data: bytes = b""

    @property
    def is_in(self) -> bool:
        """Whether the data, if any, is for the host."""
        return bool(self.request_type & 0x80)

    def __str__(self) -> str:
        return (
            f"bmRequestType={self.request_type:#04x} bRequest={self.request:#04x} wValue={self.value:#06x} "
            f"wIndex={self.index:#06x} wLength={self.length}"
        )


class Urb:
    """A transfer that was handed to the kernel.

    Attributes:
        endpoint: The address of its endpoint; 0 of a control transfer.
        status: 0 or a negative errno, once :meth:`Usbfs.reap` has returned it.
        data: What has arrived until then.
        transferred: How many bytes of data have gone either way until then.
    """

    def __init__(self, kind: int, endpoint: int, memory: bytes, skipped: int = 0) -> None:
        self._memory = ctypes.create_string_buffer(memory, len(memory))
        self._skipped = skipped
        self.endpoint = endpoint
        self._c = _Urb(kind, endpoint, buffer=ctypes.addressof(self._memory), buffer_length=len(memory))
        self.status = -errno.EINPROGRESS
        self.transferred = 0

    @property
    def data(self) -> bytes:  # noqa: D102 - see the class
        return self._memory.raw[self._skipped : self._skipped + self.transferred]


class Usbfs:
    """A device, open inside a ``with`` block; what is in flight at its end is taken back.

    Args:
        bus: The number of its bus.
        address: Its address there.
    """

    def __init__(self, bus: int, address: int) -> None:
        self._node = Path(f"/dev/bus/usb/{bus:03}/{address:03}")
        self._fd = -1
        self._in_flight: dict[int, Urb] = {}

    def __enter__(self) -> Self:
        self._fd = os.open(self._node, os.O_RDWR | os.O_CLOEXEC)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The kernel takes everything back, and touches no memory of what was not reaped (devio.c, usbdev_release).
        os.close(self._fd)
        self._in_flight.clear()

    def _ioctl(self, code: int, argument: ctypes._SimpleCData[Any] | ctypes.Structure) -> None:
        # fcntl.ioctl hands over a copy of a short argument; but the kernel keeps the address of a request, and writes
        # there when it is reaped.
        if _libc.ioctl(self._fd, ctypes.c_ulong(code), ctypes.byref(argument)) < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(self._node))

    def claim(self, interface: int) -> None:
        """Claims an interface: its endpoints are this program's then.

        Raises:
            UsageError: A driver or another program has it.
        """
        try:
            self._ioctl(_CLAIM, ctypes.c_uint(interface))
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            message = f"interface {interface} of {self._node} is claimed by a driver or a program: let it release it"
            raise UsageError(message) from error

    def clear_halt(self, endpoint: int) -> None:
        """Clears the halt of an endpoint, and its data toggle on both sides."""
        self._ioctl(_CLEAR_HALT, ctypes.c_uint(endpoint))

    def submit_control(self, request: ControlRequest) -> Urb:
        """Begins a control transfer."""
        fields = (request.request_type, request.request, request.value, request.index, request.length)
        data = bytes(request.length) if request.is_in else request.data.ljust(request.length, b"\0")
        return self._submit(Urb(_CONTROL, 0, _SETUP.pack(*fields) + data, skipped=_SETUP.size))

    def submit(self, endpoint: int, data: bytes | int) -> Urb:
        """Begins a bulk or interrupt transfer: of these bytes, or of so many from the device."""
        return self._submit(Urb(_BULK, endpoint, bytes(data)))

    def _submit(self, urb: Urb) -> Urb:
        self._ioctl(_SUBMIT, urb._c)
        self._in_flight[ctypes.addressof(urb._c)] = urb
        return urb

    @property
    def in_flight(self) -> list[Urb]:
        """What was submitted, and not reaped yet."""
        return list(self._in_flight.values())

    def discard(self, urb: Urb) -> bool:
        """Takes a transfer back; :meth:`reap` still returns it.

        Returns:
            Whether it was there to be taken back: it may have ended already, or its device may have gone.
        """
        try:
            self._ioctl(_DISCARD, urb._c)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENODEV):
                raise
            return False
        return True

    def reap(self, timeout: float) -> Urb | None:
        """Waits until a transfer has ended, and returns it; None when the time is up.

        Raises:
            OSError: ENODEV: the device has gone, and so have the transfers.
        """
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)  # writable: something can be reaped (devio.c, usbdev_poll)
        if not poll.poll(timeout * 1000):
            return None
        pointer = ctypes.c_void_p()
        try:
            self._ioctl(_REAP_NOW, pointer)
        except BlockingIOError:
            return None
        urb = self._in_flight.pop(pointer.value or 0)
        urb.status, urb.transferred = urb._c.status, urb._c.actual_length
        return urb

    def control(self, request: ControlRequest, timeout: float) -> Urb:
        """A control transfer from its beginning to its end; nothing else may be in flight.

        Raises:
            TimeoutError: The device has not answered in time. The transfer was taken back.
        """
        urb = self.submit_control(request)
        if self.reap(timeout) is None:
            self.discard(urb)
            self.reap(timeout)
            raise TimeoutError(f"no answer within {timeout:g} s: {request}")
        return urb
