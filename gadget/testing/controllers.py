"""A controller with a host at its other end: which device of the host's is the gadget that is bound to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from gadget.configfs.apply import USB_GADGET_ROOT
from gadget.configfs.udc import Controller, read_controller
from gadget.errors import UsageError
from gadget.testing.controller_kinds import DUMMY, USBIP, kind_of
from gadget.testing.host_device import HostDevice
from gadget.testing.waiting import PATIENCE, wait_for

PLATFORM = Path("/sys/devices/platform")


class Connection(Protocol):
    """How a controller is connected to the host."""

    def plug(self) -> None:
        """Connects what is bound to it."""

    def unplug(self) -> None:
        """Disconnects it; does nothing where nothing is connected."""

    def device_path(self) -> Path | None:
        """The device's folder in sysfs, None while the host sees none."""

    def close(self) -> None:
        """Gives up what the connection itself needs."""


class DummyConnection:
    """dummy_hcd: each of its controllers is soldered to a host controller of the same number."""

    def __init__(self, udc: str) -> None:
        self._host = PLATFORM / f"dummy_hcd.{udc.rpartition('.')[2]}"

    def plug(self) -> None:
        """Binding has connected it."""

    def unplug(self) -> None:
        """Unbinding disconnects it."""

    def close(self) -> None:
        """There is nothing to give up."""

    def device_path(self) -> Path | None:
        """The one device behind its two root hubs, of which one is for SuperSpeed."""
        found = [path for path in self._host.glob("usb*/[0-9]*-1") if (path / "devnum").exists()]
        return found[0] if found else None


class BenchController:
    """A controller of the bench.

    Attributes:
        name: As in ``/sys/class/udc``.
        connection: What is between it and the host.
    """

    def __init__(self, name: str, connection: Connection) -> None:
        self.name = name
        self.connection = connection

    def __repr__(self) -> str:
        return f"<{self.name}>"

    @property
    def sysfs(self) -> Controller:
        """What sysfs says of it now."""
        found = read_controller(self.name)
        assert found is not None, f"there is no {self.name} any more"
        return found

    @property
    def tree(self) -> Path | None:
        """The gadget in configfs that is bound to it, whoever made it; None if there is none."""
        holder = self.sysfs.gadget
        return USB_GADGET_ROOT / holder if holder is not None else None

    @property
    def device(self) -> HostDevice | None:
        """What the host sees there now."""
        path = self.connection.device_path()
        return HostDevice(path) if path is not None else None

    def wait_bound(self, check: Callable[[], None] = lambda: None, timeout: float = PATIENCE) -> None:
        """Waits until something is bound to it; ``check`` may raise why that will not happen."""

        def bound() -> bool:
            check()
            return self.sysfs.holder is not None

        wait_for(bound, f"a gadget to be bound to {self.name}", timeout)

    def wait_configured(self, check: Callable[[], None] = lambda: None, timeout: float = PATIENCE) -> HostDevice:
        """Waits until the host has enumerated and configured what is bound to it.

        Args:
            check: Called meanwhile; may raise why it will not happen.
            timeout: Seconds.
        """

        def configured() -> HostDevice | None:
            check()
            device = self.device
            return device if device is not None and device.configuration else None

        device = wait_for(configured, f"the host to configure what is bound to {self.name}", timeout)
        assert device is not None
        return device

    def wait_gone(self, timeout: float = PATIENCE) -> None:
        """Waits until the host has seen it go."""
        wait_for(lambda: self.device is None, f"the host to see the device on {self.name} go", timeout)


def connect(udc: str) -> BenchController:
    """The bench's controller of this name.

    Raises:
        UsageError: There is no telling what is at its other end.
    """
    kind = kind_of(udc)
    if kind is DUMMY:
        return BenchController(udc, DummyConnection(udc))
    if kind is USBIP:
        from gadget.testing.usbip.cable import Cable

        return BenchController(udc, Cable(udc))
    raise UsageError(
        f"{udc} is no controller of the bench, so its host is not this machine: use dummy_udc or usbip-vudc"
    )
