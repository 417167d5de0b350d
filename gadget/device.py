"""A whole USB device: its place in configfs, its functions and a controller, in one scope."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from gadget.aio import AsyncContext
from gadget.composition import (
    check_functions,
    default_device_class,
    default_name,
    instance_names,
    microsoft_os_string,
)
from gadget.configfs.apply import USB_GADGET_ROOT, applied, ensure_configfs
from gadget.configfs.checks import check_name
from gadget.configfs.interfaces import allocate_interfaces
from gadget.configfs.model import ConfigurationModel, GadgetModel
from gadget.configfs.ownership import Ownership
from gadget.configfs.plan import plan
from gadget.configfs.record import default_folder
from gadget.configfs.udc import Controller, bind, choose, list_controllers, unbind, wake_host
from gadget.errors import ClosedError, ProtocolError, UsageError
from gadget.functionfs.composite import Composite
from gadget.functionfs.function import Function
from gadget.functionfs.generations import Generations
from gadget.functionfs.instance import served
from gadget.functionfs.routing import route
from gadget.protocol.constants import Speed
from gadget.protocol.declaration import Text
from gadget.protocol.lifecycle import LinkState
from gadget.protocol.link_report import LinkReport
from gadget.serving import serve_until_signalled
from gadget.teardown import CauseFirst


class Gadget:
    """A USB device made of functions.

    Args:
        functions: What the device does, in the order of their interfaces.
        name: Its name in configfs; by default that of the first function's class, in lower case.
        vendor_id: idVendor. The default is the Linux Foundation's, for experiments: use your own in a product.
        product_id: idProduct.
        device_version: bcdDevice, 0x0100 for 1.00.
        manufacturer: iManufacturer, the same in every language, or by language identifier (two at most).
        product: iProduct.
        serial_number: iSerialNumber.
        max_speed: The fastest speed to run at ("high-speed"); the controller's own by default.
        max_power_ma: The most it draws from the bus, in milliamperes.
        self_powered: It has a power supply of its own.
        remote_wakeup: It may wake a suspended host, see :meth:`wake_host`.
        device_class: bDeviceClass, bDeviceSubClass and bDeviceProtocol. By default the interfaces say it; with an
            association among the functions, it is that of a multi-function device (USB 3.2, 9.6.1, Table 9-11).

    Raises:
        ConfigurationError: There is no function, or the same one twice, or a name is no name for configfs, or two
            functions answer the same request for the device.
        DescriptorError: A number or a string is out of its range.
    """

    def __init__(
        self,
        *functions: Function,
        name: str | None = None,
        vendor_id: int = 0x1D6B,
        product_id: int = 0x0104,
        device_version: int = 0x0100,
        manufacturer: Text | None = None,
        product: Text | None = None,
        serial_number: Text | None = None,
        max_speed: Speed | str | None = None,
        max_power_ma: int = 500,
        self_powered: bool = False,
        remote_wakeup: bool = False,
        device_class: tuple[int, int, int] | None = None,
    ) -> None:
        check_functions(functions)
        self.functions = functions
        self.name = check_name(name) if name is not None else default_name(functions[0])
        self._instances = instance_names(self.name, functions)
        self._routes = route(functions)
        codes = device_class if device_class is not None else default_device_class(functions)
        self.model = GadgetModel(
            name=self.name,
            vendor_id=vendor_id,
            product_id=product_id,
            device_version=device_version,
            device_class=codes[0],
            device_subclass=codes[1],
            device_protocol=codes[2],
            manufacturer=manufacturer,
            product=product,
            serial_number=serial_number,
            max_speed=Speed.from_name(max_speed) if isinstance(max_speed, str) else max_speed,
            microsoft_os=microsoft_os_string(functions),
            configurations=(
                ConfigurationModel(
                    max_power_ma=max_power_ma,
                    self_powered=self_powered,
                    remote_wakeup=remote_wakeup,
                    functions=tuple(f"ffs.{instance}" for instance in self._instances),
                ),
            ),
        )
        self._generations: list[Generations] = []
        self._composite: Composite | None = None
        self._ownership: Ownership | None = None

    @asynccontextmanager
    async def up(self, udc: str | None = None) -> AsyncIterator[Gadget]:
        """The device exists on the bus inside this scope, and has left no trace after it.

        A function that fails ends the scope: its body is cancelled, and the error comes out of it.

        Args:
            udc: The name of the controller; the first free one by default.

        Raises:
            NoControllerError: There is no controller, or none of this name.
            ControllerBusyError: It serves another gadget.
            GadgetBusyError: Another process serves a gadget of this name.
            OutOfEndpointsError: The controller has too few endpoints.
            NotPermittedError: It needs root.
            DescriptorError: A function's own descriptors or strings are none that FunctionFS takes.
            UsageError: A function is served by another gadget already.
            NotDrainedError: At the end: the controller keeps transfers. What could not be undone for that is in the
                error's notes.
            NotUndoneError: At the end: something of it is still there, since somebody uses it.
            KernelError: Anything else that the kernel refused.
        """
        ensure_configfs()
        folders = [default_folder() / f"ffs.{instance}" for instance in self._instances]
        interfaces = [(instance, len(function.interfaces())) for instance, function in self._named()]
        first_interface = allocate_interfaces(interfaces)
        async with CauseFirst() as cause, AsyncExitStack() as stack:
            ownership = stack.enter_context(
                Ownership.acquire(
                    self.name,
                    functions=self.model.configurations[0].functions,
                    mounts=folders,
                    folders=folders,
                )
            )
            ownership.reclaim()
            controller = choose(udc)
            tree = stack.enter_context(applied(plan(self.model)))
            stack.push(cause.note)
            composite = Composite(await stack.enter_async_context(AsyncContext(self._slots())))
            self._composite, self._ownership = composite, ownership
            stack.callback(self._forget)
            for at, (instance, function) in enumerate(self._named()):
                scope = served(
                    function,
                    instance,
                    folders[at],
                    composite,
                    first_interface=first_interface[instance],
                    route=self._routes[at],
                    microsoft_os=self.model.microsoft_os is not None,
                )
                stack.push(cause.note)
                self._generations.append(await stack.enter_async_context(scope))
            stack.callback(unbind, tree)
            self.bind(controller.name)
            stack.callback(setattr, composite, "closing", True)
            async with _watched(self._generations):
                yield self

    def bind(self, udc: str | None = None) -> None:
        """Binds the gadget, which is up, to a controller: after :meth:`unbind`, to the same or to another one.

        Args:
            udc: The name of the controller; the first free one by default.

        Raises:
            ClosedError: The gadget is not up.
            UsageError: It is bound to another controller.
            KernelError: As for :meth:`up`.
        """
        composite, ownership = self._up()
        if composite.controller and composite.controller != udc:
            raise UsageError(f"gadget {self.name} is bound to {composite.controller} already: unbind() it first")
        name = composite.controller or choose(udc).name
        bind(self.path, name)
        composite.controller = name
        ownership.update(udc=name)

    def unbind(self) -> None:
        """Takes the gadget off its controller: for the host, it is unplugged. :meth:`bind` brings it back.

        Raises:
            ClosedError: The gadget is not up.
            KernelError: The kernel refused.
        """
        composite, ownership = self._up()
        unbind(self.path)
        composite.controller = ""
        ownership.update(udc=None)

    def _up(self) -> tuple[Composite, Ownership]:
        if self._composite is None or self._ownership is None:
            raise ClosedError(f"gadget {self.name} is not up")
        return self._composite, self._ownership

    def _named(self) -> Sequence[tuple[str, Function]]:
        return list(zip(self._instances, self.functions, strict=True))

    def _slots(self) -> int:
        depths = [e.depth for function in self.functions for e in function.declared_endpoints().values()]
        return max(1, sum(depths))

    def _forget(self) -> None:
        self._generations = []
        self._composite = self._ownership = None

    @property
    def controller(self) -> Controller:
        """The controller that it is bound to, as sysfs shows it now.

        Raises:
            ClosedError: It is not up, or bound to none.
        """
        composite, _ = self._up()
        for controller in list_controllers():
            if controller.name == composite.controller:
                return controller
        raise ClosedError(f"gadget {self.name} is bound to no controller")

    @property
    def path(self) -> Path:
        """Its folder in configfs, whether it is up or not."""
        return USB_GADGET_ROOT / self.name

    @property
    def link(self) -> LinkReport:
        """What is known about the link to the host, and how: of the function whose link has come least far.

        Raises:
            ClosedError: The gadget is not up.
        """
        composite, _ = self._up()
        state = next((one.state for one in list_controllers() if one.name == composite.controller), "")
        link = min((function._link for function in self.functions), key=lambda link: list(LinkState).index(link.state))
        return LinkReport(link.state, time.monotonic() - link.since, composite.controller, state)

    async def wait_configured(self) -> None:
        """Waits until the host has enabled every function; otherwise as :meth:`wait_link`."""
        await self.wait_link(LinkState.ENABLED, LinkState.SUSPENDED)

    async def wait_link(self, *states: LinkState) -> None:
        """Waits until the link of every function has been in one of these states; a function's failure is raised.

        Raises:
            ClosedError: The gadget is not up, or was taken down meanwhile.
        """
        self._up()
        await asyncio.gather(*(function.wait_link(*states) for function in self.functions))
        for generations in self._generations:
            generations.check()

    async def wake_host(self, timeout: float = 1.0) -> None:
        """Wakes a host that has suspended the device (remote wake-up; USB 2.0, 9.1.1.6).

        Args:
            timeout: How long the host may take to resume, in seconds.

        Raises:
            UsageError: The gadget was not declared with ``remote_wakeup``, or the host has not suspended it.
            ProtocolError: The host did not resume. It allows it only to a device that it sent SET_FEATURE
                (DEVICE_REMOTE_WAKEUP); some controllers cannot, and no device at SuperSpeed in this way.
            ClosedError: The gadget is not up.
        """
        composite, _ = self._up()
        if not self.model.configurations[0].remote_wakeup:
            raise UsageError(f"gadget {self.name} cannot wake its host: declare it with remote_wakeup=True")
        if self.link.state is not LinkState.SUSPENDED:
            raise UsageError(f"gadget {self.name} has no host to wake: it is {self.link}")
        wake_host(composite.controller)
        try:
            async with asyncio.timeout(timeout):
                await self.wait_link(LinkState.ENABLED)
        except TimeoutError:
            message = f"the host did not resume within {timeout} s: it has not allowed remote wake-up, or"
            raise ProtocolError(f"{message} {composite.controller} cannot signal it") from None

    async def serve(self, udc: str | None = None, configured: Callable[[Gadget], None] | None = None) -> None:
        """Is up until SIGINT or SIGTERM, and takes it down in order then. A second SIGINT gives the teardown up.

        Args:
            udc: As for :meth:`up`, which also lists the errors.
            configured: Called once, when the host has configured the device.
        """

        async def announce() -> None:
            await self.wait_configured()
            if configured is not None:
                configured(self)

        await serve_until_signalled(self.up(udc), announce)

    def run(self, udc: str | None = None) -> None:
        """Serves the device from a plain script, until SIGINT or SIGTERM; see :meth:`serve`."""
        asyncio.run(self.serve(udc))


@asynccontextmanager
async def _watched(generations: Sequence[Generations]) -> AsyncIterator[None]:
    """A function's failure cancels the body and is raised bare, as if the body had raised it."""
    try:
        async with asyncio.TaskGroup() as group:
            watchers = [group.create_task(each.failed()) for each in generations]
            try:
                yield
            finally:
                for watcher in watchers:
                    watcher.cancel()
        return
    except BaseExceptionGroup as errors:
        # The body may have been told of the failure as well, and have raised the same object.
        if len(set(map(id, errors.exceptions))) != 1:
            raise
        only = errors.exceptions[0]
    raise only  # outside of the clause, so that it keeps the cause that it has, and gets no context
