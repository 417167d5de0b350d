"""Something that is served on a controller of the bench: up and configured inside its scope, gone after it."""

from __future__ import annotations

import errno
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gadget.configfs.udc import bind, unbind
from gadget.errors import ControllerBusyError, GadgetError, UsageError
from gadget.testing.controllers import BenchController
from gadget.testing.host_device import HostDevice
from gadget.testing.observe.usage import Usage, usage_of
from gadget.testing.waiting import wait_for

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import usb1


class Served(ABC):
    """What all of them have: a controller, and a host that sees the device.

    Attributes:
        controller: The controller that it is bound to.
        name: For messages.
    """

    #: The process that serves it, where a signal can stop it; None in this process, and for the kernel's own functions.
    pid: int | None = None

    def __init__(self, controller: BenchController, name: str) -> None:
        self.controller = controller
        self.name = name
        self._tree: Path | None = None
        self._running = False

    def start(self) -> None:
        """Begins; returns when the host has configured it.

        Raises:
            ControllerBusyError: Something else is bound to the controller.
        """
        self._check_free()
        self._begin()
        self._running = True
        self.controller.wait_bound(self.check)
        self._tree = self.controller.tree
        self.controller.connection.plug()
        self.wait_configured()

    def stop(self) -> None:
        """Ends it in order, and raises what went wrong in it; does nothing where that has been done."""
        if not self._running:
            return
        self._running = False
        try:
            self._end()
        finally:
            self.controller.connection.unplug()
        self.controller.wait_gone()

    def _check_free(self) -> None:
        """Another's device must not be taken for this one; what this one left when it was killed is its own."""
        holder, tree = self.controller.sysfs.holder, self.controller.tree
        if holder is not None and (tree is None or tree != self._tree):
            raise ControllerBusyError(
                errno.EBUSY,
                f"{self.controller.name} is held by {holder}: stop that one first, or ask for another controller, "
                "@pytest.mark.usb(controllers=2)",
            )

    @abstractmethod
    def _begin(self) -> None:
        """Begins to serve; the controller is bound some time later."""

    @abstractmethod
    def _end(self) -> None:
        """Ends it, and raises what went wrong in it."""

    def check(self) -> None:
        """Raises why it is not served any more, if it is not."""
        return  # What only lies in configfs has nothing that could end.

    def wait_configured(self) -> HostDevice:
        """Waits until the host has it configured (again)."""
        return self.controller.wait_configured(self.check)

    @property
    def device(self) -> HostDevice:
        """What the host sees of it.

        Raises:
            GadgetError: The host sees nothing.
        """
        device = self.controller.device
        if device is None:
            raise GadgetError(f"the host sees no device on {self.controller.name}")
        return device

    @property
    def tree(self) -> Path:
        """Its gadget in configfs, bound or not."""
        if self._tree is None:
            raise UsageError(f"{self.name} is not a gadget in configfs, so it cannot be bound and unbound from outside")
        return self._tree

    def bind(self) -> None:
        """Binds it again, from outside; returns when the host has configured it."""
        bind(self.tree, self.controller.name)
        self.controller.connection.plug()
        self.wait_configured()

    def unbind(self) -> None:
        """Takes it off its controller, from outside; returns when the host has seen it go."""
        unbind(self.tree)
        self.controller.connection.unplug()
        self.controller.wait_gone()

    def usage(self) -> Usage:
        """What the process that serves it uses now: memory, descriptors, threads."""
        return usage_of(self.pid if self.pid is not None else os.getpid())

    def send_signal(self, number: int) -> None:
        """Sends a signal to the process that serves it."""
        if self.pid is None:
            raise UsageError(f"{self.name} is not served by a process of its own: serve FILE:NAME with child=True")
        os.kill(self.pid, number)

    def pyusb(self) -> AbstractContextManager[Any]:
        """The device through pyusb, for the length of a ``with`` block."""
        return self.device.pyusb()

    def libusb1(self, interface: int | None = 0) -> AbstractContextManager[usb1.USBDeviceHandle]:
        """A handle of the device through libusb1, an interface claimed, for the length of a ``with`` block."""
        return self.device.libusb1(interface)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Its process stands still inside this scope, as one that is swapped out, or hangs."""
        self.send_signal(signal.SIGSTOP)
        # A signal is only sent so far.
        wait_for(lambda: _stands_still(Path(f"/proc/{self.pid}")), f"{self.name} to stand still")
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                self.send_signal(signal.SIGCONT)


class ServedTree(Served):
    """A gadget that is there in configfs already, bound for the scope: the kernel's own functions, by hand."""

    def __init__(self, controller: BenchController, tree: Path) -> None:
        super().__init__(controller, tree.name)
        self._path = tree

    def _begin(self) -> None:
        bind(self._path, self.controller.name)

    def _end(self) -> None:
        unbind(self._path)


def _stands_still(process: Path) -> bool:
    """Whether all threads of a process are stopped (proc(5), state), or it has ended."""
    try:
        states = {(task / "stat").read_text().rpartition(")")[2].split()[0] for task in (process / "task").iterdir()}
    except (FileNotFoundError, ProcessLookupError):
        return not process.exists()
    return states <= set("TtZX")
