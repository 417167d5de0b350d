"""What the kernel tests controllers with: bytes that come back, bytes from nowhere, bytes into nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gadget.kernel_functions.attributes import Number, attribute
from gadget.kernel_functions.kernel_function import BULK_PAIR, EndpointNeed, KernelFunction

_UNSIGNED = Number(1, 0xFFFFFFFF)


@dataclass(frozen=True, kw_only=True)
class Loopback(KernelFunction):
    """Sends back what it gets (``f_loopback.c``).

    Attributes:
        qlen: How many transfers are in flight; the kernel has 32.
        bulk_buflen: Their bytes; the kernel has 4096.
    """

    FAMILY: ClassVar[str] = "Loopback"
    ENDPOINTS: ClassVar[tuple[EndpointNeed, ...] | None] = BULK_PAIR
    INTERFACES: ClassVar[int | None] = 1

    qlen: int | None = attribute(_UNSIGNED, "f_loopback.c, f_lb_opts_qlen_store")
    bulk_buflen: int | None = attribute(_UNSIGNED, "f_loopback.c, f_lb_opts_bulk_buflen_store")


@dataclass(frozen=True, kw_only=True)
class SourceSink(KernelFunction):
    """Sends patterns for ever, and swallows what it gets (``f_sourcesink.c``).

    Its alternate setting 1 has isochronous endpoints, where the controller has some.

    Attributes:
        pattern: What it sends, and expects: 0 for zeros, 1 for numbers modulo 63, 2 for nothing in particular.
        isoc_interval: The interval of the isochronous endpoints, 1 to 16; the kernel has 4.
        isoc_maxpacket: Their packet size; the kernel has 1024.
        isoc_mult: Packets more in an interval, at high speed and SuperSpeed; the kernel has 0.
        isoc_maxburst: The burst at SuperSpeed; the kernel has 0.
        bulk_buflen: The bytes of a bulk transfer; the kernel has 4096.
        bulk_qlen: How many of them are in flight; the kernel has 1.
        iso_qlen: How many isochronous transfers are in flight; the kernel has 8.
    """

    FAMILY: ClassVar[str] = "SourceSink"
    ENDPOINTS: ClassVar[tuple[EndpointNeed, ...] | None] = BULK_PAIR
    INTERFACES: ClassVar[int | None] = 1

    pattern: int | None = attribute(Number(0, 2), "f_sourcesink.c, f_ss_opts_pattern_store")
    isoc_interval: int | None = attribute(Number(1, 16), "f_sourcesink.c, f_ss_opts_isoc_interval_store")
    isoc_maxpacket: int | None = attribute(Number(0, 1024), "f_sourcesink.c, f_ss_opts_isoc_maxpacket_store")
    isoc_mult: int | None = attribute(Number(0, 2), "f_sourcesink.c, f_ss_opts_isoc_mult_store")
    isoc_maxburst: int | None = attribute(Number(0, 15), "f_sourcesink.c, f_ss_opts_isoc_maxburst_store")
    bulk_buflen: int | None = attribute(_UNSIGNED, "f_sourcesink.c, f_ss_opts_bulk_buflen_store")
    bulk_qlen: int | None = attribute(_UNSIGNED, "f_sourcesink.c, f_ss_opts_bulk_qlen_store")
    iso_qlen: int | None = attribute(_UNSIGNED, "f_sourcesink.c, f_ss_opts_iso_qlen_store")
