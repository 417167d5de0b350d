"""A whole USB device: its place in configfs, its functions and a controller, in one scope."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from gadget.aio import AsyncContext
from gadget.configfs.apply import USB_GADGET_ROOT, applied, ensure_configfs
from gadget.configfs.model import ConfigurationModel, GadgetModel, allocate_interfaces, check_function, check_name
from gadget.configfs.ownership import Ownership
from gadget.configfs.plan import plan
from gadget.configfs.record import default_folder
from gadget.configfs.udc import Controller, bind, choose, list_controllers, unbind
from gadget.errors import ClosedError, ConfigurationError
from gadget.functionfs.data_endpoints import Endpoint
from gadget.functionfs.function import Function
from gadget.functionfs.instance import Generations, served
from gadget.protocol.constants import Speed


class Gadget:
    """A USB device made of functions.

    Args:
        functions: What the device does, in the order of their interfaces.
        name: Its name in configfs; by default that of the first function's class, in lower case.
        vendor_id: idVendor. The default is the Linux Foundation's, for experiments: use your own in a product.
        product_id: idProduct.
        device_version: bcdDevice, 0x0100 for 1.00.
        manufacturer: iManufacturer.
        product: iProduct.
        serial_number: iSerialNumber.
        max_speed: The fastest speed to run at ("high-speed"); the controller's own by default.
        max_power_ma: The most it draws from the bus, in milliamperes.
        self_powered: It has a power supply of its own.

    Raises:
        ConfigurationError: There is no function, or the same one twice, or a name is no name for configfs.
        DescriptorError: A number or a string is out of its range.
    """

    def __init__(
        self,
        *functions: Function,
        name: str | None = None,
        vendor_id: int = 0x1D6B,
        product_id: int = 0x0104,
        device_version: int = 0x0100,
        manufacturer: str | None = None,
        product: str | None = None,
        serial_number: str | None = None,
        max_speed: Speed | str | None = None,
        max_power_ma: int = 500,
        self_powered: bool = False,
    ) -> None:
        if strange := [function for function in functions if not isinstance(function, Function)]:
            raise ConfigurationError(f"{strange[0]!r} is no Function object: Gadget(MyFunction(), ...)")
        if not functions:
            raise ConfigurationError("a gadget has at least one function: Gadget(MyFunction(), ...)")
        if len(set(map(id, functions))) != len(functions):
            raise ConfigurationError("the same function object is in this gadget twice: make two of them")
        self.functions = functions
        self.name = check_name(name) if name is not None else _default_name(functions[0])
        self._instances = _instance_names(self.name, functions)
        self.model = GadgetModel(
            name=self.name,
            vendor_id=vendor_id,
            product_id=product_id,
            device_version=device_version,
            manufacturer=manufacturer,
            product=product,
            serial_number=serial_number,
            max_speed=Speed.from_name(max_speed) if isinstance(max_speed, str) else max_speed,
            configurations=(
                ConfigurationModel(
                    max_power_ma=max_power_ma,
                    self_powered=self_powered,
                    functions=tuple(f"ffs.{instance}" for instance in self._instances),
                ),
            ),
        )
        self._generations: list[Generations] = []
        self._udc: str | None = None

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
            KernelError: Anything else that the kernel refused.
        """
        ensure_configfs()
        folders = [default_folder() / f"ffs.{instance}" for instance in self._instances]
        interfaces = [(instance, len(function.interfaces())) for instance, function in self._named()]
        first_interface = allocate_interfaces(interfaces)
        async with AsyncExitStack() as stack:
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
            context = await stack.enter_async_context(AsyncContext(self._slots()))
            claimed: dict[int, Endpoint] = {}
            stack.callback(self._forget)
            for (instance, function), folder in zip(self._named(), folders, strict=True):
                scope = served(
                    function, instance, folder, context, first_interface=first_interface[instance], claimed=claimed
                )
                self._generations.append(await stack.enter_async_context(scope))
            stack.callback(unbind, tree)
            bind(tree, controller)
            ownership.update(udc=controller.name)
            self._udc = controller.name
            async with _watched(self._generations):
                yield self

    def _named(self) -> Sequence[tuple[str, Function]]:
        return list(zip(self._instances, self.functions, strict=True))

    def _slots(self) -> int:
        depths = [e.depth for function in self.functions for e in function.declared_endpoints().values()]
        return max(1, sum(depths))

    def _forget(self) -> None:
        self._generations = []
        self._udc = None

    @property
    def controller(self) -> Controller:
        """The controller that it is bound to, as sysfs shows it now.

        Raises:
            ClosedError: It is not up.
        """
        for controller in list_controllers():
            if controller.name == self._udc:
                return controller
        raise ClosedError(f"gadget {self.name} is not up")

    @property
    def path(self) -> Path:
        """Its folder in configfs, whether it is up or not."""
        return USB_GADGET_ROOT / self.name

    async def wait_configured(self) -> None:
        """Waits until the host has enabled every function."""
        for generations in self._generations:
            await generations.enabled.wait()

    async def serve(self, udc: str | None = None, configured: Callable[[Gadget], None] | None = None) -> None:
        """Is up until SIGINT or SIGTERM, and takes it down in order then. A second SIGINT gives the teardown up.

        Args:
            udc: As for :meth:`up`, which also lists the errors.
            configured: Called once, when the host has configured the device.
        """
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()

        def on_signal(number: int) -> None:
            if stop.is_set() and number == signal.SIGINT:
                loop.remove_signal_handler(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)
            stop.set()

        # Before anything is made, so that nothing can be left behind.
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, on_signal, number)
        try:
            async with self.up(udc):
                announced = asyncio.create_task(self._announce(configured))
                await stop.wait()
                announced.cancel()
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    async def _announce(self, configured: Callable[[Gadget], None] | None) -> None:
        await self.wait_configured()
        if configured is not None:
            configured(self)

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
    except BaseExceptionGroup as errors:
        if len(errors.exceptions) == 1:
            raise errors.exceptions[0] from None
        raise


def _default_name(function: Function) -> str:
    try:
        return check_function(f"ffs.{_instance_name(function)}").removeprefix("ffs.")
    except ConfigurationError as error:
        message = f"the class name {type(function).__name__} makes no name for configfs: pass name=... to Gadget"
        raise ConfigurationError(message) from error


def _instance_name(function: Function) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", type(function).__name__)
    return words.strip("_").lower()


def _instance_names(gadget: str, functions: Sequence[Function]) -> tuple[str, ...]:
    """FunctionFS instances are known by name in the whole system, so a gadget's own name is part of each."""
    if len(functions) == 1:
        return (gadget,)
    return tuple(f"{gadget}-{number}-{_instance_name(f)}" for number, f in enumerate(functions))
