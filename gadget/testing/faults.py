"""What a host, a cable or a fault can do to a device: one by one, or in sequences that can be repeated."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from gadget.errors import UsageError
from gadget.testing.controller_kinds import USBIP, kind_of
from gadget.testing.host_faults import HostFaults
from gadget.testing.served import Served

if TYPE_CHECKING:
    from gadget.testing.usbip.cable import Cable, Rule

#: ENDPOINT_HALT of SET_FEATURE to an endpoint (USB 2.0, 9.4.9).
TO_ENDPOINT, SET_FEATURE, ENDPOINT_HALT = 0x02, 3, 0

#: After each of these the device is configured again, so they can be played in any order.
REPEATABLE = ("reset", "rebind", "reconfigure", "replug", "suspend_and_resume")
#: What can be played by name: needs no argument, and does something by itself.
PLAYABLE = (
    *REPEATABLE,
    *("unbind", "bind", "unconfigure", "configure", "suspend", "resume", "unplug", "plug"),
    *("power_off", "power_on", "power_cycle", "kill"),
)


class Faults(HostFaults):
    """Faults for one device. None of them needs anything of the program that serves it.

    Args:
        served: The device.

    Attributes:
        history: What was done, in order.
    """

    def __init__(self, served: Served) -> None:
        self.served = served
        self.history: list[str] = []

    def reset(self) -> None:
        """The host resets the port, and configures the device again."""
        self.history.append("reset")
        self.served.device.reset()
        self.served.wait_configured()

    def unbind(self) -> None:
        """The device leaves the bus: its gadget is taken off the controller."""
        self.history.append("unbind")
        self.served.unbind()

    def bind(self) -> None:
        """The device comes back, and the host configures it."""
        self.history.append("bind")
        self.served.bind()

    def rebind(self) -> None:
        """:meth:`unbind`, and :meth:`bind`."""
        self.unbind()
        self.bind()

    def unconfigure(self) -> None:
        """The host selects no configuration."""
        self.history.append("unconfigure")
        self.served.device.select_configuration(0)

    def configure(self, value: int = 1) -> None:
        """The host selects a configuration."""
        self.history.append(f"configure {value}")
        self.served.device.select_configuration(value)
        self.served.wait_configured()

    def reconfigure(self) -> None:
        """:meth:`unconfigure`, and :meth:`configure`."""
        value = self.served.device.configuration or 1
        self.unconfigure()
        self.configure(value)

    def suspend(self) -> None:
        """The host suspends the device. No program may have it open; not at SuperSpeed with dummy_hcd.

        Raises:
            UsageError: The bus tells the device nothing of it: at SuperSpeed, and on usbip-vudc.
        """
        kind = kind_of(self.served.controller.name)
        lack = kind.lack("suspend") if kind is not None else None
        if lack is not None:
            raise UsageError(f"{self.served.controller.name} has {lack}: ask for usb(needs='suspend')")
        self.history.append("suspend")
        self.served.device.suspend()

    def resume(self) -> None:
        """The host wakes the device up."""
        self.history.append("resume")
        self.served.device.resume()

    def suspend_and_resume(self) -> None:
        """:meth:`suspend`, and :meth:`resume`."""
        self.suspend()
        self.resume()

    def unplug(self) -> None:
        """The cable is pulled. With dummy_hcd, which has none, the gadget is taken off the controller."""
        if not self._has_cable:
            self.unbind()
            return
        self.history.append("unplug")
        self._cable.unplug()
        self.served.controller.wait_gone()

    def plug(self) -> None:
        """The cable is plugged in again, and the host configures the device."""
        if not self._has_cable:
            self.bind()
            return
        self.history.append("plug")
        self._cable.plug()
        self.served.wait_configured()

    def replug(self) -> None:
        """:meth:`unplug`, and :meth:`plug`."""
        self.unplug()
        self.plug()

    def halt(self, endpoint: int) -> None:
        """The endpoint is halted until the host clears that, at any controller (SET_FEATURE, ENDPOINT_HALT).

        Raises:
            UsageError: Something has claimed the endpoint's interface: then the host's kernel lets nobody else do it.
        """
        import usb1

        self.history.append(f"halt {endpoint:#04x}")
        with self.served.libusb1(interface=None) as handle:
            try:
                handle.controlWrite(TO_ENDPOINT, SET_FEATURE, ENDPOINT_HALT, endpoint, b"")
            except (usb1.USBErrorBusy, usb1.USBErrorIO) as error:
                raise UsageError(
                    f"the host refuses to halt endpoint {endpoint:#04x}: a program or a driver has claimed its "
                    "interface. Let that release it first, or send the request by what has it open: "
                    f"usb_device.ctrl_transfer(0x02, 3, 0, {endpoint:#04x})"
                ) from error

    def stall(self, endpoint: int, *, count: int | None = 1, skip: int = 0) -> Rule:
        """The next transfers of an endpoint stall; see :meth:`~gadget.testing.Cable.stall`. Needs the cable."""
        self.history.append(f"stall {endpoint:#04x}")
        return self._cable.stall(endpoint, count=count, skip=skip)

    def short(self, endpoint: int, length: int, *, count: int | None = 1, skip: int = 0) -> Rule:
        """The next transfers end after ``length`` bytes. Needs the cable."""
        self.history.append(f"short {endpoint:#04x} {length}")
        return self._cable.short(endpoint, length, count=count, skip=skip)

    def late(self, endpoint: int, seconds: float, *, count: int | None = 1, skip: int = 0) -> Rule:
        """The next transfers complete that much later. Needs the cable."""
        self.history.append(f"late {endpoint:#04x} {seconds:g}")
        return self._cable.delay(endpoint, seconds, count=count, skip=skip)

    def never(self, endpoint: int, *, count: int | None = 1, skip: int = 0) -> Rule:
        """The next transfers never complete, until the host gives them up. Needs the cable."""
        self.history.append(f"never {endpoint:#04x}")
        return self._cable.drop(endpoint, count=count, skip=skip)

    def fail(self, endpoint: int, error: int, *, count: int | None = 1, skip: int = 0) -> Rule:
        """The next transfers fail with an errno: EPROTO, EILSEQ, EOVERFLOW ... Needs the cable."""
        self.history.append(f"fail {endpoint:#04x} {error}")
        return self._cable.fail(endpoint, error, count=count, skip=skip)

    def vanish(self, endpoint: int, *, skip: int = 0) -> Rule:
        """The cable is pulled in the middle of the next transfer. Needs the cable."""
        self.history.append(f"vanish {endpoint:#04x}")
        return self._cable.vanish(endpoint, skip=skip)

    def frozen(self) -> AbstractContextManager[None]:
        """The process that serves the device stands still inside a ``with`` block; it answers nothing meanwhile."""
        self.history.append("frozen")
        return self.served.frozen()

    def kill(self) -> None:
        """The process that serves the device is killed (SIGKILL); ``served.start_again()`` starts it again."""
        from gadget.testing.child import ServedChild

        if not isinstance(self.served, ServedChild):
            raise UsageError(f"{self.served.name} has no process of its own to kill: serve it with child=True")
        self.history.append("kill")
        self.served.kill()

    def play(
        self,
        *steps: str | Callable[[], object],
        count: int = 1,
        seed: int | None = None,
        after_each: Callable[[], object] = lambda: None,
    ) -> None:
        """Plays a sequence of faults.

        Args:
            steps: Names of methods without arguments (``"reset"``), or anything that can be called (``lambda:
                faults.halt(0x81)``); without any, those of ``REPEATABLE`` that work at this speed.
            count: How often to play all of them in turn; with a seed, how many to draw.
            seed: Draws them at random. The same seed draws the same ones.
            after_each: Called after each, to look whether the device still serves.
        """
        chosen = self._order([self._step(step) for step in steps or self._repeatable()], count, seed)
        for step in chosen:
            step()
            after_each()

    @staticmethod
    def _order(steps: Sequence[Callable[[], object]], count: int, seed: int | None) -> Iterator[Callable[[], object]]:
        if seed is None:
            return iter([*steps] * count)
        generator = random.Random(seed)
        return (generator.choice(steps) for _ in range(count))

    def _repeatable(self) -> list[str]:
        from gadget.protocol.constants import Speed

        kind, speed = kind_of(self.served.controller.name), self.served.device.speed or Speed.SUPER
        asleep = kind is not None and kind.lack("suspend", speed.name.lower()) is None
        return [name for name in REPEATABLE if asleep or name != "suspend_and_resume"]

    def _step(self, step: str | Callable[[], object]) -> Callable[[], object]:
        if not isinstance(step, str):
            return step
        if step not in PLAYABLE:
            raise UsageError(
                f"there is no fault {step!r}; there are {', '.join(PLAYABLE)}; one that takes arguments is played as "
                "lambda: faults.halt(0x81)"
            )
        found: Callable[[], object] = getattr(self, step)
        return found

    @property
    def _has_cable(self) -> bool:
        return kind_of(self.served.controller.name) is USBIP

    @property
    def _cable(self) -> Cable:
        from gadget.testing.usbip.cable import Cable

        connection = self.served.controller.connection
        if not isinstance(connection, Cable):
            raise UsageError(
                f"{self.served.controller.name} has no cable that could be tampered with: ask for "
                "@pytest.mark.usb(controller='usbip-vudc')"
            )
        return connection
