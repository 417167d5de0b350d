"""The data and status stages of control transfers: blocking calls on ep0 that hold up neither the loop nor the data.

They block in the kernel even with O_NONBLOCK (f_fs.c, __ffs_ep0_queue_wait). A host that behaves ends one within
microseconds, sooner than another thread would begin, so one of a single packet is tried in the loop's own thread, for a
moment. Everything else runs in a thread of the extension.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import mmap
import os
import time
from typing import Final

from gadget.aio import Caller
from gadget.errors import NotDrainedError

log = logging.getLogger("gadget")

#: wLength has 16 bits (USB 2.0, 9.3.5).
MOST_DATA: Final = 65535
#: For how long the event loop may wait for the end of a stage, in seconds.
AT_ONCE: Final = 0.01
#: The most bytes that are surely one packet (USB 2.0, 5.5.3): a stage that was interrupted begins anew, so it must not
#: have got half-way.
ONE_PACKET: Final = 64
#: How often is looked, at the end, whether a stage is over, in seconds.
LOOK_AGAIN: Final = 0.01

#: Memory that nobody may read.
UNREADABLE: Final = mmap.mmap(-1, 1, prot=0)


class DataStages:
    """Those of one ep0, one at a time.

    Attributes:
        longest_at_once: The bytes of the longest stage that is tried in the loop's thread; -1 for none, since the host
            took its time over one.

    Args:
        caller: For ``MOST_DATA`` bytes.
        fd: ep0.
    """

    def __init__(self, caller: Caller, fd: int) -> None:
        self._caller, self._fd = caller, fd
        self._announced = 0  # bytes that the host is to send in the stage that is under way
        self.trust()

    def trust(self) -> None:
        """Stages are tried at once again: there is a new generation, and perhaps another host."""
        self.longest_at_once = ONE_PACKET

    @property
    def busy(self) -> bool:
        """Whether one is under way, or its result was not taken."""
        return self._caller.busy

    def fileno(self) -> int:
        """An eventfd: it rings when one is over that :meth:`take` did not find so."""
        return self._caller.fileno()

    def write(self, data: bytes) -> bytes | None:
        """What the host reads, or takes as the status: no bytes when it is over; None: it is for :meth:`take`.

        Raises:
            OSError: The host has given up, or is gone.
        """
        at_once = len(data) <= self.longest_at_once
        self._announced = 0
        written = self._caller.write(self._fd, data, within=AT_ONCE if at_once else 0)
        if written is None and at_once:
            self.longest_at_once = -1
        return written

    def read(self, length: int) -> bytes | None:
        """What the host has sent, all of it; otherwise as :meth:`write`."""
        at_once = length <= self.longest_at_once
        self._announced = length
        data = self._caller.read(self._fd, length, within=AT_ONCE if at_once else 0)
        if data is None and at_once:
            self.longest_at_once = -1
        return self._whole(data)

    def take(self) -> bytes | None:
        """What the one under way has come to; None: it is not over. The errors are those of :meth:`write`."""
        return self._whole(self._caller.take())

    def _whole(self, data: bytes | None) -> bytes | None:
        """A host sends as many bytes as its request says (USB 2.0, 9.3.5), or the stage was cut short, or exchanged."""
        if data is not None and len(data) < self._announced:
            raise OSError(errno.EREMOTEIO, f"the host has sent {len(data)} of {self._announced} bytes")
        return data

    def refuse(self, *, by_writing: bool) -> None:
        """Stalls the request: I/O against its direction (f_fs.c, ffs_ep0_read and ffs_ep0_write)."""
        try:
            _ = os.write(self._fd, b"") if by_writing else len(os.read(self._fd, 0))
        except OSError as error:
            # EL2HLT is success. EIDRM and ESRCH: the host has moved on by itself.
            if error.errno not in (errno.EL2HLT, errno.EIDRM, errno.ESRCH, errno.ESHUTDOWN):
                raise

    def is_withdrawn(self) -> bool:
        """Whether the request that was read is over: the host has given it up, or has gone.

        Only of one from the host for data: what is written cannot be read, so it is never sent, but the kernel looks
        at the request before (f_fs.c, ffs_ep0_write).
        """
        try:
            os.write(self._fd, UNREADABLE)
        except OSError as error:
            if error.errno not in (errno.EFAULT, errno.EIDRM, errno.ESRCH):
                raise
            return error.errno != errno.EFAULT
        raise AssertionError("the kernel has read memory that cannot be read")

    async def close(self, timeout: float) -> None:
        """Ends the thread, after the stage that is under way.

        Raises:
            NotDrainedError: It did not end within ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while self.busy:
            try:
                self.take()
            except OSError as error:
                log.debug("control transfer not completed: %s", error)
            if self.busy:
                if time.monotonic() > deadline:
                    raise NotDrainedError(errno.ETIMEDOUT, f"a control transfer did not end within {timeout} s")
                await asyncio.sleep(LOOK_AGAIN)
        self._caller.close()
