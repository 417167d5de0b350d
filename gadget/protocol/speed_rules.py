"""What the speed of a connection decides about an endpoint: its packet size and its interval.

USB 2.0 says it in 5.5 to 5.8 and 9.6.6; USB 3.2 in 4.4.6 to 4.4.8, 9.6.6 and 9.6.7.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from gadget.errors import DescriptorError
from gadget.protocol.constants import Speed, TransferType

_BULK_SIZES: dict[Speed, Collection[int]] = {
    Speed.FULL: (8, 16, 32, 64),
    Speed.HIGH: (512,),
    Speed.SUPER: (1024,),
    Speed.SUPER_PLUS: (1024,),
}
_LARGEST_PERIODIC = {
    (TransferType.INTERRUPT, Speed.FULL): 64,
    (TransferType.ISOCHRONOUS, Speed.FULL): 1023,
}
_SECTION = {
    TransferType.BULK: "USB 2.0, 5.8.3; USB 3.2, 9.6.6",
    TransferType.INTERRUPT: "USB 2.0, 5.7.3; USB 3.2, 9.6.6",
    TransferType.ISOCHRONOUS: "USB 2.0, 5.6.3; USB 3.2, 9.6.6",
    TransferType.CONTROL: "USB 2.0, 5.5.3",
}
_INTERVAL_SECTION = "USB 2.0, 9.6.6"


def allowed_packet_sizes(transfer_type: TransferType, speed: Speed, max_burst: int = 0) -> Collection[int]:
    """Lists the packet sizes that an endpoint may have at one speed, in bytes.

    A size of 0 is legal for isochronous and interrupt endpoints, but FunctionFS has no alternate setting in
    which such an endpoint could get a size, so 0 is not among them.
    """
    if transfer_type is TransferType.BULK:
        return _BULK_SIZES[speed]
    if speed >= Speed.SUPER and max_burst:
        return (1024,)
    return range(1, _LARGEST_PERIODIC.get((transfer_type, speed), 1024) + 1)


def default_packet_size(transfer_type: TransferType, speed: Speed, max_burst: int = 0) -> int:
    """Chooses the packet size of an endpoint that does not say one.

    Bulk takes the largest, which is the fastest. Interrupt takes 64 bytes at every speed, so that a report is the
    same everywhere: it is the largest that full speed has, and USB 2.0, 5.7.3 lets no default interface setting
    reserve more at high speed. An interrupt endpoint with bursts must have 1024 at super speed.

    Raises:
        DescriptorError: The endpoint is isochronous, where the size is the bandwidth: only its author knows it.
    """
    if transfer_type is TransferType.ISOCHRONOUS:
        rule = "must be given for an isochronous endpoint, which reserves that much in every interval"
        raise DescriptorError("wMaxPacketSize", None, rule, _SECTION[transfer_type])
    allowed = allowed_packet_sizes(transfer_type, speed, max_burst)
    return 64 if transfer_type is TransferType.INTERRUPT and 64 in allowed else max(allowed)


def check_packet_size(transfer_type: TransferType, speed: Speed, size: int, max_burst: int = 0) -> None:
    """Refuses a packet size that a speed does not have.

    Raises:
        DescriptorError: The size, and those that would do.
    """
    allowed = allowed_packet_sizes(transfer_type, speed, max_burst)
    if size in allowed:
        return
    named = f"from 1 to {allowed[-1]}" if isinstance(allowed, range) else " or ".join(map(str, allowed))
    burst = f" with bursts of {max_burst + 1}" if max_burst and transfer_type is not TransferType.BULK else ""
    rule = f"must be {named} for {transfer_type.name.lower()} at {speed.maximum}{burst}"
    raise DescriptorError("wMaxPacketSize", size, rule, _SECTION[transfer_type])


def largest_burst(transfer_type: TransferType) -> int:
    """The largest bMaxBurst: 16 packets, and 3 for interrupt (USB 3.2, 4.4.7 and 9.6.7)."""
    return 2 if transfer_type is TransferType.INTERRUPT else 15


def interval_code(transfer_type: TransferType, speed: Speed, seconds: float) -> int:
    """Expresses a polling interval as bInterval.

    Full speed counts milliseconds for interrupt (1 to 255), and powers of two of them for isochronous endpoints;
    high speed and above count powers of two of 125 microseconds, for both (up to 4.096 s).

    Args:
        transfer_type: INTERRUPT or ISOCHRONOUS; the others have no interval.
        speed: The speed that the descriptor is for.
        seconds: How long the host may wait between two polls.

    Returns:
        The code of the longest interval that is not longer than asked. Where the speed has none so short, its
        shortest.

    Raises:
        DescriptorError: It is not a positive time, or the endpoint cannot have one.
    """
    if transfer_type not in (TransferType.INTERRUPT, TransferType.ISOCHRONOUS):
        rule = f"must not be given for {transfer_type.name.lower()}, which the host does not poll at intervals"
        raise DescriptorError("bInterval", seconds, rule, _INTERVAL_SECTION)
    if not (math.isfinite(seconds) and seconds > 0):
        raise DescriptorError("bInterval", seconds, "must be a positive number of seconds", _INTERVAL_SECTION)
    # 0.001 and its like have no exact float: compare in whole microseconds, which is finer than any bus interval.
    microseconds = max(1, round(seconds * 1_000_000))
    if speed is Speed.FULL and transfer_type is TransferType.INTERRUPT:
        return min(max(microseconds // 1000, 1), 255)
    unit = 1000 if speed is Speed.FULL else 125
    return min(max((microseconds // unit).bit_length(), 1), 16)


def interval_seconds(transfer_type: TransferType, speed: Speed, code: int) -> float:
    """Says how long a bInterval is, in seconds: the other way round than :func:`interval_code`."""
    if speed is Speed.FULL and transfer_type is TransferType.INTERRUPT:
        return code * 0.001
    return (0.001 if speed is Speed.FULL else 0.000125) * 2.0 ** (code - 1)
