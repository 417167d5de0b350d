"""A USB cable that is a Python object: it plugs and unplugs any gadget, and what goes over it can be tampered with.

The gadget is bound to a controller of ``usbip-vudc``, the host is ``vhci-hcd``; both speak USB/IP
(``Documentation/usb/usbip_protocol.rst``) over a stream socket that a process hands to them. Here this process keeps
the other ends and passes on what they say, so faults meet whatever gadget and whatever host driver there is. Closing
the sockets is a real unplug for both sides.

What is particular to usbip-vudc (measured on Linux 6.1):

* High speed at most; a gadget with ``max_speed`` full runs at full speed.
* Isochronous endpoints bind, but carry nothing: every packet comes back empty (``vudc_transfer.c``).
* One transfer is 4 MiB at most. The cable answers a longer one with ENOMEM itself, because it would end the connection,
  and make the controller unusable until the gadget is bound anew.
* A control request that the host gives up: the gadget hears of that with the next request.
* Suspend and remote wake-up do not go over USB/IP: the host suspends the device, and the gadget is not told.
* Answers that were on their way at an unplug come out at the next plug, even for somebody else. The cable drops them.
* SET_ADDRESS is answered by vhci-hcd, so no rule ever meets it.
* The kernel logs ``v_rx exit with error -32`` at every unplug. It means nothing.
"""

from __future__ import annotations

import errno
import itertools
import math
import os
import re
import select
import socket
import threading
import time
import warnings
from contextlib import suppress
from pathlib import Path
from weakref import WeakSet

from gadget.errors import (
    ClosedError,
    KernelError,
    MissingModuleError,
    UsageError,
)
from gadget.testing.usbip.usbip_ports import HOST, Port, connect_device, connect_host, connection_speed, is_connected
from gadget.testing.usbip.wire import Fault, Kind, Rule, Wire

__all__ = ["Cable", "Rule"]

#: How long both sides may take to let go, in seconds; under emulation, on a machine shared with others.
PATIENCE = 30.0
#: How much is read at once.
CHUNK = 1 << 16

#: The connections whose sockets are open.
_links: WeakSet[_Link] = WeakSet()

#: What tells the connections of this process from all others in vhci-hcd's list.
_devids = itertools.count(os.getpid() << 8 | 1)


class Cable:
    """The connection of one usbip-vudc controller to the host: plug, unplug, tamper.

    A fault (:meth:`stall`, :meth:`short`, ...) is for transfers of one endpoint: the address as in its descriptor
    (0x81, 0x02), or 0 for control transfers in either direction. The first ``skip`` of them pass, then it applies
    ``count`` times (None: until it is removed). It meets a transfer when its turn comes on the bus: one that the device
    has already is left alone, such as the read that a host driver (cdc_acm) always has waiting. Of several rules the
    oldest that applies has the transfer, and younger ones do not count it. Rules stay in force when the cable is
    unplugged and plugged again.

    If the thread that passes the messages on fails, the cable is unplugged, and the next call raises why.

    Args:
        udc: The controller, as in ``/sys/class/udc``.

    Raises:
        UsageError: That is no controller of usbip-vudc; no other has a cable.
    """

    def __init__(self, udc: str = "usbip-vudc.0") -> None:
        if not re.fullmatch(r"usbip-vudc\.\d+", udc):
            raise UsageError(f"{udc} has no cable to take hold of: bind the gadget to usbip-vudc.0 instead")
        self.udc = udc
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        self._link: _Link | None = None
        self._port: Port | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<Cable of {self.udc}, {'plugged' if self.plugged else 'unplugged'}>"

    def __enter__(self) -> Cable:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        link: _Link | None = getattr(self, "_link", None)
        if link is not None:
            message = f"{self!r} was not closed"
            link.end()
            link.close()
            warnings.warn(message, ResourceWarning, source=self, stacklevel=2)

    @property
    def plugged(self) -> bool:
        """Whether it connects both sides now; no more after :meth:`vanish`, or when one of them has let go."""
        return self._link is not None and self._link.alive

    def plug(self) -> None:
        """Connects the gadget, which is bound already, to the host, which then enumerates it.

        Raises:
            UsageError: It is plugged in.
            MissingModuleError: usbip-vudc or vhci-hcd is not loaded.
            ControllerBusyError: The controller has another cable.
            NotPermittedError: It needs root.
            KernelError: No gadget is bound, or the kernel refused otherwise.
        """
        self._check()
        if self.plugged:
            raise UsageError(f"the cable of {self.udc} is plugged in already: unplug() it first")
        self.unplug()
        if not HOST.exists():
            raise MissingModuleError(errno.ENOENT, "there is no vhci-hcd, the host's side: modprobe vhci-hcd")
        host, host_end = socket.socketpair()
        device, device_end = socket.socketpair()
        self._link = _Link(self.udc, host, device, self._rules, self._lock)
        with host_end, device_end:  # The kernel keeps what it has been given.
            try:
                connect_device(self.udc, device_end)
                self._link.has_device = True
                self._port = connect_host(host_end, next(_devids), connection_speed(self.udc))
            except BaseException:
                self.unplug()
                raise

    def unplug(self) -> None:
        """Pulls it out, and returns when the host and the gadget have both noticed; nothing if it is unplugged.

        Raises:
            KernelError: One of them did not let go in time; call it again to wait on.
        """
        link = self._link
        if link is None:
            return
        link.end()
        self._wait_apart()
        link.close()
        self._link = self._port = None
        link.check()

    def device_path(self) -> Path | None:
        """The device's folder in the host's sysfs (``/sys/bus/usb/devices/3-1``); None while the host has none."""
        if self._link is not None:
            self._link.check()
        port = self._port
        return port.device if port is not None and port.device.exists() and port.is_held() else None

    def close(self) -> None:
        """Unplugs it for good, and raises what went wrong in its thread."""
        self._closed = True
        self.unplug()

    def stall(self, endpoint: int, *, count: int | None = 1, skip: int = 0) -> Rule:
        """The host sees a STALL (EPIPE). The device never sees the transfer, nor is its endpoint halted."""
        return self._add(Fault(Kind.FAIL, endpoint, count, skip, error=errno.EPIPE))

    def fail(self, endpoint: int, error: int, *, count: int | None = 1, skip: int = 0) -> Rule:
        """The host sees an error (``errno.EPROTO``, EILSEQ, EOVERFLOW, ...). The device never sees the transfer."""
        return self._add(Fault(Kind.FAIL, endpoint, count, skip, error=error))

    def short(self, endpoint: int, length: int, *, count: int | None = 1, skip: int = 0) -> Rule:
        """At most ``length`` bytes get through, and that is what the host is told.

        IN: the device has sent all of its answer, and the rest of it is lost. OUT: the device is given only these
        bytes. If they are whole packets it waits for more, as on any bus: what comes next belongs to the same transfer.
        For that reason a length that is a multiple of 64, except 0, is refused for endpoint 0. Isochronous transfers
        stay as they are.
        """
        return self._add(Fault(Kind.SHORT, endpoint, count, skip, length=length))

    def delay(self, endpoint: int, seconds: float, *, count: int | None = 1, skip: int = 0) -> Rule:
        """The device sees the transfer later, and those of the same endpoint after it; other endpoints are not held up.

        The host can take it back meanwhile; then the device never sees it.
        """
        return self._add(Fault(Kind.DELAY, endpoint, count, skip, seconds=seconds))

    def drop(self, endpoint: int, *, count: int | None = 1, skip: int = 0) -> Rule:
        """The device never sees the transfer, and the host hears nothing until it takes it back.

        Until then the endpoint stands still, as one that answers NAK: transfers behind it wait.
        """
        return self._add(Fault(Kind.DROP, endpoint, count, skip))

    def vanish(self, endpoint: int, *, skip: int = 0) -> Rule:
        """The cable is torn out in mid-transfer: handed to the device, never answered, and both sides see the unplug.

        How much of it the device still takes is open, as with a real cable. :meth:`plug` connects it again.
        """
        return self._add(Fault(Kind.VANISH, endpoint, 1, skip))

    def clear(self) -> None:
        """Removes every rule."""
        self._check()
        with self._lock:
            for rule in self._rules:
                rule.remove()
            self._rules.clear()

    def _add(self, fault: Fault) -> Rule:
        self._check()
        rule = Rule(fault)
        with self._lock:
            self._rules.append(rule)
        return rule

    def _check(self) -> None:
        if self._link is not None:
            self._link.check()
        if self._closed:
            raise ClosedError(f"the cable of {self.udc} was closed: make a new one")

    def _wait_apart(self) -> None:
        """Waits for the condition: neither driver says when it changes, so it is looked at again and again."""
        deadline = time.monotonic() + PATIENCE
        while holders := self._holders():
            if time.monotonic() > deadline:
                message = f"{' and '.join(holders)} did not let go of the cable in {PATIENCE:g} s; see dmesg"
                raise KernelError(errno.ETIMEDOUT, message)
            threading.Event().wait(0.005)

    def _holders(self) -> list[str]:
        host = self._port is not None and self._port.is_held()
        # usbip-vudc tells the gadget first and is available again after that (vudc_dev.c: shutdown, reset).
        device = self._link is not None and self._link.has_device and is_connected(self.udc)
        return [who for who, holds in (("the host", host), ("the gadget", device)) if holds]


def open_ends() -> dict[int, str]:
    """This process's file descriptors that are ends of cables, each with a name that outlives unplug and plug."""
    return {end.fileno(): f"an end of the cable of {link.udc}" for link in list(_links) for end in link.ends}


class _Link:
    """One connection, from plug to unplug: a thread that carries messages between two sockets until either closes.

    Attributes:
        udc: The controller.
        ends: The sockets that are not the kernel's.
        has_device: The gadget's side is connected to it, and not to another cable.
    """

    def __init__(
        self, udc: str, host: socket.socket, device: socket.socket, rules: list[Rule], lock: threading.Lock
    ) -> None:
        self.udc, self.ends = udc, (host, device)
        self.has_device = False
        self._host, self._device = host, device
        self._wire = Wire(rules, mark=1 << 31 | int.from_bytes(os.urandom(4), "big"))
        self._lock = lock
        self._error: BaseException | None = None
        self._over = False
        for end in (host, device):
            end.setblocking(False)
        # The kernel unplugs by itself when the process ends, so nothing has to wait for this thread then.
        self._thread = threading.Thread(target=self._run, name="cable", daemon=True)
        self._thread.start()
        _links.add(self)

    @property
    def alive(self) -> bool:
        return not self._over

    def check(self) -> None:
        """Raises, once, what went wrong in the thread."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def end(self) -> None:
        """Shuts both sockets, which the kernel notices as well as the thread, and waits for the thread."""
        self._shut()
        self._thread.join()

    def close(self) -> None:
        _links.discard(self)
        self._host.close()
        self._device.close()

    def _shut(self) -> None:
        # Not closed: bytes that nobody has read would make a reset of it, and the number could be taken anew.
        for end in (self._host, self._device):
            with suppress(OSError):  # ENOTCONN: the other side was faster.
                end.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        try:
            while self._step():
                pass
        except (ConnectionResetError, BrokenPipeError):
            pass  # A side let go while something was under way to it: that is an unplug as well.
        except BaseException as error:
            self._error = error
        finally:
            self._over = True  # before anybody can have seen it
            self._shut()

    def _step(self) -> bool:
        """Waits for something to do, and does it; False when that was the end."""
        wire = self._wire
        ready = self._wait()
        with self._lock:
            now = time.monotonic()
            for end, receive in ((self._host, wire.from_host), (self._device, wire.from_device)):
                if ready.get(end.fileno(), 0) & ~select.POLLOUT:
                    data = end.recv(CHUNK)
                    if not data:
                        return False
                    receive(data, now)
            wire.expire(now)
        _send(self._device, wire.to_device)
        _send(self._host, wire.to_host)
        return not wire.broken or bool(wire.to_device or wire.to_host)

    def _wait(self) -> dict[int, int]:
        """Waits until a socket is ready or a delay is over."""
        poll = select.poll()
        for end, unsent in ((self._host, self._wire.to_host), (self._device, self._wire.to_device)):
            poll.register(end, select.POLLIN | (select.POLLOUT if unsent else 0))
        expiry = self._wire.next_expiry()
        # Rounded up: to wake up before the time would be to wake up for nothing, again and again.
        timeout = None if expiry is None else max(0, math.ceil((expiry - time.monotonic()) * 1000))
        return dict(poll.poll(timeout))


def _send(end: socket.socket, unsent: bytearray) -> None:
    """Sends what the kernel takes now."""
    while unsent:
        try:
            del unsent[: end.send(unsent)]
        except BlockingIOError:
            return
