"""An endpoint file and the stream on it: what is known of both, from attaching to detaching, over generations."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gadget.aio import Counters, Gate, ReadStream, Wakeup, WriteStream
from gadget.aio.context import LOOK_AGAIN
from gadget.aio.splice import RunningSplice
from gadget.errors import (
    DISCONNECTED,
    ClosedError,
    DisconnectedError,
    EndpointBusyError,
    NotDrainedError,
    transfer_error,
)
from gadget.functionfs.composite import Composite
from gadget.functionfs.ending import Ending
from gadget.protocol.descriptors import EndpointDescriptor, parse_descriptors

#: For ``transfer_size``: transfers of one packet at the speed of the connection.
PACKET: Final = -1

#: ``functionfs.h``: _IOR('g', 130, struct usb_endpoint_descriptor).
_ENDPOINT_DESC = 0x80096782
#: struct usb_endpoint_descriptor is of 9 bytes, whatever bLength says (``ch9.h``).
_ENDPOINT_DESC_SIZE = 9

#: The largest packet of any speed: what PACKET reserves, since buffers are made before the speed is known.
_LARGEST_PACKET = 1024


class EndpointStream(ABC):
    """One endpoint of a live function, as far as its transfers go.

    Attributes:
        name: The function's class and the endpoint's name in it.
        descriptor: The endpoint descriptor that the host has at the speed of the connection, with the controller's own
            address; that of the last generation while there is none, and None before the first.
    """

    def __init__(self, name: str, transfer_size: int, depth: int) -> None:
        self.name = name
        self.descriptor: EndpointDescriptor | None = None
        self._transfer_size = transfer_size
        self._full = 0  # transfer_size of the generation, where it is looked at for every transfer
        self._depth = depth
        self._fd = -1
        self._in_use = False
        self._splice: RunningSplice | None = None
        self._changed = Wakeup(name)
        #: That of the tasks which use it: to ask for the one that runs is a system call (before Python 3.12).
        self._loop: asyncio.AbstractEventLoop | None = None
        self._disconnect()

    # ---- what is known about it --------------------------------------------------------------------------------------

    @property
    def address(self) -> int:
        """The address as the host sees it (bEndpointAddress); 0 before the first generation."""
        return self.descriptor.address if self.descriptor is not None else 0

    @property
    def packet_size(self) -> int:
        """Bytes of a full packet (wMaxPacketSize) at the speed of the connection; 0 before the first generation."""
        return self.descriptor.packet_size if self.descriptor is not None else 0

    @property
    def transfer_size(self) -> int:
        """Bytes of one full transfer; an OUT transfer that is shorter was ended by a short or zero-length packet."""
        return self.packet_size if self._transfer_size == PACKET else self._transfer_size

    @property
    def counters(self) -> Counters:
        """Transfers, bytes and errors since the gadget is up.

        Raises:
            ClosedError: The gadget is not up.
        """
        self._serving().collect()
        return self._serving().counters

    # ---- the stream, from attaching to detaching ---------------------------------------------------------------------

    @property
    @abstractmethod
    def _stream(self) -> ReadStream | WriteStream | None:
        """The stream, while the endpoint file is open."""

    @abstractmethod
    def _open_stream(self, size: int) -> ReadStream | WriteStream:
        """Opens the stream, with room for transfers of ``size`` bytes."""

    @abstractmethod
    def _close_stream(self) -> None:
        """Closes the stream, in which nothing is in flight."""

    def _serving(self) -> ReadStream | WriteStream:
        if self._stream is None:
            raise self._not_served()
        return self._stream

    def _not_served(self) -> ClosedError:
        return ClosedError(f"{self.name} is not being served: its gadget is not up")

    def _attach(self, composite: Composite, folder: Path, number: int, gate: Gate) -> None:
        """Opens the endpoint file and the stream on it: before ENABLE, hence O_NONBLOCK.

        Args:
            composite: The gadget.
            folder: Where FunctionFS is mounted.
            number: The endpoint file's, in the order of the descriptors from 1 on.
            gate: That of ep0: while it is closed, the generation may be over.
        """
        self._composite, self._gate, self._splice = composite, gate, None
        self._loop = asyncio.get_running_loop()
        self._disconnect()
        self._fd = os.open(folder / f"ep{number}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        stream = self._open_stream(_LARGEST_PACKET if self._transfer_size == PACKET else self._transfer_size)
        stream.on_change = self._on_change
        stream.set_gate(gate)

    def _disconnect(self) -> None:
        """There is no generation; in the loop that runs now, which need not be the one of the last time."""
        self._returned, self._awaited = asyncio.Event(), 0
        self._ending = Ending()
        self._ending.set(DisconnectedError)

    def _on_change(self) -> None:
        """A completion has arrived, the stream was stopped, or nothing holds it any more."""
        if self._awaited:
            self._returned.set()
        self._changed.notify()

    def _start(self, ending: Ending) -> None:
        """A generation begins: the endpoint has an address and a packet size now.

        Raises:
            OSError: It has ended already.
        """
        raw = fcntl.ioctl(self._fd, _ENDPOINT_DESC, bytes(_ENDPOINT_DESC_SIZE))
        (descriptor,) = parse_descriptors(raw[: raw[0]])
        assert isinstance(descriptor, EndpointDescriptor)
        self.descriptor, self._ending = descriptor, ending
        self._full = self.transfer_size
        # Whoever asks for packets, or for what a controller has in them, wants each of them by itself.
        self._serving().start(self._full, joined=self._transfer_size != PACKET)

    def _enabled(self) -> bool:
        """Whether the endpoint is there: between generations there is no descriptor of it."""
        try:
            fcntl.ioctl(self._fd, _ENDPOINT_DESC, bytes(_ENDPOINT_DESC_SIZE))
        except OSError:
            return False
        return True

    def _stop(self) -> None:
        """The generation is over: nothing more is submitted, what is in flight is asked back."""
        if self._stream is not None:
            self._stream.stop()
            self._on_change()

    def _resume(self) -> None:
        """Transfers may be submitted that were held back."""
        if self._stream is not None:
            self._stream.resume()
            self._on_change()

    async def _detach(self, timeout: float) -> None:
        """Waits until the kernel has given every transfer back, and closes the stream and the endpoint file.

        Raises:
            NotDrainedError: It did not within ``timeout`` seconds. The stream stays open, and the buffers allocated.
        """
        try:
            await self._wait_returned(timeout, "closed")
            if self._stream is not None:
                self._close_stream()
        finally:
            # What the kernel keeps holds the file by itself; nothing more is submitted to it.
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    async def _wait_returned(self, timeout: float, to_be: str) -> None:
        deadline = time.monotonic() + timeout
        while self._has_transfers() and time.monotonic() < deadline:
            self._serving().await_change()
            # Not every completion rings (_writers.c, queue_write), and a controller may return them in any order.
            await self._wait_changed(min(timeout, LOOK_AGAIN))
            self._composite.context.context.reap()
        if self._has_transfers():
            left, controller = self.counters.in_flight, self._composite.controller or "the controller"
            reason = f"{controller} kept {left} transfers" if left else "a splice's file did not answer"
            message = f"{self.name} cannot be {to_be}: {reason} for {timeout} s"
            raise NotDrainedError(errno.ETIMEDOUT, f"{message}; the buffers stay allocated")

    def _has_transfers(self) -> bool:
        """Whether the kernel has some, or the thread of a splice that has outlived its generation."""
        is_left_over = self._ending.is_known and self._is_spliced()
        return self._stream is not None and (self._stream.counters.in_flight > 0 or is_left_over)

    async def _wait_changed(self, timeout: float | None = None) -> None:
        """Waits until something has changed, for ``timeout`` seconds at most, beside the task that uses it."""
        self._awaited += 1
        self._returned.clear()
        try:
            async with asyncio.timeout(timeout):
                await self._returned.wait()
        except TimeoutError:
            pass
        finally:
            self._awaited -= 1

    # ---- using it ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """One task at a time: two writing or reading by turns would interleave their data."""
        if self._in_use or self._is_spliced():
            raise self._busy()
        self._in_use = True
        try:
            yield
        finally:
            self._in_use = False

    def _busy(self) -> EndpointBusyError:
        return EndpointBusyError(f"{self.name}: another task is using it; give each direction to one task")

    def _is_spliced(self) -> bool:
        """Whether a thread is moving data to or from it; it may outlive the task that has started it."""
        return self._splice is not None and not self._splice.ended

    async def _error(self, code: int) -> Exception:
        """What to raise for a transfer that ended with this errno."""
        if code in DISCONNECTED:
            return await self._ending.error(self.name)
        return transfer_error(code, self.name)
