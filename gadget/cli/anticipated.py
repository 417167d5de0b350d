"""What a host will see of a gadget of any functions, as text; what the kernel's own present is named, not shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from gadget.cli.checking import Report
from gadget.cli.presented import configuration_descriptor, device_descriptor, function_descriptors, number_string
from gadget.cli.subject import Subject
from gadget.composition import interface_count
from gadget.configfs.model import ConfigurationModel
from gadget.functionfs.function import Function
from gadget.kernel_functions import KernelFunction
from gadget.protocol.constants import Speed
from gadget.protocol.describe.text import describe
from gadget.protocol.descriptors import Descriptor, EndpointDescriptor, join_descriptors
from gadget.services.endpoint_budget import Grant


def anticipated(subject: Subject, report: Report, speed: Speed) -> Iterator[str]:
    """The text at one speed, piece by piece.

    Args:
        subject: The gadget.
        report: What is known of its interface numbers, and of the addresses that its endpoints will have.
        speed: The speed.
    """
    strings: dict[int, str] = {}
    device = device_descriptor(subject.model, speed, strings, report.controller).to_bytes()
    labels = {each.number: number_string(strings, each.label or None) for each in subject.model.configurations}
    own = {
        name: list(function_descriptors(function, speed, report.first.get(name, 0), strings))
        for name, function in subject.functions.items()
        if isinstance(function, Function)
    }
    first = describe(device, string=strings)
    yield f"{subject.model.name} at {speed.maximum}\n{first}"
    for configuration in subject.model.configurations:
        size = sum(len(join_descriptors(own.get(name, []))) for name in configuration.functions)
        counts = [interface_count(subject.functions[name]) for name in configuration.functions]
        interfaces = sum(count or 0 for count in counts)
        head = configuration_descriptor(configuration, speed, size, interfaces, labels[configuration.number])
        yield describe(device, head.to_bytes(), string=strings)[len(first) :]
        if len([name for name in configuration.functions if name in own]) < len(configuration.functions):
            yield "    (the descriptors of the kernel's own functions come on top of wTotalLength)\n"
        for name in configuration.functions:
            yield from _function(subject, report, configuration, name, own.get(name, []), strings)


def _function(
    subject: Subject,
    report: Report,
    configuration: ConfigurationModel,
    name: str,
    descriptors: list[Descriptor],
    strings: dict[int, str],
) -> Iterator[str]:
    function = subject.functions[name]
    if isinstance(function, KernelFunction):
        yield _named(function, name, report)
    else:
        with_addresses = list(_addressed(descriptors, report, configuration.number, name))
        yield describe(join_descriptors(with_addresses), string=strings)


def _addressed(descriptors: list[Descriptor], report: Report, number: int, name: str) -> Iterator[Descriptor]:
    """With the addresses that the controller will give its endpoints, where that is known."""
    budget = report.budgets.get(number)
    grants = iter([grant for grant in budget.grants if grant.demand.function == name] if budget else [])
    for one in descriptors:
        address = _next_address(grants) if isinstance(one, EndpointDescriptor) else None
        yield replace(one, address=address) if isinstance(one, EndpointDescriptor) and address is not None else one


def _next_address(grants: Iterator[Grant]) -> int | None:
    grant = next(grants, None)
    return None if grant is None else grant.address


def _named(function: KernelFunction, name: str, report: Report) -> str:
    count = function.interfaces
    interfaces = "its interfaces" if count is None else f"{count} interface{'s' * (count > 1)}"
    endpoints = ", ".join(f"{n.transfer_type.name.lower()} {n.direction.name}" for n in function.endpoints or ())
    return f"    {name}: {interfaces} with the kernel's own descriptors" + (f": {endpoints}\n" if endpoints else "\n")
