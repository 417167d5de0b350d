"""The kinds of controller that the bench has: what each can do and what it cannot, with the reasons the kernel gives.

This is the one table of these facts. Tests say by its names what they need (``usb(needs="suspend")``), a test that a
controller cannot run is skipped with the reason given here, and the documentation shows it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

SPEEDS = ("full", "high", "super")

#: What a test may need that not every controller can do.
ABILITIES = {
    "full speed": "a bus at full speed, whatever the gadget declares",
    "super speed": "a bus at SuperSpeed",
    "suspend": "the device is told that the host has suspended it, and that it has resumed",
    "remote wakeup": "the device wakes a host that allows it",
    "bus reset": "the device is told of a reset of the port itself",
    "port power": "the host can take the power of the port away, and the device is told",
    "isochronous data": "isochronous endpoints carry data",
    "long transfers": "one transfer of the host may be longer than 4 MiB",
    "early withdrawal": "the device is told at once that the host has given a control request up",
    "completion when read": "an IN transfer of 64 bytes or less is complete when the host has read it, and no earlier",
    "many endpoints": "more than four bulk endpoints each way, or more than three interrupt IN endpoints beside them",
    "distinct endpoint numbers": "no IN endpoint has the number of an OUT endpoint, in a gadget of few endpoints",
    "always plugged in": "the host sees what a program unbinds and binds, with nobody there to plug it in again",
    "interrupted unbind": "a process may be killed, or get a signal, while its gadget is taken off the controller",
    "certain stalls": "a request that the device refuses is refused for the host, always",
    "FIFO status": "the device can ask how many bytes wait in an endpoint, and flush them",
}


@dataclass(frozen=True, slots=True)
class Lack:
    """Something that a kind of controller cannot do.

    Attributes:
        ability: The name in ``ABILITIES``.
        reason: Why not, and what happens instead.
        source: Where the kernel has it (Linux 6.1, below ``drivers/usb``).
        speeds: At which speeds.
    """

    ability: str
    reason: str
    source: str
    speeds: tuple[str, ...] = SPEEDS

    def __post_init__(self) -> None:
        if self.ability not in ABILITIES:
            raise ValueError(f"ability={self.ability!r}: there are {', '.join(ABILITIES)}")

    def __str__(self) -> str:
        only = f" at {' and '.join(self.speeds)} speed" if self.speeds != SPEEDS else ""
        return f"no {self.ability}{only}: {self.reason} ({self.source})"


@dataclass(frozen=True, slots=True)
class ControllerKind:
    """A kind of controller.

    Attributes:
        name: As in ``usb(controller=...)``.
        prefix: What the names of its controllers in ``/sys/class/udc`` begin with.
        lacks: What it cannot do.
    """

    name: str
    prefix: str
    lacks: tuple[Lack, ...]

    @property
    def speeds(self) -> tuple[str, ...]:
        """The speeds that its bus can have."""
        return tuple(speed for speed in SPEEDS if self.lack(f"{speed} speed") is None)

    def speed(self, wanted: str) -> str:
        """The speed of its bus where a test leaves it open: the one wanted, or else the fastest."""
        return wanted if wanted in self.speeds else self.speeds[-1]

    def lack(self, ability: str, speed: str | None = None) -> Lack | None:
        """Why it cannot do something; None if it can.

        Args:
            ability: The name in ``ABILITIES``.
            speed: At which speed; None for what it can do at none.
        """
        found = (lack for lack in self.lacks if lack.ability == ability)
        return next((lack for lack in found if lack.speeds == SPEEDS or speed in lack.speeds), None)

    def refusal(self, speed: str, needs: Iterable[str]) -> str | None:
        """Why it cannot run a test at a speed that needs these; None if it can."""
        lack = next(filter(None, (self.lack(ability, speed) for ability in (f"{speed} speed", *needs))), None)
        return f"{self.name} has {lack}" if lack is not None else None


_NO_FIFO = Lack(
    "FIFO status", "the driver has neither fifo_status nor fifo_flush", "gadget/udc/core.c, usb_ep_fifo_status"
)

DUMMY = ControllerKind(
    "dummy_hcd",
    "dummy_udc.",
    (
        Lack(
            "suspend",
            "its SuperSpeed root hub refuses to suspend a port",
            "gadget/udc/dummy_hcd.c, dummy_hub_control",
            ("super",),
        ),
        Lack(
            "remote wakeup",
            "it never suspends there",
            "gadget/udc/dummy_hcd.c, dummy_hub_control",
            ("super",),
        ),
        Lack("isochronous data", "it has no isochronous endpoints", "gadget/udc/dummy_hcd.c, ep_info"),
        Lack(
            "completion when read",
            "it takes 64 bytes or less into a buffer of its own, and completes them at once",
            "gadget/udc/dummy_hcd.c, dummy_queue",
        ),
        Lack(
            "many endpoints",
            "most of its endpoints have a fixed number and type; one more gets an address that another has",
            "gadget/udc/dummy_hcd.c, ep_info; gadget/epautoconf.c",
        ),
        Lack(
            "certain stalls",
            "it stalls without the lock under which its timer changes other bits of the same byte, so that a stall "
            "can be lost (three of 164,826 were): the host waits until it gives up, and the next request is served",
            "gadget/udc/dummy_hcd.c, dummy_set_halt_and_wedge and dummy_timer",
        ),
        _NO_FIFO,
    ),
)

USBIP = ControllerKind(
    "usbip-vudc",
    "usbip-vudc.",
    (
        Lack(
            "full speed",
            "it has no such option; a gadget with max_speed=Speed.FULL runs at full speed",
            "usbip/vudc_dev.c, vgadget_pullup",
        ),
        Lack("super speed", "high speed is its fastest", "usbip/vudc_dev.c, vudc_probe"),
        Lack("suspend", "USB/IP does not carry it, so the device is not told", "usbip/vhci_hcd.c, vhci_hub_control"),
        Lack("remote wakeup", "it has no operation for that", "usbip/vudc_dev.c, vgadget_ops"),
        Lack(
            "bus reset",
            "USB/IP does not carry it; the device only sees the host configure it anew",
            "usbip/vhci_hcd.c, vhci_hub_control",
        ),
        Lack(
            "port power",
            "USB/IP does not carry it; for the device nothing changes",
            "usbip/vhci_hcd.c, vhci_hub_control",
        ),
        Lack(
            "isochronous data",
            "the endpoints bind, and every packet of theirs comes back empty",
            "usbip/vudc_transfer.c, v_timer",
        ),
        Lack(
            "long transfers",
            "it wants the memory in one piece, and gives the connection up where it gets none",
            "usbip/vudc_rx.c, v_recv_cmd_submit",
        ),
        Lack(
            "early withdrawal",
            "it takes the request back without a word; the device is told with the next one",
            "usbip/vudc_rx.c, v_recv_cmd_unlink",
        ),
        Lack(
            "distinct endpoint numbers",
            "it has both for each number, and FunctionFS looks at nothing else: a request for an endpoint goes to the "
            "first function that has one of this number",
            "gadget/function/f_fs.c, ffs_func_req_match",
        ),
        Lack(
            "always plugged in",
            "unbinding ends its connection, and somebody has to make the next one",
            "usbip/vudc_dev.c, vgadget_pullup",
        ),
        Lack(
            "interrupted unbind",
            "with a signal pending it does not wait for the end of its connection, and the kernel has crashed (once, "
            "when a stopped process was killed): a process that serves FunctionFS must not be killed while plugged in",
            "usbip/usbip_event.c, usbip_stop_eh; usbip/vudc_dev.c, vudc_shutdown",
        ),
        _NO_FIFO,
    ),
)

#: All of them, by name.
KINDS = {kind.name: kind for kind in (DUMMY, USBIP)}


def kind_of(udc: str) -> ControllerKind | None:
    """The kind of a controller by its name in ``/sys/class/udc``; None if it is none of the bench."""
    return next((kind for kind in KINDS.values() if udc.startswith(kind.prefix)), None)
