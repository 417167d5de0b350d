"""Human interface devices: reports are read and written through ``/dev/hidg0`` on this side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from gadget.kernel_functions.attributes import Blob, Flag, Number, attribute
from gadget.kernel_functions.kernel_function import INTERRUPT_IN, INTERRUPT_OUT, EndpointNeed, KernelFunction


@dataclass(frozen=True, kw_only=True)
class Hid(KernelFunction):
    """A keyboard, a mouse, or anything else that speaks in reports (``f_hid.c``).

    The kernel has four of them for all gadgets.

    Attributes:
        report_descriptor: The report descriptor, at most a page.
        report_length: The bytes of the longest report, which become wMaxPacketSize; at full speed there can be 64.
        subclass: bInterfaceSubClass; 1 for a device that a BIOS knows, which is the boot interface. The kernel has 0.
        protocol: bInterfaceProtocol of the boot interface; 1 for a keyboard, 2 for a mouse. The kernel has 0.
        no_out_endpoint: The host sends its reports through endpoint 0; Linux 5.16 and newer.
    """

    FAMILY: ClassVar[str] = "hid"
    INTERFACES: ClassVar[int | None] = 1
    NOT_SHARED: ClassVar[str] = "it would make its device node twice (f_hid.c, hidg_bind)"

    report_descriptor: bytes = attribute(
        Blob(1, 4096), "f_hid.c, f_hid_opts_report_desc_store", "report_desc", required=True
    )
    report_length: int = attribute(Number(1, 1024), "f_hid.c, hidg_bind; USB 2.0, 5.7.3", required=True)
    subclass: int | None = attribute(Number(0, 255), "f_hid.c, F_HID_OPT")
    protocol: int | None = attribute(Number(0, 255), "f_hid.c, F_HID_OPT")
    no_out_endpoint: bool | None = attribute(Flag(), "f_hid.c, F_HID_OPT")

    @property
    def endpoints(self) -> tuple[EndpointNeed, ...] | None:
        """One for reports to the host, and unless it is left out one for those that come back."""
        return (INTERRUPT_IN,) if self.no_out_endpoint else (INTERRUPT_IN, INTERRUPT_OUT)

    @property
    def node(self) -> Path:
        """Its device node on this side.

        Raises:
            ClosedError: It is not up.
            KernelError: There is none: it is there while the gadget is bound.
        """
        return self._up().character_device()

    @property
    def devices(self) -> tuple[str, ...]:
        """Its device node."""
        return (str(self.node),)
