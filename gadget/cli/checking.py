"""What is wrong with a gadget that nobody has served yet, and which endpoints its functions would get."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gadget.cli.presented import speeds
from gadget.cli.subject import Subject
from gadget.composition import first_interfaces, has_association
from gadget.errors import GadgetError
from gadget.functionfs.function import Function
from gadget.functionfs.own_descriptors import check_own_descriptors
from gadget.kernel_functions import Hid, KernelFunction, MassStorage, Obex, Uvc
from gadget.protocol.constants import Speed, TransferType
from gadget.protocol.descriptors import EndpointDescriptor
from gadget.protocol.functionfs_blobs import descriptors_blob, strings_blob
from gadget.protocol.functionfs_rules import strings_needed
from gadget.services.boards import Board
from gadget.services.endpoint_budget import Budget, Demand, Grant, allocate_endpoints, without_fifo

#: It does not work; it works, and somebody will be sorry; it is good to know.
ERROR, WARNING, NOTE = "error", "warning", "note"

#: How many there can be of a kind in all gadgets together: what is counted, how many, and where the kernel says so.
_LIMITS = (
    (("acm", "gser", "obex"), 8, "u_serial.h, MAX_U_SERIAL_PORTS"),
    (("hid",), 4, "f_hid.c, HIDG_MINORS"),
    (("printer",), 4, "f_printer.c, PRINTER_MINORS"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that is broken, or something to know.

    Attributes:
        level: "error", "warning" or "note".
        where: The function, or the gadget.
        text: What it is.
        source: Where the rule stands.
    """

    level: str
    where: str
    text: str
    source: str = ""


@dataclass
class Report:
    """What was found.

    Attributes:
        findings: In the order in which they were found.
        speeds: The speeds that it can run at.
        controller: The fastest speed of the controller, if that is known.
        first: The number of the first interface of each function, as far as it is known, by instance.
        demands: What each configuration wants of the controller, by its number.
        budgets: What it gets, if the controller is known.
    """

    findings: list[Finding] = field(default_factory=list)
    speeds: Sequence[Speed] = ()
    controller: Speed | None = None
    first: Mapping[str, int] = field(default_factory=dict)
    demands: dict[int, list[Demand]] = field(default_factory=dict)
    budgets: dict[int, Budget] = field(default_factory=dict)

    @property
    def is_broken(self) -> bool:
        """Whether it cannot be served."""
        return any(finding.level == ERROR for finding in self.findings)

    def granted(self, number: int) -> list[tuple[Demand, Grant | None]]:
        """What a configuration wants, each with what it gets, None where the controller is not known."""
        wanted = self.demands[number]
        grants = self.budgets[number].grants if number in self.budgets else [None] * len(wanted)
        return list(zip(wanted, grants, strict=True))

    def add(self, level: str, where: str, text: str, source: str = "") -> None:
        """Adds a finding."""
        self.findings.append(Finding(level, where, text, source))

    def collect(self, where: str, check: Callable[[], object]) -> None:
        """Runs a check; a rule that it finds broken is a finding."""
        try:
            check()
        except GadgetError as error:
            self.add(ERROR, where, str(error))


def check_subject(subject: Subject, board: Board | None) -> Report:
    """Checks a gadget. Nothing is touched.

    Args:
        subject: The gadget.
        board: The controller that it is to run on, if that is known.
    """
    report, name = Report(controller=board.maximum_speed if board is not None else None), subject.model.name
    names, functions = list(subject.functions), list(subject.functions.values())
    own = [each for each in functions if isinstance(each, Function)]

    def number() -> None:
        report.first = first_interfaces(subject.configurations, names, functions)

    report.collect(name, number)
    for instance, function in subject.functions.items():
        if isinstance(function, Function):
            _check_own(report, instance, function)
    report.collect(name, lambda: setattr(report, "speeds", _speeds(subject, own, report.controller)))
    _check_device(report, subject)
    _check_visibility(report, subject)
    _check_files(report, subject)
    for configuration in subject.model.configurations:
        wanted = list(_demands(report, subject, configuration.functions))
        report.demands[configuration.number] = wanted
        if board is not None:
            report.budgets[configuration.number] = allocate_endpoints(board, wanted)
            _check_budget(report, board, configuration.number)
    return report


def _speeds(subject: Subject, own: Sequence[Function], controller: Speed | None) -> list[Speed]:
    return [speed for speed in speeds(subject.model, own) if speed <= (controller or Speed.SUPER_PLUS)]


def _check_own(report: Report, instance: str, function: Function) -> None:
    first = report.first.get(instance, 0)
    where = f"{instance} ({type(function).__name__})"
    try:
        descriptors = function.descriptors(first)
    except GadgetError as error:
        report.add(ERROR, where, str(error))
        return
    report.collect(where, lambda: check_own_descriptors(function, descriptors, first))
    report.collect(where, lambda: descriptors_blob(descriptors))
    report.collect(where, lambda: strings_blob(function.strings(), strings_needed(descriptors)))


def _check_device(report: Report, subject: Subject) -> None:
    model, functions = subject.model, subject.functions.values()
    codes = [code for _, code in model.class_codes()]
    if any(map(has_association, functions)) and codes != [0xEF, 2, 1]:
        text = f"bDeviceClass is {codes[0]:#04x}: hosts look for associations in a device of class 0xef, 2, 1 only"
        report.add(WARNING, model.name, text, "USB 3.2, 9.6.1 and Table 9-11")
    if model.serial_number is None and any(isinstance(each, MassStorage) for each in functions):
        text = "a disk has a serial number of 12 hexadecimal digits at least; without one, hosts mix two of them up"
        report.add(WARNING, model.name, text, "USB Mass Storage Bulk-Only 1.0, 4.1.1")
    if (model.vendor_id, model.product_id) == (0x1D6B, 0x0104):
        report.add(NOTE, model.name, "1d6b:0104 is the Linux Foundation's, for experiments: a product has its own")
    for configuration in model.configurations:
        if configuration.max_power_ma > 500:
            text = f"{configuration.max_power_ma} mA are for SuperSpeed; below that the kernel says 500"
            report.add(NOTE, model.name, text, "USB 2.0, 9.6.3; composite.c, encode_bMaxPower")
    families = Counter(each.family for each in functions if isinstance(each, KernelFunction))
    for kinds, limit, source in _LIMITS:
        if (count := sum(families[kind] for kind in kinds)) > limit:
            text = f"{count} of {', '.join(kinds)}, and the kernel has {limit} for all gadgets together"
            report.add(ERROR, model.name, text, f"drivers/usb/gadget/function/{source}")


def _check_visibility(report: Report, subject: Subject) -> None:
    for instance, function in subject.functions.items():
        if isinstance(function, Uvc):
            text = "the device stays invisible to the host until a program listens at its video device"
            report.add(NOTE, instance, text, "f_uvc.c, bind_deactivated")
        if isinstance(function, Obex):
            text = "the device stays invisible to the host for good: the kernel waits for what cannot come before it"
            report.add(WARNING, instance, text, "f_obex.c, bind_deactivated, as of Linux 6.1")


def _check_files(report: Report, subject: Subject) -> None:
    for instance, function in subject.functions.items():
        for number, lun in enumerate(function.luns if isinstance(function, MassStorage) else ()):
            if lun.file is not None and not Path(lun.file).exists():
                report.add(WARNING, instance, f"LUN {number}: there is no file {lun.file} on this machine")


def _demands(report: Report, subject: Subject, instances: Sequence[str]) -> Iterator[Demand]:
    for instance in instances:
        function = subject.functions[instance]
        if isinstance(function, Function):
            yield from _own_demands(instance, function, report.first.get(instance, 0))
        elif function.endpoints is None:
            report.add(NOTE, instance, "which endpoints it needs is not known here: they are not counted")
        else:
            for need in function.endpoints:
                yield Demand(instance, need.direction, need.transfer_type, burst=_burst(function, need.transfer_type))


def _burst(function: KernelFunction, kind: TransferType) -> int:
    """The bytes of a function of the kernel's in a microframe at high speed, 0 where they are not known here."""
    if kind is TransferType.BULK:
        return 512
    if isinstance(function, Hid):
        return function.report_length
    if isinstance(function, Uvc) and kind is TransferType.ISOCHRONOUS:
        return function.streaming_maxpacket or 1024
    return 0


def _own_demands(instance: str, function: Function, first: int) -> Iterator[Demand]:
    try:
        declared = function.descriptors(first)
        full = [each for each in declared[Speed.FULL] if isinstance(each, EndpointDescriptor)]
    except (GadgetError, KeyError):
        return  # That is a finding already.
    high = [each for each in declared.get(Speed.HIGH, ()) if isinstance(each, EndpointDescriptor)]
    # That they are as many at every speed is a rule of FunctionFS, which is checked elsewhere.
    bursts = [each.packet_size * each.transactions for each in high] + [0] * len(full)
    for each, burst in zip(full, bursts, strict=False):
        yield Demand(instance, each.direction, each.transfer_type, each.packet_size, burst)


def _check_budget(report: Report, board: Board, number: int) -> None:
    budget = report.budgets[number]
    for grant in budget.refused:
        demand = grant.demand
        text = f"{board.name} has no {demand.transfer_type.name.lower()} {demand.direction.name} endpoint left for it"
        report.add(ERROR, demand.function, text, board.source)
    for address in budget.repeated:
        whose = ", ".join(grant.demand.function for grant in budget.grants if grant.address == address)
        text = f"{board.name} gives the address {address:#04x} out twice ({whose}): hosts refuse such a device"
        report.add(ERROR, whose, text, f"USB 2.0, 9.6.6; epautoconf.c; {board.source}")
    bound = [grant.demand for grant in budget.grants if grant.endpoint is not None]
    for demand in without_fifo(board, bound):
        kind, size = demand.transfer_type.name.lower(), f" of {demand.burst} bytes" if demand.burst else ""
        text = f"{board.name} has no transmit FIFO{size} left for its {kind} IN endpoint: it binds, and carries nothing"
        report.add(ERROR, demand.function, text, board.fifo_source)
