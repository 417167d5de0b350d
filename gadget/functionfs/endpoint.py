"""What all data endpoints have in common: the file, the stream on it, generations, halt.

A *packet* is at most wMaxPacketSize bytes, a *transfer* is one request to the kernel, a *message* is what a protocol
means. :mod:`gadget.functionfs.in_endpoint` and :mod:`gadget.functionfs.out_endpoint` are the two directions;
:mod:`gadget.functionfs.declared_endpoints` declares them.
"""

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
    TransferError,
    UnsupportedError,
    transfer_error,
)
from gadget.functionfs.composite import Composite
from gadget.functionfs.ending import Ending
from gadget.protocol.descriptors import EndpointDescriptor, parse_descriptors

#: For ``transfer_size``: transfers of one packet at the speed of the connection.
PACKET: Final = -1

#: ``functionfs.h``: _IO('g', 1), _IO('g', 2), _IO('g', 3) and _IOR('g', 130, struct usb_endpoint_descriptor).
_FIFO_STATUS, _FIFO_FLUSH, _CLEAR_HALT, _ENDPOINT_DESC = 0x6701, 0x6702, 0x6703, 0x80096782
#: struct usb_endpoint_descriptor is of 9 bytes, whatever bLength says (``ch9.h``).
_ENDPOINT_DESC_SIZE = 9

#: The largest packet of any speed: what PACKET reserves, since buffers are made before the speed is known.
_LARGEST_PACKET = 1024

#: How long transfers may take to come back that the endpoint's user wants back, in seconds.
TAKE_BACK_TIMEOUT = 2.0


class Endpoint(ABC):
    """One endpoint of a live function: what the directions share.

    Attributes:
        name: The function's class and the endpoint's name in it.
        descriptor: The endpoint descriptor that the host has at the speed of the connection, with the controller's own
            address; that of the last generation while there is none, and None before the first.
        halted: Whether it was halted here and not cleared here since. Most controllers carry out the host's
            CLEAR_FEATURE by themselves, and nobody tells.
        halts: How often it was halted from here.
    """

    def __init__(self, name: str, transfer_size: int, depth: int) -> None:
        self.name = name
        self.descriptor: EndpointDescriptor | None = None
        self.halted = False
        self.halts = 0
        self._transfer_size = transfer_size
        self._full = 0  # transfer_size of the generation, where it is looked at for every transfer
        self._depth = depth
        self._fd = -1
        self._in_use = False
        self._splice: RunningSplice | None = None
        self._changed = Wakeup(name)
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
        self._changed.notify()
        if self._awaited:
            self._returned.set()

    def _start(self, ending: Ending) -> None:
        """A generation begins: the endpoint has an address and a packet size now.

        Raises:
            OSError: It has ended already.
        """
        raw = fcntl.ioctl(self._fd, _ENDPOINT_DESC, bytes(_ENDPOINT_DESC_SIZE))
        (descriptor,) = parse_descriptors(raw[: raw[0]])
        assert isinstance(descriptor, EndpointDescriptor)
        self.descriptor, self._ending, self.halted = descriptor, ending, False
        self._full = self.transfer_size
        # Whoever asks for packets, or for what a controller has in them, wants each of them by itself.
        self._serving().start(self._full, joined=self._transfer_size != PACKET)

    def _stop(self) -> None:
        """The generation is over: nothing more is submitted, what is in flight is asked back."""
        if self._stream is not None:
            self._stream.stop()
            self._on_change()

    def _hold(self, held: bool) -> None:
        """Keeps transfers from being submitted while the endpoint is being halted."""
        if self._stream is not None:
            self._stream.hold(held)
        if not held:
            self._resume()

    def _resume(self) -> None:
        """Transfers may be submitted that were held back."""
        if self._stream is not None:
            self._stream.resume()
            self._on_change()

    async def _detach(self, timeout: float) -> None:
        """Waits until the kernel has given every transfer back, and closes the stream and the endpoint file.

        Raises:
            NotDrainedError: It did not within ``timeout`` seconds. Both stay open, and the buffers allocated.
        """
        await self._wait_returned(timeout, "closed")
        if self._stream is not None:
            self._close_stream()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    async def _wait_returned(self, timeout: float, to_be: str) -> None:
        deadline = time.monotonic() + timeout
        while self._has_transfers() and time.monotonic() < deadline:
            self._serving().await_change()
            # Not every completion rings (_streams.c, queue_write), and a controller may return them in any order.
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

    async def _call(self, call: int) -> int:
        """An ioctl of the endpoint file (f_fs.c, ffs_epfile_ioctl)."""
        self._serving()
        try:
            return fcntl.ioctl(self._fd, call)
        except OSError as error:
            raise await self._error(error.errno or errno.EIO) from error

    async def halt(self) -> None:
        """Halts the endpoint: every transaction of the host's is answered with STALL, until somebody clears it.

        Transfers in flight are taken back first, as controllers want it; of an OUT endpoint only if this one does, and
        they are armed again at once. What is written while the endpoint is halted waits for the host to clear it
        (USB 2.0, 9.4.5 and 8.5.3.4). A task that writes meanwhile waits.

        Raises:
            DisconnectedError: The host ended this generation.
            NotDrainedError: The controller does not give the transfers back.
            TransferError: The controller does not halt the endpoint; an isochronous one has no halt (EINVAL).
        """
        self._serving()
        ending = self._ending
        self._hold(True)
        try:
            # An event that nobody has read may mean that this would halt the endpoint of another generation.
            while self._gate.closed:
                await self._wait_changed()
            await self._halt(ending)
        finally:
            self._hold(False)
        self.halted = True
        self.halts += 1

    @abstractmethod
    async def _halt(self, ending: Ending) -> None:
        """Takes transfers back where that is needed, and halts the endpoint, if this generation goes on."""

    async def _take_back(self, to_be: str) -> None:
        self._serving().withdraw()
        await self._wait_returned(TAKE_BACK_TIMEOUT, to_be)

    @abstractmethod
    def _wrong_way(self) -> None:
        """Moves data against the direction of the endpoint file, which is how FunctionFS is told to halt it."""

    async def _try_halt(self, ending: Ending) -> bool:
        """Halts the endpoint; False if its transfers have to be taken back first (EAGAIN)."""
        if ending.is_known:
            raise await ending.error(self.name)
        try:
            self._wrong_way()
        except OSError as error:
            if error.errno == errno.EBADMSG:  # f_fs.c, ffs_epfile_io: this is success
                return True
            if error.errno == errno.EAGAIN and self._serving().counters.in_flight:
                return False
            if error.errno == errno.EAGAIN and self._enabled():
                # udc/core.c, usb_ep_set_halt: the controller still holds bytes that the host has not fetched.
                message = f"{self.name} cannot be halted: {self._composite.controller} still holds data for the host"
                raise TransferError(errno.EAGAIN, message) from error
            raise await self._error(error.errno or errno.EIO) from error
        raise transfer_error(errno.EPROTO, f"{self.name}: it took data against its direction")

    def _enabled(self) -> bool:
        try:
            fcntl.ioctl(self._fd, _ENDPOINT_DESC, bytes(_ENDPOINT_DESC_SIZE))
        except OSError:
            return False
        return True

    async def clear_halt(self) -> None:
        """Ends the halt from this side, and resets the data toggle (USB 2.0, 5.8.5).

        Raises:
            DisconnectedError: The host ended this generation.
            TransferError: The controller refused.
        """
        await self._call(_CLEAR_HALT)
        self.halted = False

    async def fifo_status(self) -> int:
        """How many bytes the controller's FIFO holds that have not been fetched, where it can tell.

        Raises:
            UnsupportedError: It cannot; many cannot, dummy_hcd among them.
            DisconnectedError: The host ended this generation.
        """
        try:
            return await self._call(_FIFO_STATUS)
        except TransferError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            message = f"{self.name}: the controller {self._composite.controller} (or its driver) has no FIFO status"
            raise UnsupportedError(errno.EOPNOTSUPP, message) from error

    async def flush_fifo(self) -> None:
        """Drops what the controller's FIFO holds.

        The kernel does not say whether a controller does anything (``udc/core.c``, usb_ep_fifo_flush); one that has no
        FIFO status most likely has no flush either, so that is asked for first.

        Raises:
            UnsupportedError: The controller has no FIFO status; nothing was flushed.
            DisconnectedError: The host ended this generation.
        """
        await self.fifo_status()
        await self._call(_FIFO_FLUSH)
