"""What a host can do by itself that nobody expects of one: change its mind, give up, take the power away."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from gadget.errors import GadgetError, UsageError
from gadget.testing.controller_kinds import kind_of
from gadget.testing.waiting import PATIENCE

if TYPE_CHECKING:
    from gadget.testing.served import Served
    from gadget.testing.usbfs import Usbfs

#: How a transfer ends that was taken back, or was over already: done, refused, taken back.
_EXPECTED = frozenset({0, -errno.EPIPE, -errno.ENOENT, -errno.ECONNRESET})


class HostFaults:
    """The part of :class:`~gadget.testing.Faults` that needs nothing but a host."""

    served: Served
    history: list[str]
    _power: Path | None = None

    def unlink(self, endpoint: int, *, length: int = 4096, count: int = 8) -> int:
        """The host begins transfers on a bulk or interrupt endpoint, and takes them back at once (unlinks them).

        Some of the data may have been moved by then: to a device it has arrived, from a device it is lost.

        Args:
            endpoint: The address.
            length: Bytes of each.
            count: How many, all at once; the last one is taken back first.

        Returns:
            How many bytes were moved.

        Raises:
            UsageError: Something has claimed the endpoint's interface.
            TimeoutError: The host's kernel does not give them back.
        """
        self.history.append(f"unlink {endpoint:#04x}")
        with self.served.device.usbfs() as usbfs:
            usbfs.claim(self._interface_of(endpoint))
            urbs = [usbfs.submit(endpoint, length) for _ in range(count)]
            for urb in reversed(urbs):
                usbfs.discard(urb)
            _reap_all(usbfs)
            return sum(urb.transferred for urb in urbs)

    def abandon(
        self, request_type: int, request: int, *, value: int = 0, index: int = 0, length: int = 0, data: bytes = b""
    ) -> None:
        """The host begins a control request, and gives it up: before the device has seen it, while it thinks, or later.

        Args:
            request_type: bmRequestType.
            request: bRequest.
            value: wValue.
            index: wIndex.
            length: wLength, of a request with data for the host.
            data: What the host sends, of a request with data for the device.

        Raises:
            TimeoutError: The host's kernel does not give it back.
        """
        from gadget.testing.usbfs import ControlRequest

        self.history.append(f"abandon {request_type:#04x} {request}")
        with self.served.device.usbfs() as usbfs:
            usbfs.discard(
                usbfs.submit_control(ControlRequest(request_type, request, value, index, length or len(data), data))
            )
            _reap_all(usbfs)

    def power_off(self) -> None:
        """The host's hub takes the power of the port away: for the device, the cable is pulled.

        Unlike :meth:`~gadget.testing.Faults.unbind`, the gadget stays bound to its controller.

        Raises:
            UsageError: The device would not be told: on usbip-vudc, and before Linux 6.0.
        """
        kind = kind_of(self.served.controller.name)
        lack = kind.lack("port power") if kind is not None else None
        if lack is not None:
            raise UsageError(f"{self.served.controller.name} has {lack}: ask for usb(needs='port power')")
        port = (self.served.device.path / "port").resolve() / "disable"
        if not port.exists():
            raise UsageError(
                f"the kernel {os.uname().release} does not switch the power of ports: that takes Linux 6.0"
            )
        self.history.append("power_off")
        self._power = port
        port.write_text("1")
        self.served.controller.wait_gone()

    def power_on(self) -> None:
        """The power comes back, and the host configures the device."""
        if self._power is None:
            raise UsageError("nobody has taken the power away: power_off() comes first")
        self.history.append("power_on")
        self._power.write_text("0")
        self._power = None
        self.served.wait_configured()

    def power_cycle(self) -> None:
        """:meth:`power_off`, and :meth:`power_on`."""
        self.power_off()
        self.power_on()

    def _interface_of(self, endpoint: int) -> int:
        found = list(self.served.device.path.glob(f"*:*/ep_{endpoint:02x}"))
        if not found:
            raise GadgetError(f"the host sees no endpoint {endpoint:#04x} of {self.served.name}")
        return int(found[0].parent.name.rpartition(".")[2])


def _reap_all(usbfs: Usbfs) -> None:
    while usbfs.in_flight:
        urb = usbfs.reap(PATIENCE)
        if urb is None:
            raise TimeoutError("the host's kernel does not give back what was taken back")
        if urb.status not in _EXPECTED:
            raise OSError(-urb.status, os.strerror(-urb.status))
