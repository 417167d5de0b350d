"""Serial ports: each is a terminal, ``/dev/ttyGS0``, on this side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from gadget.kernel_functions.attributes import Flag, attribute
from gadget.kernel_functions.kernel_function import BULK_PAIR, INTERRUPT_IN, EndpointNeed, KernelFunction
from gadget.protocol.constants import Speed


@dataclass(frozen=True, kw_only=True)
class _Serial(KernelFunction):
    """A function with a terminal on this side; the kernel has eight of them for all gadgets (``u_serial.h``)."""

    @property
    def terminal(self) -> Path:
        """Its terminal on this side.

        Raises:
            ClosedError: It is not up.
            KernelError: There is no such terminal.
        """
        return self._up().terminal()

    @property
    def devices(self) -> tuple[str, ...]:
        """Its terminal."""
        return (str(self.terminal),)


@dataclass(frozen=True, kw_only=True)
class Acm(_Serial):
    """A serial port of class CDC ACM, which hosts drive without a driver of their own (``f_acm.c``).

    Attributes:
        console: The kernel's console goes there; only where the kernel was built with CONFIG_U_SERIAL_CONSOLE.
    """

    FAMILY: ClassVar[str] = "acm"
    ENDPOINTS: ClassVar[tuple[EndpointNeed, ...] | None] = (*BULK_PAIR, INTERRUPT_IN)
    INTERFACES: ClassVar[int | None] = 2
    HAS_ASSOCIATION: ClassVar[bool] = True

    console: bool | None = attribute(Flag(), "f_acm.c, f_acm_console_store")


@dataclass(frozen=True, kw_only=True)
class Gser(_Serial):
    """A pair of bulk endpoints without a class, which ``usbserial`` drives on Linux (``f_serial.c``).

    Attributes:
        console: The kernel's console goes there; only where the kernel was built with CONFIG_U_SERIAL_CONSOLE.
    """

    FAMILY: ClassVar[str] = "gser"
    ENDPOINTS: ClassVar[tuple[EndpointNeed, ...] | None] = BULK_PAIR
    INTERFACES: ClassVar[int | None] = 1

    console: bool | None = attribute(Flag(), "f_serial.c, f_serial_console_store")


@dataclass(frozen=True, kw_only=True)
class Obex(_Serial):
    """CDC OBEX, for the exchange of objects (``f_obex.c``). It has no SuperSpeed.

    A device that has one stays invisible to the host until a program has its terminal open. On Linux 6.1 even that does
    not help: the kernel learns of it only once the host has selected the function (obex_connect).
    """

    FAMILY: ClassVar[str] = "obex"
    ENDPOINTS: ClassVar[tuple[EndpointNeed, ...] | None] = BULK_PAIR
    MAX_SPEED: ClassVar[Speed] = Speed.HIGH
    INTERFACES: ClassVar[int | None] = 2
