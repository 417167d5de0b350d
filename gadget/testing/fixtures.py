"""The fixtures of tests on a bus."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from gadget.testing.bus import Bus, controllers_needed
from gadget.testing.controller_kinds import KINDS, ControllerKind
from gadget.testing.marker import is_usb, needs_of

if TYPE_CHECKING:
    import usb1

    from gadget.protocol.constants import Speed
    from gadget.testing.controllers import BenchController
    from gadget.testing.faults import Faults
    from gadget.testing.kernel_module import KernelModule
    from gadget.testing.observe.kernel_log import KernelLog
    from gadget.testing.observe.usbmon import Capture
    from gadget.testing.served import Served


@pytest.fixture(scope="session")
def usb_controller(request: pytest.FixtureRequest) -> ControllerKind:
    """The kind of controller: what ``usb(controller=...)`` or ``--gadget-controller`` say."""
    return KINDS[getattr(request, "param", None) or request.config.getoption("--gadget-controller")]


@pytest.fixture(scope="session")
def usb_speed(request: pytest.FixtureRequest, usb_controller: ControllerKind) -> Speed:
    """The speed of the bus: what ``usb(speed=...)`` or ``--gadget-speed`` say, or a parameter of this name."""
    from gadget.protocol.constants import Speed

    default = usb_controller.speed(request.config.getoption("--gadget-speed"))
    return Speed.from_name(getattr(request, "param", None) or default)


@pytest.fixture(scope="session")
def usb_bus(usb_controller: ControllerKind, usb_speed: Speed, pytestconfig: pytest.Config) -> Bus:
    """The bus at that speed; fixtures of a module or a session serve on it, with :meth:`Bus.serve`."""
    speed = usb_speed.name.lower()
    bus = Bus(speed, controllers_needed(pytestconfig, usb_controller, speed), usb_controller)
    bus.load()
    return bus


@pytest.fixture(autouse=True)
def _usb_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """Watches each test marked ``usb``: it may leave nothing behind, and the kernel may not complain."""
    if not is_usb(request.node):
        yield
        return
    from gadget.testing.observe.observation import Observation

    request.getfixturevalue("usb_bus")
    with Observation.of(request.node):
        yield


@pytest.fixture
def udc(udcs: list[BenchController]) -> BenchController:
    """A controller of the test's own; more of them if it says ``usb(controllers=N)``: see ``udcs``."""
    return udcs[0]


@pytest.fixture
def udcs(request: pytest.FixtureRequest, usb_bus: Bus) -> Iterator[list[BenchController]]:
    """As many controllers as the test says that it needs."""
    needs = needs_of(request.node)
    chosen: list[BenchController] = []
    for _ in range(needs.controllers):
        chosen.append(usb_bus.free_controller([controller.name for controller in chosen]))
    yield chosen
    for controller in chosen:
        controller.connection.close()


@pytest.fixture
def serve(udcs: list[BenchController], usb_bus: Bus) -> Iterator[Callable[..., Served]]:
    """Serves a device for the length of the test: ``serve(what, *, udc=None, child=False)``, see :meth:`Bus.serve`."""
    with ExitStack() as stack:

        def start(what: Any, *, udc: BenchController | None = None, child: bool = False) -> Served:
            free = [controller for controller in udcs if controller.sysfs.holder is None]
            chosen = udc or (free or udcs)[0]
            return stack.enter_context(usb_bus.serve(what, udc=chosen, child=child))

        yield start


@pytest.fixture
def usb_device(usb_bus: Bus) -> Iterator[Any]:
    """What was served last, as a ``usb.core.Device`` of pyusb."""
    with usb_bus.latest.pyusb() as device:
        yield device


@pytest.fixture
def usb_handle(usb_bus: Bus) -> Iterator[usb1.USBDeviceHandle]:
    """What was served last, as a ``usb1.USBDeviceHandle`` of libusb1, its first interface claimed."""
    with usb_bus.latest.libusb1() as handle:
        yield handle


@pytest.fixture
def faults(usb_bus: Bus, request: pytest.FixtureRequest) -> Faults:
    """Faults for what was served last; another device's: ``gadget.testing.Faults(served)``."""
    from gadget.testing.faults import Faults
    from gadget.testing.observe.observation import observation_of

    made = Faults(usb_bus.latest)
    observation_of(request.node).faults = made
    return made


@pytest.fixture
def guest_log(request: pytest.FixtureRequest) -> KernelLog:
    """The kernel's log since the beginning of the test."""
    from gadget.testing.observe.observation import observation_of

    return observation_of(request.node).log


@pytest.fixture
def usb_capture(request: pytest.FixtureRequest) -> Iterator[Capture]:
    """Everything that goes over all buses from here on (usbmon)."""
    from gadget.testing.observe.observation import observation_of

    capture = observation_of(request.node).capture
    capture.start()
    yield capture
    capture.stop()


@pytest.fixture
def kernel_modules(request: pytest.FixtureRequest) -> Iterator[list[KernelModule]]:
    """The modules that ``usb(module=FOLDER)`` names, built for this kernel and loaded for the length of the test."""
    from gadget.testing.kernel_module import loaded, module_files

    with ExitStack() as stack:
        yield [stack.enter_context(loaded(file)) for file in module_files(request.node)]


def parametrize_bus(metafunc: pytest.Metafunc) -> None:
    """Makes a test that names controllers or speeds run on and at each of them; pytest groups the tests by these."""
    needs = needs_of(metafunc.definition)
    for fixture, values in (("usb_speed", needs.speeds), ("usb_controller", needs.kinds)):
        if values:
            if fixture not in metafunc.fixturenames:
                metafunc.fixturenames.append(fixture)
            metafunc.parametrize(fixture, values, indirect=True, scope="session")
