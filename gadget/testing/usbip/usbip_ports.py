"""The two drivers at the ends of a USB/IP connection: the controllers of usbip-vudc, the ports of vhci-hcd."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass, replace
from pathlib import Path

from gadget.configfs.apply import write_attribute
from gadget.errors import ControllerBusyError, KernelError, MissingModuleError, NotPermittedError

PLATFORM = Path("/sys/devices/platform")
DEVICES = Path("/sys/bus/usb/devices")
CONTROLLERS = Path("/sys/class/udc")
HOST = PLATFORM / "vhci_hcd.0"

# enum usbip_device_status (include/uapi/linux/usbip.h): a device that is connected, a port that is free.
_DEVICE_USED, _PORT_FREE = 2, 4
# enum usb_device_speed (include/uapi/linux/usb/ch9.h), as `attach` wants it.
_SPEEDS = {"full-speed": 2, "high-speed": 3}


@dataclass(frozen=True, slots=True)
class Port:
    """A port of vhci-hcd, as a line of its ``status`` files shows it (``vhci_sysfs.c``).

    Attributes:
        status_file: Where it stands.
        number: As ``attach`` wants it.
        state: Free, or in use in one way or another.
        devid: What was given to ``attach``; 0 until the host has given the device an address.
        device: Where its device appears, whether there is one or not.
    """

    status_file: Path
    number: int
    state: int
    devid: int
    device: Path

    def is_held(self) -> bool:
        """Whether the host still has what was connected here, or its folder."""
        now = next((port for port in read_ports(self.status_file) if port.number == self.number), None)
        if now is None or now.devid not in (0, self.devid):
            return False  # vhci-hcd was unloaded, or the port is somebody else's by now.
        return now.state != _PORT_FREE or self.device.exists()


def read_ports(status_file: Path) -> list[Port]:
    """The high-speed ports of one host controller: the first of its two root hubs."""
    host = PLATFORM / f"vhci_hcd.{status_file.suffix[1:] or 0}"
    hubs = sorted(int(hub.name[3:]) for hub in host.glob("usb[0-9]*"))
    try:
        lines = [line.split() for line in status_file.read_text().splitlines() if line.startswith("hs")]
    except OSError:
        return []
    return [
        Port(status_file, int(number), int(state), int(devid, 16), DEVICES / f"{hubs[0]}-{place}")
        for place, (_, number, state, _, devid, *_) in enumerate(lines, start=1)
        if hubs
    ]


def is_connected(udc: str) -> bool:
    """Whether a controller has a connection."""
    try:
        return int((PLATFORM / udc / "usbip_status").read_text()) == _DEVICE_USED
    except OSError:
        return False  # usbip-vudc was unloaded.


def connect_device(udc: str, end: socket.socket) -> None:
    """Gives a socket to the gadget's side (``vudc_sysfs.c``)."""
    path = PLATFORM / udc / "usbip_sockfd"
    try:
        write_attribute(path, str(end.fileno()).encode())
    except OSError as error:
        raise _device_refusal(error, udc, path) from error


def _device_refusal(error: OSError, udc: str, path: Path) -> KernelError:
    code = error.errno or errno.EIO
    index = int(udc.rpartition(".")[2])
    load = f"modprobe usbip-vudc num={index + 1}"
    if code == errno.ENOENT and Path("/sys/module/usbip_vudc").exists():
        return MissingModuleError(code, f"usbip-vudc is loaded without {udc}: modprobe -r usbip-vudc && {load}")
    meanings: dict[int, tuple[type[KernelError], str]] = {
        errno.ENOENT: (MissingModuleError, f"there is no {udc}: {load}"),
        errno.ENODEV: (KernelError, f"no gadget is bound to {udc}: bind it first, then plug the cable in"),
        errno.EBUSY: (ControllerBusyError, f"{udc} has a cable already: unplug that one (another Cable, usbipd)"),
        errno.EACCES: (NotPermittedError, f"connecting {udc} needs root"),
        errno.EINVAL: (KernelError, f"{udc} is unusable after an error: unbind the gadget, and bind it again"),
    }
    kind, message = meanings.get(code, (KernelError, f"cannot connect {udc}: {os.strerror(code)}; see dmesg"))
    return kind(code, message, str(path))


def connect_host(end: socket.socket, devid: int, speed: int) -> Port:
    """Gives a socket to a free port of the host's (``vhci_sysfs.c``)."""
    for status_file in sorted(HOST.glob("status*")):
        for port in read_ports(status_file):
            # A port is free before the host is done with the device that was there; if it gets another one in between,
            # the host takes that for the same and never enumerates it (hub.c, hub_port_connect_change; measured).
            if port.state == _PORT_FREE and not port.device.exists() and _attach(port, end, devid, speed):
                return replace(port, devid=devid)
    raise KernelError(
        errno.EBUSY, f"no high-speed port of vhci-hcd is free; see {HOST / 'status'}, and unplug something"
    )


def _attach(port: Port, end: socket.socket, devid: int, speed: int) -> bool:
    """Connects one port; False if somebody else was faster."""
    path = HOST / "attach"
    try:
        write_attribute(path, f"{port.number} {end.fileno()} {devid} {speed}".encode())
    except OSError as error:
        code = error.errno or errno.EIO
        if code == errno.EBUSY:
            return False
        kind = NotPermittedError if isinstance(error, PermissionError) else KernelError
        raise kind(code, f"cannot connect port {port.number} of vhci-hcd: {os.strerror(code)}", str(path)) from error
    return True


def connection_speed(udc: str) -> int:
    """The speed to tell the host, as the gadget's controller has chosen it when the gadget was bound."""
    try:
        return _SPEEDS.get((CONTROLLERS / udc / "current_speed").read_text().strip(), _SPEEDS["high-speed"])
    except OSError:
        return _SPEEDS["high-speed"]
