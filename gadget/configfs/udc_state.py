"""Follows a controller: its state as it changes, controllers as they come and go."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from gadget.configfs.apply import USB_GADGET_ROOT
from gadget.configfs.udc import SYSFS, Controller, list_controllers, read_controller
from gadget.errors import KernelError, NoControllerError

#: NETLINK_KOBJECT_UEVENT of ``include/uapi/linux/netlink.h``, and the group in which the kernel itself speaks.
_UEVENTS, _KERNEL = 15, 1


class StateWatch:
    """The ``state`` file of a controller, which tells when it changes (``udc/core.c``, usb_gadget_state_work).

    Args:
        name: The controller.
        sysfs: The folder of all controllers.

    Raises:
        NoControllerError: There is no such controller.
    """

    def __init__(self, name: str, sysfs: Path = SYSFS) -> None:
        try:
            self._file = os.open(sysfs / name / "state", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            code = error.errno or errno.ENODEV
            raise NoControllerError(code, f"there is no USB device controller {name!r}") from error
        # The file itself is always readable; only an epoll of its own can ask for the news alone.
        self._news = select.epoll()
        self._news.register(self._file, select.EPOLLPRI)
        self.read()

    def fileno(self) -> int:
        """Is readable while there is news that :meth:`read` has not fetched."""
        return self._news.fileno()

    def read(self) -> str:
        """What it says now; empty when the controller has gone."""
        self._news.poll(0)
        try:
            return os.pread(self._file, 64, 0).decode(errors="replace").strip()
        except OSError:
            return ""

    def close(self) -> None:
        """Stops to follow it; idempotent."""
        if self._file >= 0:
            self._news.close()
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def _uevents() -> Iterator[socket.socket]:
    """What the kernel says of devices that come, change and go (``Documentation/ABI/testing/sysfs-uevent``)."""
    with ExitStack() as stack:
        try:
            events = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, _UEVENTS)
            stack.enter_context(events)
            events.bind((0, _KERNEL))
        except OSError as error:
            code = error.errno or errno.EIO
            message = f"cannot listen to the kernel's news of devices: {os.strerror(code)}; a container may forbid it"
            raise KernelError(code, message) from error
        yield events


def _speaks_of_controllers(events: socket.socket) -> bool:
    """Fetches what there is; True if a part of it is about a controller."""
    found = False
    while True:
        try:
            found |= b"SUBSYSTEM=udc" in events.recv(8192).split(b"\0")
        except BlockingIOError:
            return found
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            found = True  # Some were lost, and one of them may have been about a controller.


async def wait_controller(name: str | None = None, sysfs: Path = SYSFS, root: Path = USB_GADGET_ROOT) -> Controller:
    """Waits until there is a controller that is free, and returns it.

    Cancelling it leaves nothing behind.

    Args:
        name: Its name; the first free one by default.
        sysfs: The folder of all controllers.
        root: The folder of all gadgets.

    Raises:
        KernelError: The kernel's news of devices may not be listened to.
    """
    woken, loop = asyncio.Event(), asyncio.get_running_loop()
    with _uevents() as events:
        loop.add_reader(events, lambda: woken.set() if _speaks_of_controllers(events) else None)
        try:
            while True:
                woken.clear()
                for controller in list_controllers(sysfs, root):
                    if name in (None, controller.name) and controller.holder is None:
                        return controller
                await woken.wait()
        finally:
            loop.remove_reader(events)


async def watch_controller(name: str, sysfs: Path = SYSFS, root: Path = USB_GADGET_ROOT) -> AsyncIterator[Controller]:
    """Yields a controller as it is, and again whenever it has changed; ends when it has gone.

    Changes of state, speed and holder are seen. Those that follow each other faster than the loop comes round are seen
    as one.

    Args:
        name: The controller.
        sysfs: The folder of all controllers.
        root: The folder of all gadgets.

    Raises:
        NoControllerError: There is no such controller.
        KernelError: The kernel's news of devices may not be listened to.
    """
    woken, loop = asyncio.Event(), asyncio.get_running_loop()

    def changed() -> None:
        state.read()
        woken.set()

    with StateWatch(name, sysfs) as state, _uevents() as events:
        loop.add_reader(state, changed)
        loop.add_reader(events, lambda: woken.set() if _speaks_of_controllers(events) else None)
        try:
            last: Controller | None = None
            while True:
                woken.clear()
                now = read_controller(name, sysfs, root)
                if now is None:
                    return
                if now != last:
                    yield now
                last = now
                await woken.wait()
        finally:
            loop.remove_reader(state)
            loop.remove_reader(events)
