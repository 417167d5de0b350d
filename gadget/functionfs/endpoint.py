"""What all data endpoints have in common beside their stream: halt, and the controller's FIFO.

A *packet* is at most wMaxPacketSize bytes, a *transfer* is one request to the kernel, a *message* is what a protocol
means. :mod:`gadget.functionfs.in_endpoint` and :mod:`gadget.functionfs.out_endpoint` are the two directions;
:mod:`gadget.functionfs.declared_endpoints` declares them.
"""

from __future__ import annotations

import errno
import fcntl
from abc import abstractmethod

from gadget.errors import TransferError, UnsupportedError, transfer_error
from gadget.functionfs.ending import Ending
from gadget.functionfs.endpoint_stream import EndpointStream

#: ``functionfs.h``: _IO('g', 1), _IO('g', 2), _IO('g', 3).
_FIFO_STATUS, _FIFO_FLUSH, _CLEAR_HALT = 0x6701, 0x6702, 0x6703

#: How long transfers may take to come back that the endpoint's user wants back, in seconds.
TAKE_BACK_TIMEOUT = 2.0


class Endpoint(EndpointStream):
    """What the directions share: beside the transfers, halt and the controller's FIFO.

    Attributes:
        halted: Whether it was halted here and not cleared here since. Most controllers carry out the host's
            CLEAR_FEATURE by themselves, and nobody tells.
        halts: How often it was halted from here.
    """

    def __init__(self, name: str, transfer_size: int, depth: int) -> None:
        self.halted = False
        self.halts = 0
        super().__init__(name, transfer_size, depth)

    def _start(self, ending: Ending) -> None:
        super()._start(ending)
        self.halted = False

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

    def _hold(self, held: bool) -> None:
        """Keeps transfers from being submitted while the endpoint is being halted."""
        if self._stream is not None:
            self._stream.hold(held)
        if not held:
            self._resume()

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
