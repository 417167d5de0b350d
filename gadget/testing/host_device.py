"""A device as the host's kernel knows it: its folder in sysfs, and the two ways to open it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gadget.errors import GadgetError, UsageError
from gadget.protocol.constants import Speed
from gadget.testing.waiting import PATIENCE, wait_for

if TYPE_CHECKING:
    import usb1

    from gadget.testing.usbfs import Usbfs

#: What sysfs writes as ``speed``, in Mbit/s (Documentation/ABI/testing/sysfs-bus-usb).
SPEEDS = {"12": Speed.FULL, "480": Speed.HIGH, "5000": Speed.SUPER, "10000": Speed.SUPER_PLUS}


class HostDevice:
    """One device on the host's side, from enumeration to disconnection.

    Args:
        path: Its folder in sysfs, such as ``/sys/bus/usb/devices/1-1``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # Another device may get the same place: then this one is gone all the same.
        self.bus, self.address = self._number("busnum"), self._number("devnum")

    def __repr__(self) -> str:
        return f"<{self.path.name}: bus {self.bus}, address {self.address}>"

    def _read(self, name: str) -> str:
        try:
            return (self.path / name).read_text().strip()
        except OSError:
            return ""

    def _number(self, name: str) -> int:
        text = self._read(name)
        return int(text) if text else -1

    def _write(self, name: str, value: str) -> None:
        try:
            (self.path / name).write_text(value)
        except OSError as error:
            raise GadgetError(f"cannot write {value!r} to {self.path / name}: {error.strerror}") from error

    @property
    def present(self) -> bool:
        """Whether it is still there, at this address."""
        return self._number("devnum") == self.address

    @property
    def speed(self) -> Speed | None:
        """The speed of its connection."""
        return SPEEDS.get(self._read("speed"))

    @property
    def configuration(self) -> int:
        """The number (bConfigurationValue) of the configuration that the host has selected; 0 for none."""
        text = self._read("bConfigurationValue")
        return int(text) if text else 0

    @property
    def identity(self) -> tuple[int, int]:
        """Its vendor and product IDs."""
        return int(self._read("idVendor") or "0", 16), int(self._read("idProduct") or "0", 16)

    def interfaces(self) -> dict[str, str | None]:
        """Its interfaces (``1-1:1.0``), and the host's driver that has each."""
        found = sorted(self.path.glob(f"{self.path.name}:*"))
        return {folder.name: _name_of(folder / "driver") for folder in found}

    def select_configuration(self, value: int) -> None:
        """Selects a configuration, 0 for none, as the host's own kernel does it (SET_CONFIGURATION)."""
        # An empty or negative number deselects; the kernel sends SET_CONFIGURATION 0 then (message.c).
        self._write("bConfigurationValue", str(value) if value else "-1")

    def reset(self) -> None:
        """Resets its port; the host's kernel configures it again as it was."""
        with self.libusb1(interface=None) as handle:
            handle.resetDevice()

    def suspend(self, timeout: float = PATIENCE) -> None:
        """Lets the host suspend it, and waits until it has.

        Args:
            timeout: Seconds.

        Raises:
            UsageError: It cannot be suspended: dummy_hcd never suspends at SuperSpeed.
            GadgetError: It stays awake; a program that has it open keeps it so.
        """
        if self.speed is not None and self.speed >= Speed.SUPER:
            raise UsageError("dummy_hcd does not suspend at SuperSpeed: ask for usb(speed='high')")
        self._write("power/autosuspend_delay_ms", "0")
        self._write("power/control", "auto")
        advice = f"{self.path} to be suspended: close what has it open (pyusb, libusb1), and unbind its drivers"
        wait_for(lambda: self._read("power/runtime_status") == "suspended", advice, timeout)

    def resume(self) -> None:
        """Wakes it up, and waits until it is awake."""
        self._write("power/control", "on")
        wait_for(lambda: self._read("power/runtime_status") == "active", f"{self.path} to be awake")

    def usbfs(self) -> Usbfs:
        """The device through the kernel's own interface, in a ``with`` block: for what the libraries refuse to do."""
        from gadget.testing.usbfs import Usbfs

        return Usbfs(self.bus, self.address)

    @contextmanager
    def pyusb(self) -> Iterator[Any]:
        """The device through pyusb, with a libusb of its own: without udev, libusb looks for devices only once."""
        import usb.core
        import usb.util

        from gadget.testing.pyusb_backend import let_go, own_backend

        with own_backend() as backend:
            device = usb.core.find(bus=self.bus, address=self.address, backend=backend)
            if device is None:
                raise GadgetError(f"pyusb does not see {self!r}: is it gone?")
            try:
                yield device
            finally:
                with suppress(usb.core.USBError):  # It may be gone by now.
                    usb.util.dispose_resources(device)
                let_go(device)

    @contextmanager
    def libusb1(self, interface: int | None = 0) -> Iterator[usb1.USBDeviceHandle]:
        """The device through libusb1.

        Args:
            interface: The interface to claim; None for none.
        """
        with self.libusb1_context(interface) as (_, handle):
            yield handle

    @contextmanager
    def libusb1_context(self, interface: int | None = 0) -> Iterator[tuple[usb1.USBContext, usb1.USBDeviceHandle]]:
        """As :meth:`libusb1`, with the context whose ``handleEvents()`` lets asynchronous transfers complete."""
        import usb1

        with usb1.USBContext() as context:
            found = [
                device
                for device in context.getDeviceIterator(skip_on_error=True)
                if (device.getBusNumber(), device.getDeviceAddress()) == (self.bus, self.address)
            ]
            if not found:
                raise GadgetError(f"libusb1 does not see {self!r}: is it gone?")
            handle = found[0].open()
            try:
                if interface is not None:
                    handle.claimInterface(interface)
                yield context, handle
            finally:
                with suppress(usb1.USBErrorNoDevice, usb1.USBErrorNotFound):
                    if interface is not None:
                        handle.releaseInterface(interface)
                handle.close()


def _name_of(link: Path) -> str | None:
    try:
        return link.readlink().name
    except OSError:
        return None
