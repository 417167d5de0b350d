"""What the cases of usbtest are given: parameters that suit a speed, or parameters that are drawn."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from usbtest import ANY_LENGTH, CONTROL_DATA, MOST_ENTRIES, Case, Parameters

#: USB_COMP_EP0_BUFSIZ: a control transfer to the device with more data is stalled by the kernel, whatever the function
#: is (drivers/usb/gadget/composite.c, composite_setup).
MOST_CONTROL_DATA = 4096

#: The longest transfer that is drawn.
MOST_PACKETS = 32

#: How often a case runs before its parameters are drawn anew.
ROUND = 20


def usual(case: Case, packet_size: int, iterations: int) -> Parameters:
    """Eight packets, varied by three, 32 at once; on endpoint 0, as much."""
    length = 8 * packet_size
    if case in CONTROL_DATA:
        length = min(length, MOST_CONTROL_DATA)
    return Parameters(iterations, length, vary=3 * length // 8, sglen=32)


def draw(case: Case, packet_size: int, iterations: int, source: random.Random) -> Parameters:
    """Draws parameters that a device has to cope with; every length but those of ``ANY_LENGTH`` is of full packets."""
    step = 1 if case in ANY_LENGTH else packet_size
    most = MOST_CONTROL_DATA if case in CONTROL_DATA else MOST_PACKETS * packet_size
    steps = source.randint(2, most // step)
    fewest = 4 if case is Case.UNLINK_QUEUED_WRITES else 1
    return Parameters(
        iterations,
        length=steps * step,
        vary=source.randrange(1, steps) * step,
        sglen=source.randint(fewest, MOST_ENTRIES),
    )


def soak(cases: Sequence[Case], packet_size: int, iterations: int, seed: int) -> Iterator[tuple[Case, Parameters]]:
    """Each case so many times, by rounds: in each round the cases come in another order, with other parameters."""
    source = random.Random(seed)
    for done in range(0, iterations, ROUND):
        for case in source.sample(cases, len(cases)):
            yield case, draw(case, packet_size, min(ROUND, iterations - done), source)
