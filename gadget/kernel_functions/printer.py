"""Printers: what the host prints is read from ``/dev/g_printer0`` on this side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from gadget.kernel_functions.attributes import Line, Number, attribute
from gadget.kernel_functions.kernel_function import BULK_PAIR, EndpointNeed, KernelFunction


@dataclass(frozen=True, kw_only=True)
class Printer(KernelFunction):
    """A printer of class 7, in both directions (``f_printer.c``).

    The kernel has four of them for all gadgets.

    Attributes:
        pnp_string: The device ID of IEEE 1284: ``MFG:linux;MDL:g_printer;CLS:PRINTER;SN:1;``. None by default.
        q_len: How many requests wait at each endpoint; the kernel has 10.
    """

    FAMILY: ClassVar[str] = "printer"
    ENDPOINTS: ClassVar[tuple[EndpointNeed, ...] | None] = BULK_PAIR
    INTERFACES: ClassVar[int | None] = 1
    NOT_SHARED: ClassVar[str] = "it would make its device node twice (f_printer.c, printer_func_bind)"

    # Behind two bytes of length, it has to fit into the buffer of endpoint 0 (composite.h, USB_COMP_EP0_BUFSIZ).
    pnp_string: str | None = attribute(Line(4094), "f_printer.c, printer_func_setup")
    q_len: int | None = attribute(Number(1, 0xFFFF), "f_printer.c, f_printer_opts_q_len_store")

    @property
    def node(self) -> Path:
        """Its device node on this side.

        Raises:
            ClosedError: It is not up.
            KernelError: There is none, since it is not bound; or there are several of different gadgets, and the kernel
                does not say whose is whose.
        """
        return self._up().printer_device()

    @property
    def devices(self) -> tuple[str, ...]:
        """Its device node."""
        return (str(self.node),)
