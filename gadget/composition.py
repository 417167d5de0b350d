"""What follows from functions being in one gadget: their names in the system, and what the device says for all of them.

Nothing here touches the kernel.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from gadget.configfs.announced import MicrosoftOsString
from gadget.configfs.checks import check_function
from gadget.errors import ConfigurationError
from gadget.functionfs.function import Function
from gadget.protocol.constants import RequestType

#: A device whose functions are marked by association descriptors (USB 3.2, Table 9-11).
_MULTI_FUNCTION = (0xEF, 0x02, 0x01)


def check_functions(functions: Sequence[object]) -> None:
    """Refuses what is no gadget.

    Raises:
        ConfigurationError: There is no function, or one is there twice, or it is something else.
    """
    if strange := [function for function in functions if not isinstance(function, Function)]:
        raise ConfigurationError(f"{strange[0]!r} is no Function object: Gadget(MyFunction(), ...)")
    if not functions:
        raise ConfigurationError("a gadget has at least one function: Gadget(MyFunction(), ...)")
    if len(set(map(id, functions))) != len(functions):
        raise ConfigurationError("the same function object is in this gadget twice: make two of them")


def default_name(function: Function) -> str:
    """The name of a gadget that was not given any: that of its first function's class.

    Raises:
        ConfigurationError: It makes no name for configfs.
    """
    try:
        return check_function(f"ffs.{_instance_name(function)}").removeprefix("ffs.")
    except ConfigurationError as error:
        message = f"the class name {type(function).__name__} makes no name for configfs: pass name=... to Gadget"
        raise ConfigurationError(message) from error


def _instance_name(function: Function) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", type(function).__name__)
    return words.strip("_").lower()


def instance_names(gadget: str, functions: Sequence[Function]) -> tuple[str, ...]:
    """FunctionFS instances are known by name in the whole system, so a gadget's own name is part of each."""
    if len(functions) == 1:
        return (gadget,)
    return tuple(f"{gadget}-{number}-{_instance_name(f)}" for number, f in enumerate(functions))


def default_device_class(functions: Sequence[Function]) -> tuple[int, int, int]:
    """The class, subclass and protocol of the device: the interfaces say it, or there are associations to look for."""
    return _MULTI_FUNCTION if any(function.association for function in functions) else (0, 0, 0)


def microsoft_os_string(functions: Sequence[Function]) -> MicrosoftOsString | None:
    """Windows is told how to ask if there is something to tell; the kernel answers, and no function ever sees it.

    Raises:
        ConfigurationError: A function has a handler for what the kernel answers.
    """
    if not any(function.microsoft_os for function in functions):
        return None
    string = MicrosoftOsString()
    for function in functions:
        for request in function._requests:
            if (request.type, request.request) == (RequestType.VENDOR, string.vendor_code):
                why = "Windows asks for Microsoft OS descriptors by that bRequest, and the kernel answers it"
                raise ConfigurationError(f"{type(function).__name__} would never get {request}: {why}; use another one")
    return string
