"""What a test hands to ``serve``, turned into something that can be started and stopped."""

from __future__ import annotations

from pathlib import Path

from gadget.configfs.apply import USB_GADGET_ROOT
from gadget.device import Gadget
from gadget.errors import UsageError
from gadget.functionfs.function import Function
from gadget.kernel_functions.kernel_function import KernelFunction
from gadget.loader import load
from gadget.testing.child import ServedChild, ServedFile
from gadget.testing.controllers import BenchController
from gadget.testing.in_process import ServedGadget
from gadget.testing.served import Served, ServedTree


def make_served(what: object, controller: BenchController, *, child: bool) -> Served:
    """See :meth:`gadget.testing.bus.Bus.serve`.

    Raises:
        UsageError: It is nothing that could be served.
    """
    if isinstance(what, (list, tuple)):
        return ServedChild(controller, [str(part) for part in what])
    if isinstance(what, Path) and USB_GADGET_ROOT in what.parents:
        return ServedTree(controller, what)
    if isinstance(what, (str, Path)):
        return ServedFile(controller, str(what)) if child else ServedGadget(controller, load(str(what)))
    if child:
        raise UsageError(f"{what!r} lives in this process: to serve it by another one, name it as FILE:NAME")
    if isinstance(what, type) and issubclass(what, Function):
        what = what()
    if isinstance(what, Function | KernelFunction):
        what = Gadget(what)
    if isinstance(what, Gadget):
        return ServedGadget(controller, what)
    raise UsageError(
        f"{what!r} cannot be served: a Gadget, a Function, 'FILE:NAME', a command line, or a path in configfs"
    )
