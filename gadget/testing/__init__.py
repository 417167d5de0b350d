"""Tests of gadgets on a real USB bus: the pytest plugin, and what its fixtures hand out."""

from typing import TYPE_CHECKING

from gadget.lazy_names import lazy_names

if TYPE_CHECKING:
    from gadget.testing.bus import Bus as Bus
    from gadget.testing.child import ChildError as ChildError, ServedChild as ServedChild
    from gadget.testing.controllers import BenchController as BenchController
    from gadget.testing.faults import Faults as Faults
    from gadget.testing.host_device import HostDevice as HostDevice
    from gadget.testing.in_process import LoopTroubleError as LoopTroubleError, ServedGadget as ServedGadget
    from gadget.testing.observe.kernel_log import KernelLog as KernelLog
    from gadget.testing.observe.observation import LeftBehindError as LeftBehindError
    from gadget.testing.observe.usage import (
        Usage as Usage,
        check_steady as check_steady,
        growth_kib as growth_kib,
    )
    from gadget.testing.observe.usbmon import Capture as Capture
    from gadget.testing.served import Served as Served, ServedTree as ServedTree
    from gadget.testing.usbip.cable import Cable as Cable, Rule as Rule
    from gadget.testing.waiting import StillWaitingError as StillWaitingError, wait_for as wait_for

# pytest loads the plugin at every start, with or without a test on a bus: nothing is imported before it is used.
_HOMES = {
    "bus": "Bus",
    "usbip.cable": "Cable Rule",
    "child": "ChildError ServedChild",
    "controllers": "BenchController",
    "faults": "Faults",
    "host_device": "HostDevice",
    "in_process": "LoopTroubleError ServedGadget",
    "observe.kernel_log": "KernelLog",
    "observe.observation": "LeftBehindError",
    "served": "Served ServedTree",
    "observe.usage": "Usage check_steady growth_kib",
    "observe.usbmon": "Capture",
    "waiting": "StillWaitingError wait_for",
}

__all__ = sorted(name for names in _HOMES.values() for name in names.split())
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
