"""The marker ``usb``: what a test needs of the bus. Pure but for pytest's own objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from gadget.testing.controller_kinds import ABILITIES, KINDS, SPEEDS, ControllerKind


@dataclass(frozen=True)
class Needs:
    """What a test says that it needs: the arguments of ``@pytest.mark.usb``.

    Attributes:
        speed: ``full``, ``high`` or ``super``, or several of them: the test runs at each. None: ``--gadget-speed``.
        controllers: How many controllers it uses at the same time.
        controller: ``dummy_hcd``, or ``usbip-vudc``, whose cable can be tampered with, or both: the test runs on each.
            None: ``--gadget-controller``.
        needs: What else it needs of a controller, one name or several: ``suspend``, ``remote wakeup`` ... It is skipped
            on one that cannot do that; :doc:`/limits` has the list.
        timeout: Seconds that it may take in the virtual machine; None: ``--gadget-timeout``.
        module: A folder with an out-of-tree kernel module (or several) to build and load for it.
    """

    speed: str | Sequence[str] | None = None
    controllers: int = 1
    controller: str | Sequence[str] | None = None
    needs: str | Sequence[str] = ()
    timeout: float | None = None
    module: str | Path | Sequence[str | Path] = ()

    def __post_init__(self) -> None:
        for speed in self.speeds:
            if speed not in SPEEDS:
                raise ValueError(f"speed={speed!r}: there are {', '.join(SPEEDS)}")
        if not 1 <= self.controllers <= 32:
            raise ValueError(f"controllers={self.controllers}: 1 to 32 are possible")
        for name in self.kinds:
            if name not in KINDS:
                raise ValueError(f"controller={name!r}: there are {', '.join(KINDS)}")
        for ability in self.abilities:
            if ability not in ABILITIES:
                raise ValueError(f"needs={ability!r}: there are {', '.join(ABILITIES)}")
        if self.timeout is not None and not self.timeout > 0:
            raise ValueError(f"timeout={self.timeout}: it is in seconds, and more than 0")

    @property
    def speeds(self) -> tuple[str, ...]:
        """The speeds to run at; none where it does not matter to the test."""
        return _several(self.speed)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of controller to run on; none where it does not matter to the test."""
        return _several(self.controller)

    @property
    def abilities(self) -> tuple[str, ...]:
        """What it needs of its controller."""
        return _several(self.needs)

    @property
    def modules(self) -> tuple[Path, ...]:
        """The folders of the kernel modules."""
        folders = (self.module,) if isinstance(self.module, (str, Path)) else self.module
        return tuple(map(Path, folders))


def _several(value: str | Sequence[str] | None) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


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


def kind_of_item(item: pytest.Item) -> ControllerKind:
    """The kind of controller that a test runs on."""
    return KINDS[_chosen(item, "usb_controller") or item.config.getoption("--gadget-controller")]


def speed_of(item: pytest.Item) -> str:
    """The speed of the bus that a test runs at."""
    return _chosen(item, "usb_speed") or kind_of_item(item).speed(item.config.getoption("--gadget-speed"))


def _chosen(item: pytest.Item, parameter: str) -> str | None:
    callspec = getattr(item, "callspec", None)
    chosen: str | None = callspec.params.get(parameter) if callspec is not None else None
    return chosen


def skip_what_cannot_run(items: Sequence[pytest.Item]) -> None:
    """Skips the tests whose controller cannot do what they need, with the reason why it cannot."""
    for item in filter(is_usb, items):
        refusal = kind_of_item(item).refusal(speed_of(item), needs_of(item).abilities)
        if refusal is not None:
            item.add_marker(pytest.mark.skip(reason=refusal))
