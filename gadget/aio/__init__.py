"""Linux AIO for any file descriptor. It needs nothing else of this package, and no USB.

What a device does not need is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gadget.aio.bell import Bell
from gadget.aio.blocking import Caller
from gadget.aio.buffers import Alignment, Pieces, allocate, direct_alignment
from gadget.aio.context import Context, undrained_contexts
from gadget.aio.event_loop import AsyncContext
from gadget.aio.operation import Opcode, Operation, Sync
from gadget.aio.streams import Counters, Gate, ReadStream, WriteStream
from gadget.aio.table import Report
from gadget.aio.undrained import undrained
from gadget.aio.wakeup import Wakeup

if TYPE_CHECKING:
    from gadget.aio.batch import Batch
    from gadget.aio.probing import Ability, Probe, may_block, probe

__all__ = [
    "Ability",
    "Alignment",
    "AsyncContext",
    "Batch",
    "Bell",
    "Caller",
    "Context",
    "Counters",
    "Gate",
    "Opcode",
    "Operation",
    "Pieces",
    "Probe",
    "ReadStream",
    "Report",
    "Sync",
    "Wakeup",
    "WriteStream",
    "allocate",
    "direct_alignment",
    "may_block",
    "probe",
    "undrained",
    "undrained_contexts",
]

_LATER = {"Batch": "batch", "Ability": "probing", "Probe": "probing", "may_block": "probing", "probe": "probing"}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    globals()[name] = value
    return value
