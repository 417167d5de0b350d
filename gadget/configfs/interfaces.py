"""The numbers that interfaces have in a configuration. Nothing here touches the kernel."""

from __future__ import annotations

from collections.abc import Sequence

from gadget.configfs.checks import refuse_repeats
from gadget.errors import ConfigurationError

#: MAX_CONFIG_INTERFACES of ``include/linux/usb/composite.h``: interface 16 is ENODEV at bind.
MAX_INTERFACES = 16


def allocate_interfaces(counts: Sequence[tuple[str, int | None]]) -> dict[str, int]:
    """Gives every function of one configuration its interface numbers, as the kernel will when it binds them.

    Args:
        counts: Function instance and number of interfaces, in the order in which they are linked; None where the
            number is not known, so that nothing is known of those behind it either.

    Returns:
        The first interface number of each, as far as it is known.

    Raises:
        ConfigurationError: A function is there twice or has no interface, or there are more than 16 together.
    """
    refuse_repeats("function", (name for name, _ in counts))
    first: dict[str, int] = {}
    following: int | None = 0
    least = 0
    for name, count in counts:
        if count is not None and count < 1:
            raise ConfigurationError(f"function {name} has {count} interfaces; it needs one at least")
        if following is not None:
            first[name] = following
            following = None if count is None else following + count
        least += 1 if count is None else count
    if least > MAX_INTERFACES:
        raise ConfigurationError(
            f"{least} interfaces in one configuration, and the kernel has room for {MAX_INTERFACES} "
            "(MAX_CONFIG_INTERFACES of include/linux/usb/composite.h); spread them over two gadgets"
        )
    return first
