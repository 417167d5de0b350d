"""The bus of the bench at one speed, its controllers, and serving on them."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gadget.errors import ControllerBusyError, UsageError
from gadget.testing.controller_kinds import DUMMY, USBIP, ControllerKind
from gadget.testing.marker import is_usb, kind_of_item, needs_of, speed_of

if TYPE_CHECKING:
    from gadget.device import Gadget
    from gadget.functionfs.function import Function
    from gadget.testing.controllers import BenchController
    from gadget.testing.served import Served

    #: What can be served: of this package, a file of it, a program, or a gadget in configfs.
    Servable = Gadget | Function | type[Function] | str | Path | Sequence[str]

_controllers = pytest.StashKey[dict[tuple[str, str], int]]()


@dataclass
class Bus:
    """The bus, as long as its speed stays the same.

    Attributes:
        speed: ``full``, ``high`` or ``super``.
        controllers: How many controllers there are.
        kind: Which kind of controller that is.
        served: What is served on it now, in the order of its beginning.
    """

    speed: str
    controllers: int = 1
    kind: ControllerKind = DUMMY
    served: list[Served] = field(default_factory=list)

    def load(self) -> None:
        """Loads the kernel's modules for it; dummy_hcd again if it is loaded for another speed."""
        from gadget.vm.here import load_modules, prepare_bus, prepare_gadgets

        if self.kind is USBIP:
            prepare_gadgets()
            load_modules([["usbip-vudc", f"num={self.controllers}"], ["vhci-hcd"]])
        else:
            prepare_bus(self.speed, self.controllers)

    def free_controller(self, besides: Sequence[str] = ()) -> BenchController:
        """A controller that nothing is bound to.

        Raises:
            ControllerBusyError: All of them are in use.
        """
        from gadget.configfs.udc import list_controllers, read_controller
        from gadget.testing.controllers import connect

        # The first one is free nearly always, and to ask all of them takes a while.
        numbers = itertools.count()
        while (controller := read_controller(f"{self.kind.prefix}{next(numbers)}")) is not None:
            if controller.holder is None and controller.name not in besides:
                return connect(controller.name)
        ours = [controller for controller in list_controllers() if controller.name.startswith(self.kind.prefix)]
        held = "; ".join(f"{controller.name} is held by {controller.holder}" for controller in ours)
        raise ControllerBusyError(errno.EBUSY, f"no controller is free ({held}): ask for more: usb(controllers=2)")

    @contextmanager
    def serve(
        self,
        what: Servable,
        *,
        udc: BenchController | str | None = None,
        child: bool = False,
    ) -> Iterator[Served]:
        """Serves a device: up and configured by the host inside the scope, gone after it.

        Args:
            what: A :class:`~gadget.Gadget`; a :class:`~gadget.Function` or its class; ``"FILE[:NAME]"``; a list, the
                command line of a program that serves a device (``{udc}`` in it becomes the controller's name); or the
                path of a gadget in configfs.
            udc: The controller; the first free one by default.
            child: Serves FILE:NAME by a process of its own.
        """
        from gadget.testing.controllers import connect
        from gadget.testing.servable import make_served

        controller = connect(udc) if isinstance(udc, str) else udc or self.free_controller()
        own = controller is not udc
        try:
            served = make_served(what, controller, child=child)
            self.served.append(served)
            try:
                try:
                    served.start()
                    yield served
                finally:
                    served.stop()
            finally:
                self.served.remove(served)
        finally:
            if own:
                controller.connection.close()

    @property
    def latest(self) -> Served:
        """What was served last, and still is.

        Raises:
            UsageError: Nothing is.
        """
        if not self.served:
            raise UsageError(
                "nothing is served yet: serve it in a fixture that stands before usb_device, usb_handle or faults "
                "among the test's arguments"
            )
        return self.served[-1]


def count_controllers(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Notes how many controllers the most demanding test needs: one loading of the modules serves all of a kind.

    dummy_hcd is loaded anew for another speed. Each controller is two more root hubs for everybody who looks.
    """
    most = config.stash[_controllers] = {}
    for item in filter(is_usb, items):
        bus = _loading(kind_of_item(item), speed_of(item))
        most[bus] = max(most.get(bus, 1), needs_of(item).controllers)


def controllers_needed(config: pytest.Config, kind: ControllerKind, speed: str) -> int:
    """What :func:`count_controllers` has found."""
    return config.stash.get(_controllers, {}).get(_loading(kind, speed), 1)


def _loading(kind: ControllerKind, speed: str) -> tuple[str, str]:
    return kind.name, speed if kind is DUMMY else ""
