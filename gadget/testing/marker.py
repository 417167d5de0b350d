"""The marker ``usb``: what a test needs of the bus. Pure but for pytest's own objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

#: What the device side of the bus can be.
DUMMY, USBIP = "dummy_hcd", "usbip-vudc"
CONTROLLERS = (DUMMY, USBIP)
SPEEDS = ("full", "high", "super")


@dataclass(frozen=True)
class Needs:
    """What a test says that it needs: the arguments of ``@pytest.mark.usb``.

    Attributes:
        speed: ``full``, ``high`` or ``super``, or several of them: the test runs at each. None: ``--gadget-speed``.
        controllers: How many controllers it uses at the same time.
        controller: ``dummy_hcd``, or ``usbip-vudc``, whose cable can be tampered with. None: ``--gadget-controller``.
        timeout: Seconds that it may take in the virtual machine; None: ``--gadget-timeout``.
        module: A folder with an out-of-tree kernel module (or several) to build and load for it.
    """

    speed: str | Sequence[str] | None = None
    controllers: int = 1
    controller: str | None = None
    timeout: float | None = None
    module: str | Path | Sequence[str | Path] = ()

    def __post_init__(self) -> None:
        for speed in self.speeds:
            if speed not in SPEEDS:
                raise ValueError(f"speed={speed!r}: there are {', '.join(SPEEDS)}")
        if not 1 <= self.controllers <= 32:
            raise ValueError(f"controllers={self.controllers}: 1 to 32 are possible")
        if self.controller not in (None, *CONTROLLERS):
            raise ValueError(f"controller={self.controller!r}: there are {', '.join(CONTROLLERS)}")
        if self.timeout is not None and not self.timeout > 0:
            raise ValueError(f"timeout={self.timeout}: it is in seconds, and more than 0")

    @property
    def speeds(self) -> tuple[str, ...]:
        """The speeds to run at; none where it does not matter to the test."""
        if self.speed is None:
            return ()
        return (self.speed,) if isinstance(self.speed, str) else tuple(self.speed)

    @property
    def modules(self) -> tuple[Path, ...]:
        """The folders of the kernel modules."""
        folders = (self.module,) if isinstance(self.module, (str, Path)) else self.module
        return tuple(map(Path, folders))


def is_usb(item: pytest.Item) -> bool:
    """Whether a test runs on a bus."""
    return item.get_closest_marker("usb") is not None


def needs_of(node: pytest.Item | pytest.Collector) -> Needs:
    """What the markers of a test say, those nearer to it first.

    Raises:
        pytest.UsageError: There is no such argument, or its value makes no sense.
    """
    arguments: dict[str, object] = {}
    for mark in node.iter_markers("usb"):
        if mark.args:
            raise pytest.UsageError(f"{node.nodeid}: usb takes its arguments by name: usb(speed='high')")
        arguments = {**mark.kwargs, **arguments}
    try:
        return Needs(**arguments)  # type: ignore[arg-type] # they are the user's, and looked at there
    except (TypeError, ValueError) as error:
        raise pytest.UsageError(f"{node.nodeid}: @pytest.mark.usb: {error}") from error
