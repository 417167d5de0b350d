"""A whole USB device: its place in configfs, its functions and a controller, in one scope."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from gadget.aio import AsyncContext
from gadget.composition import first_interfaces
from gadget.configfs.apply import applied, ensure_configfs
from gadget.configfs.ownership import Ownership
from gadget.configfs.plan import plan
from gadget.configfs.record import default_folder
from gadget.configfs.udc import Controller, bind, choose, read_controller, unbind, wake_host
from gadget.declared import DeclaredGadget
from gadget.errors import ClosedError, KernelError, ProtocolError, UsageError
from gadget.functionfs.access import Access
from gadget.functionfs.composite import Composite
from gadget.functionfs.function import Function
from gadget.functionfs.generations import Generations
from gadget.functionfs.instance import served
from gadget.functionfs.link import Link
from gadget.functionfs.mount import functionfs
from gadget.kernel_functions.kernel_function import KernelFunction
from gadget.kernel_functions.other import Ffs
from gadget.protocol.lifecycle import LinkState
from gadget.protocol.link_report import LinkReport
from gadget.services.controller_link import ControllerLink
from gadget.services.function_folder import FunctionFolder
from gadget.serving import serve_until_signalled, watched
from gadget.teardown import CauseFirst


class Gadget(DeclaredGadget):
    """A USB device made of functions: your own, and those of the kernel (``gadget.kernel_functions``), as you mix them.

    Args:
        functions: What the device does, in the order of their interfaces.
        configurations: In place of functions, several configurations, of which the host selects one.
        name: Its name in configfs; by default that of the first function's class, in lower case.
        vendor_id: idVendor. The default is the Linux Foundation's, for experiments: use your own in a product.
        product_id: idProduct.
        device_version: bcdDevice, 0x0100 for 1.00.
        manufacturer: iManufacturer, the same in every language, or by language identifier (two at most).
        product: iProduct.
        serial_number: iSerialNumber.
        max_speed: The fastest speed to run at ("high-speed"); by default the controller's own, or the fastest that all
            functions of the kernel have.
        max_power_ma: The most it draws from the bus, in milliamperes. This and the next two are those of the only
            configuration; of several, each has its own.
        self_powered: It has a power supply of its own.
        remote_wakeup: It may wake a suspended host, see :meth:`wake_host`.
        device_class: bDeviceClass, bDeviceSubClass and bDeviceProtocol. By default the interfaces say it; with an
            association among the functions, it is that of a multi-function device (USB 3.2, 9.6.1, Table 9-11).
        webusb: The WebUSB capability, where the kernel has it (Linux 6.3 and newer).
        access: Who may open the FunctionFS files of its own functions; root alone by default.
        linger: For how many seconds at most the event loop stands still where data flows, so that more is handed over
            at once (:attr:`gadget.aio.Context.linger`): timers, and descriptors that are not the gadget's, wait for so
            long. 0 for never.

    Raises:
        ConfigurationError: There is no function, or the same one twice, or a name is no name for configfs, or two
            functions answer the same request for the device.
        DescriptorError: A number or a string is out of its range.
    """

    _ownership: Ownership | None = None
    _composite: Composite | None = None
    _controller_link: ControllerLink | None = None
    _generations: Sequence[Generations] = ()

    @asynccontextmanager
    async def up(self, udc: str | None = None, *, bind: bool = True) -> AsyncIterator[Gadget]:
        """The device exists on the bus inside this scope, and has left no trace after it.

        A function that fails ends the scope: its body is cancelled, and the error comes out of it.

        Args:
            udc: The name of the controller; the first free one by default.
            bind: False prepares everything, and leaves it to :meth:`bind` to show the device to the host.

        Raises:
            NoControllerError: There is no controller, or none of this name.
            ControllerBusyError: It serves another gadget.
            GadgetBusyError: Another process serves a gadget of this name.
            OutOfEndpointsError: The controller has too few endpoints.
            NotPermittedError: It needs root.
            DescriptorError: A function's own descriptors or strings are none that FunctionFS takes.
            UsageError: A function is served by another gadget already; or ``linger`` is negative.
            NotDrainedError: At the end: the controller keeps transfers. What could not be undone for that is in the
                error's notes.
            NotUndoneError: At the end: something of it is still there, since somebody uses it.
            UnsupportedError: The kernel has no place for something that was asked for.
            KernelError: Anything else that the kernel refused.
        """
        ensure_configfs()
        first = first_interfaces(self.configurations, self._instances, self.functions)
        own = {name: default_folder() / name for name, function in self._named() if isinstance(function, Function)}
        mounts = [*own.values(), *(folder for _, folder, _ in self._foreign())]
        async with CauseFirst() as cause, AsyncExitStack() as stack:
            ownership = stack.enter_context(
                Ownership.acquire(self.name, functions=self.model.instances, mounts=mounts, folders=mounts)
            )
            ownership.reclaim()
            controller = choose(udc) if bind else None
            tree = stack.enter_context(applied(plan(self.model)))
            stack.push(cause.note)
            composite = Composite(await stack.enter_async_context(AsyncContext(self._slots())))
            composite.context.context.linger = self._linger
            self._composite, self._ownership = composite, ownership
            stack.callback(self._forget)
            self._place(tree, stack)
            self._generations = generations = []
            for (name, folder), function, route in zip(own.items(), self.own_functions, self._routes, strict=True):
                stack.push(cause.note)
                stack.enter_context(functionfs(name.removeprefix("ffs."), folder, self._access))
                windows = self.model.microsoft_os is not None
                scope = served(
                    function, folder, composite, first_interface=first[name], route=route, microsoft_os=windows
                )
                stack.push(cause.note)
                generations.append(await stack.enter_async_context(scope))
            stack.callback(self._take_off)
            if controller is not None:
                self.bind(controller.name)
            stack.callback(setattr, composite, "closing", True)
            async with watched([each.failed for each in generations] + [each.attend for each in self.kernel_functions]):
                yield self

    def _foreign(self) -> list[tuple[str, Path, Access | None]]:
        """The FunctionFS instances that are mounted here for other programs."""
        found = [(name, function) for name, function in self._named() if isinstance(function, Ffs)]
        return [(name, Path(function.folder), function.access) for name, function in found if function.folder]

    def _place(self, tree: Path, stack: AsyncExitStack) -> None:
        """Tells the kernel's functions where they are, and mounts what other programs serve."""
        order = [name for configuration in self.model.configurations for name in configuration.functions]
        for name, function in self._named():
            if isinstance(function, KernelFunction):
                if function.is_placed:
                    what = f"this {type(function).__name__} is in another gadget that is up"
                    raise UsageError(f"{what}: make one for each")
                function.placed(FunctionFolder(tree, name, order))
                stack.callback(function.placed, None)
        for name, folder, access in self._foreign():
            stack.enter_context(functionfs(name.removeprefix("ffs."), folder, access))
        if not self.own_functions or len(self.configurations) > 1:
            self._controller_link = ControllerLink()
            stack.callback(self._controller_link.close, self.name)

    def _take_off(self) -> None:
        unbind(self.path)

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
        if self._controller_link is not None and not composite.controller:
            self._controller_link.begin(name)
        bind(self.path, name)
        composite.controller = name
        if self._controller_link is not None:
            self._controller_link.bound()
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
        if self._controller_link is not None:
            self._controller_link.end()
        ownership.update(udc=None)

    def move(self, udc: str) -> None:
        """Takes the gadget off its controller and binds it to another one.

        Args:
            udc: The name of that controller, which has to be free.

        Raises:
            ClosedError: The gadget is not up.
            NoControllerError: There is no such controller. The gadget stays where it is.
            ControllerBusyError: It serves another gadget. The gadget stays where it is.
            KernelError: As for :meth:`up`. The gadget is where it was again.
        """
        composite, _ = self._up()
        before = composite.controller
        if before == udc:
            return
        choose(udc)
        self.unbind()
        try:
            self.bind(udc)
        except KernelError:
            if before:
                self.bind(before)
            raise

    def _up(self) -> tuple[Composite, Ownership]:
        if self._composite is None or self._ownership is None:
            raise ClosedError(f"gadget {self.name} is not up")
        return self._composite, self._ownership

    def _forget(self) -> None:
        self._generations = ()
        self._composite = self._ownership = self._controller_link = None

    @property
    def _links(self) -> list[Link]:
        """What is told of the link to the host, and by whom."""
        if self._controller_link is not None:
            return [self._controller_link.link]
        return [function._link for function in self.own_functions]

    @property
    def controller(self) -> Controller:
        """The controller that it is bound to, as sysfs shows it now.

        Raises:
            ClosedError: It is not up, or bound to none.
        """
        composite, _ = self._up()
        found = read_controller(composite.controller)
        if found is None:
            raise ClosedError(f"gadget {self.name} is bound to no controller")
        return found

    @property
    def link(self) -> LinkReport:
        """What is known about the link to the host, and how: of the function whose link has come least far.

        With several configurations, and without a function that is written with this package, it is what the
        controller says of itself.

        Raises:
            ClosedError: The gadget is not up.
        """
        composite, _ = self._up()
        found = read_controller(composite.controller)
        link = min(self._links, key=lambda link: list(LinkState).index(link.state))
        return LinkReport(link.state, time.monotonic() - link.since, composite.controller, found.state if found else "")

    async def wait_configured(self) -> None:
        """Waits until the host has enabled every function, or has selected one of several configurations.

        Otherwise as :meth:`wait_link`.
        """
        await self.wait_link(LinkState.ENABLED, LinkState.SUSPENDED)

    async def wait_link(self, *states: LinkState) -> None:
        """Waits until the link of every function has been in one of these states; a function's failure is raised.

        Raises:
            ClosedError: The gadget is not up, or was taken down meanwhile.
        """
        self._up()
        await asyncio.gather(*(link.wait(*states) for link in self._links))
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
        if not any(configuration.remote_wakeup for configuration in self.model.configurations):
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

        Any loop of asyncio's kind does: ``uvloop.run(device.serve())`` takes less of the processor for a wake-up.

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
