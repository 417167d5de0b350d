"""What follows from functions being in one gadget: their names in the system, and what the device says for all of them.

Nothing here touches the kernel.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gadget.configfs.announced import MicrosoftOsString, WebUsb
from gadget.configfs.checks import check_function
from gadget.configfs.interfaces import allocate_interfaces
from gadget.errors import ConfigurationError
from gadget.functionfs.function import Function
from gadget.kernel_functions.kernel_function import KernelFunction
from gadget.protocol.constants import RequestType, Speed
from gadget.protocol.declaration import Text

#: A device whose functions are marked by association descriptors (USB 3.2, Table 9-11).
_MULTI_FUNCTION = (0xEF, 0x02, 0x01)

#: What a gadget is made of.
AnyFunction = Function | KernelFunction


@dataclass(frozen=True)
class Configuration:
    """One of several configurations of a gadget, of which the host selects one. A function can be in several.

    Attributes:
        functions: What the device does in it, in the order of their interfaces.
        label: iConfiguration, the same in every language, or by language identifier; empty for none.
        number: bConfigurationValue; by default they are numbered from 1.
        max_power_ma: The most the device draws from the bus in it, in milliamperes.
        self_powered: The device has a power supply of its own in it.
        remote_wakeup: The device may wake a suspended host in it.
    """

    functions: Sequence[AnyFunction]
    label: Text = ""
    number: int | None = None
    max_power_ma: int = 500
    self_powered: bool = False
    remote_wakeup: bool = False


def check_functions(functions: Sequence[object]) -> None:
    """Refuses what is no configuration.

    Raises:
        ConfigurationError: There is no function, or one is there twice, or it is something else.
    """
    for function in functions:
        if not isinstance(function, Function | KernelFunction):
            raise ConfigurationError(f"{function!r} is no Function object: Gadget(MyFunction(), ...)")
    if not functions:
        raise ConfigurationError("a gadget has at least one function: Gadget(MyFunction(), ...)")
    if len(set(map(id, functions))) != len(functions):
        raise ConfigurationError("the same function object is in this gadget twice: make two of them")


def all_functions(configurations: Sequence[Configuration]) -> tuple[AnyFunction, ...]:
    """The functions of all configurations, each once, in the order of their first appearance.

    Raises:
        ConfigurationError: One is in several configurations, which the kernel has not thought of for its kind.
    """
    found: dict[int, AnyFunction] = {}
    for configuration in configurations:
        for function in configuration.functions:
            if id(function) in found and isinstance(function, KernelFunction) and function.NOT_SHARED:
                what = f"{type(function).__name__} cannot be in two configurations"
                raise ConfigurationError(f"{what}: {function.NOT_SHARED}; give each one of its own")
            found.setdefault(id(function), function)
    return tuple(found.values())


def default_name(function: AnyFunction) -> str:
    """The name of a gadget that was not given any: that of its first function's class.

    Raises:
        ConfigurationError: It makes no name for configfs.
    """
    try:
        return check_function(f"ffs.{_instance_name(function)}").removeprefix("ffs.")
    except ConfigurationError as error:
        message = f"the class name {type(function).__name__} makes no name for configfs: pass name=... to Gadget"
        raise ConfigurationError(message) from error


def _instance_name(function: AnyFunction) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", type(function).__name__)
    return words.strip("_").lower()


def instance_names(gadget: str, functions: Sequence[AnyFunction]) -> tuple[str, ...]:
    """The function instances in configfs.

    FunctionFS instances are known by name in the whole system, so a gadget's own name is part of each. Those of other
    kinds are numbered.

    Raises:
        ConfigurationError: Two were given the same name.
    """
    taken = {f"{each.family}.{each.instance}" for each in functions if isinstance(each, KernelFunction)}
    names = list(_names(gadget, functions, taken))
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f"two functions of this gadget are called {name}: give them different instances")
    return tuple(names)


def _names(gadget: str, functions: Sequence[AnyFunction], taken: set[str]) -> Iterator[str]:
    for number, function in enumerate(functions):
        if isinstance(function, Function):
            yield f"ffs.{gadget}" if len(functions) == 1 else f"ffs.{gadget}-{number}-{_instance_name(function)}"
        elif function.instance is not None:
            yield f"{function.family}.{function.instance}"
        else:
            free = (f"{function.family}.{at}" for at in range(len(functions) + len(taken)))
            name = next(name for name in free if name not in taken)
            taken.add(name)
            yield name


def first_interfaces(
    configurations: Sequence[Configuration], names: Sequence[str], functions: Sequence[AnyFunction]
) -> dict[str, int]:
    """The number of the first interface of each FunctionFS function, by its instance.

    Raises:
        ConfigurationError: There are too many interfaces in a configuration; or a function has to know its numbers, and
            they are not known, or not the same in each of its configurations.
    """
    name_of = {id(function): name for function, name in zip(functions, names, strict=True)}
    found: dict[str, int] = {}
    for configuration in configurations:
        counts = [(name_of[id(each)], interface_count(each)) for each in configuration.functions]
        numbers = allocate_interfaces(counts)
        for function in configuration.functions:
            name = name_of[id(function)]
            if isinstance(function, Function):
                if name not in numbers:
                    raise ConfigurationError(_unknown(function, configuration))
                if found.setdefault(name, numbers[name]) != numbers[name] and function.association:
                    what = f"{type(function).__name__} has an association, which names its interfaces by number"
                    raise ConfigurationError(f"{what}, and has other numbers in another configuration: put it first")
    return found


def _unknown(function: Function, configuration: Configuration) -> str:
    before = configuration.functions[: list(map(id, configuration.functions)).index(id(function))]
    unknown = next(each for each in before if interface_count(each) is None)
    return (
        f"the interface numbers of {type(function).__name__} are not known, since nobody knows how many interfaces "
        f"{type(unknown).__name__} has: give it an interface_count, or put it last"
    )


def interface_count(function: AnyFunction) -> int | None:
    """How many interfaces a function has; None if that is not known."""
    return len(function.interfaces()) if isinstance(function, Function) else function.interfaces


def highest_speed(functions: Sequence[AnyFunction], wanted: Speed | None) -> Speed | None:
    """The fastest speed that a gadget is to run at; None leaves it to the controller.

    A host that finds a function without descriptors at its speed does not configure the device.

    Args:
        functions: Its functions.
        wanted: What was asked for, if anything.

    Raises:
        ConfigurationError: A function cannot run at what was asked for.
    """
    slowest = min((each for each in functions if isinstance(each, KernelFunction)), key=_max_speed, default=None)
    if slowest is None or slowest.MAX_SPEED is Speed.SUPER_PLUS:
        return wanted
    if wanted is not None and wanted > slowest.MAX_SPEED:
        what = f"the kernel's {type(slowest).__name__} has no descriptors for {wanted.maximum}"
        raise ConfigurationError(f"{what}: the fastest it has is {slowest.MAX_SPEED.maximum}")
    return slowest.MAX_SPEED if wanted is None else wanted


def _max_speed(function: KernelFunction) -> Speed:
    return function.MAX_SPEED


def default_device_class(functions: Sequence[AnyFunction]) -> tuple[int, int, int]:
    """The class, subclass and protocol of the device: the interfaces say it, or there are associations to look for."""
    return _MULTI_FUNCTION if any(map(has_association, functions)) else (0, 0, 0)


def has_association(function: AnyFunction) -> bool:
    """Whether a function of several interfaces is marked by an association descriptor."""
    return function.HAS_ASSOCIATION if isinstance(function, KernelFunction) else function.association is not None


def microsoft_os_string(numbered: Sequence[tuple[int, Configuration]]) -> MicrosoftOsString | None:
    """Windows is told how to ask if there is something to tell; the kernel answers, and no function ever sees it.

    Args:
        numbered: The configurations with their numbers; the first with something to tell is asked.

    Raises:
        ConfigurationError: A function has a handler for what the kernel answers.
    """
    speaking = (number for number, each in numbered if any(map(_speaks_to_windows, each.functions)))
    number = next(speaking, None)
    if number is None:
        return None
    string = MicrosoftOsString(configuration=number)
    what = "Windows asks for Microsoft OS descriptors"
    _refuse_handlers([each for _, each in numbered], string.vendor_code, what)
    return string


def _speaks_to_windows(function: AnyFunction) -> bool:
    if isinstance(function, KernelFunction):
        return function.microsoft_os_descriptors is not None
    return bool(function.microsoft_os)


def check_webusb(configurations: Sequence[Configuration], webusb: WebUsb) -> None:
    """Refuses a handler for what the kernel answers.

    Raises:
        ConfigurationError: A function has one.
    """
    _refuse_handlers(configurations, webusb.vendor_code, "a browser asks for WebUSB's landing page")


def _refuse_handlers(configurations: Sequence[Configuration], vendor_code: int, what: str) -> None:
    for function in all_functions(configurations):
        for request in function._requests if isinstance(function, Function) else ():
            if (request.type, request.request) == (RequestType.VENDOR, vendor_code):
                why = f"{what} by that bRequest, and the kernel answers it"
                raise ConfigurationError(f"{type(function).__name__} would never get {request}: {why}; use another one")
