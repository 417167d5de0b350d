"""``gadget check --try``: a gadget is bound for a moment, to see which endpoints the controller gives it."""

from __future__ import annotations

import asyncio
from typing import Any

from gadget.cli.host_side import addresses as host_addresses, find_device
from gadget.cli.subject import Subject
from gadget.composition import interface_count
from gadget.device import Gadget
from gadget.errors import UsageError
from gadget.functionfs.function import Function

#: How long the host may take to configure the device, in seconds.
PATIENCE = 5.0


def bind_for_a_moment(subject: Subject, udc: str | None) -> dict[str, Any]:
    """Serves a gadget until the host has configured it, or has not for some seconds.

    The functions are served as they are: their ``run`` begins, and is cancelled.

    Args:
        subject: The gadget.
        udc: The name of the controller; the first free one by default.

    Returns:
        The controller's name, what became of the link, and the addresses of each function's endpoints.

    Raises:
        UsageError: A scheme has no functions that could be served.
    """
    if subject.gadget is None:
        raise UsageError("--try is for gadgets in Python files; gadget import makes what a scheme describes")
    return asyncio.run(_bound(subject.gadget, udc))


async def _bound(gadget: Gadget, udc: str | None) -> dict[str, Any]:
    async with gadget.up(udc):
        controller = gadget.controller.name
        try:
            async with asyncio.timeout(PATIENCE):
                await gadget.wait_configured()
            speed = gadget.controller.current_speed
            link = f"the host has configured it at {speed.maximum if speed else 'an unknown speed'}"
        except TimeoutError:
            link = f"no host has configured it within {PATIENCE:.0f} s, and addresses are handed out when one does"
        addresses = {
            name: _addresses(function)
            for name, function in zip(gadget.model.instances, gadget.functions, strict=True)
            if isinstance(function, Function)
        }
        seen = _as_seen(gadget)
    return {"controller": controller, "link": link, "addresses": {**seen, **addresses}}


def _as_seen(gadget: Gadget) -> dict[str, list[str]]:
    """The addresses of the first configuration's functions, the kernel's as well, where the host is this machine."""
    model = gadget.model
    device = find_device((model.vendor_id, model.product_id, model.device_version))
    if device is None:
        return {}
    found: dict[str, list[str]] = {}
    by_interface, first = host_addresses(device), 0
    functions = dict(zip(model.instances, gadget.functions, strict=True))
    for name in model.configurations[0].functions:
        count = interface_count(functions[name])
        if count is None:
            return found
        numbers = range(first, first + count)
        found[name] = [f"{address:#04x}" for number in numbers for address in by_interface.get(number, ())]
        first += count
    return found


def _addresses(function: Function) -> list[str]:
    return [f"{name}={getattr(function, name).address:#04x}" for name in function.declared_endpoints()]
