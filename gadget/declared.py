"""A gadget as it was declared: its functions, their names, and the model that they make.

Nothing here touches the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from gadget.aio.table import LINGER
from gadget.composition import (
    AnyFunction,
    Configuration,
    all_functions,
    check_functions,
    check_webusb,
    default_device_class,
    default_name,
    highest_speed,
    instance_names,
    microsoft_os_string,
)
from gadget.configfs.announced import WebUsb
from gadget.configfs.apply import USB_GADGET_ROOT
from gadget.configfs.checks import check_name
from gadget.configfs.model import ConfigurationModel, FunctionModel, GadgetModel
from gadget.errors import ConfigurationError
from gadget.functionfs.access import Access
from gadget.functionfs.function import Function
from gadget.functionfs.routing import route
from gadget.kernel_functions.kernel_function import KernelFunction
from gadget.protocol.constants import Speed
from gadget.protocol.declaration import Text


class DeclaredGadget:
    """What :class:`~gadget.Gadget` knows before it is up."""

    def __init__(
        self,
        *functions: AnyFunction,
        configurations: Sequence[Configuration] = (),
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
        webusb: WebUsb | None = None,
        access: Access | None = None,
        linger: float = LINGER,
    ) -> None:
        if configurations and functions:
            raise ConfigurationError("functions stand in the configurations, if there are any: Configuration([...])")
        only = Configuration(functions, "", None, max_power_ma, self_powered, remote_wakeup)
        self.configurations = tuple(configurations) or (only,)
        for configuration in self.configurations:
            check_functions(configuration.functions)
        self.functions = all_functions(self.configurations)
        self.name = check_name(name) if name is not None else default_name(self.functions[0])
        self._instances = instance_names(self.name, self.functions)
        self._routes = route(self.own_functions)
        self._access, self._linger = access, linger
        codes = device_class if device_class is not None else default_device_class(self.functions)
        numbered = [(each.number or at, each) for at, each in enumerate(self.configurations, start=1)]
        if webusb is not None:
            check_webusb(self.configurations, webusb)
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
            max_speed=highest_speed(
                self.functions, Speed.from_name(max_speed) if isinstance(max_speed, str) else max_speed
            ),
            configurations=tuple(self._modelled(number, each) for number, each in numbered),
            functions=tuple(self._function_models()),
            microsoft_os=microsoft_os_string(numbered),
            webusb=webusb,
        )

    def _modelled(self, number: int, configuration: Configuration) -> ConfigurationModel:
        name_of = {id(function): name for name, function in self._named()}
        return ConfigurationModel(
            number=number,
            label=configuration.label,
            max_power_ma=configuration.max_power_ma,
            self_powered=configuration.self_powered,
            remote_wakeup=configuration.remote_wakeup,
            functions=tuple(name_of[id(function)] for function in configuration.functions),
        )

    def _function_models(self) -> Iterator[FunctionModel]:
        for name, function in self._named():
            yield FunctionModel(name, function.steps() if isinstance(function, KernelFunction) else ())

    @property
    def own_functions(self) -> tuple[Function, ...]:
        """Those of its functions that are written with this package, in their order."""
        return tuple(function for function in self.functions if isinstance(function, Function))

    @property
    def kernel_functions(self) -> tuple[KernelFunction, ...]:
        """Those of its functions that are the kernel's, in their order."""
        return tuple(function for function in self.functions if isinstance(function, KernelFunction))

    def _named(self) -> Sequence[tuple[str, AnyFunction]]:
        return list(zip(self._instances, self.functions, strict=True))

    def _slots(self) -> int:
        depths = [e.depth for function in self.own_functions for e in function.declared_endpoints().values()]
        return max(1, sum(depths))

    @property
    def path(self) -> Path:
        """Its folder in configfs, whether it is up or not."""
        return USB_GADGET_ROOT / self.name
