"""Linux AIO for any file descriptor. It needs nothing else of this package, and no USB.

What not everybody needs is loaded when it is first used: asyncio with :class:`AsyncContext`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gadget.aio.bell import Bell
from gadget.aio.blocking import Caller
from gadget.aio.buffers import Alignment, Pieces, allocate, direct_alignment
from gadget.aio.context import Context, undrained_contexts
from gadget.aio.operation import Opcode, Operation, Sync
from gadget.aio.streams import Counters, Gate, ReadStream, WriteStream
from gadget.aio.table import Report
from gadget.aio.undrained import undrained
from gadget.lazy_names import lazy_names

if TYPE_CHECKING:
    from gadget.aio.batch import Batch
    from gadget.aio.event_loop import AsyncContext
    from gadget.aio.probing import Ability, Probe, may_block, probe
    from gadget.aio.steps import Wakeup

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

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "batch": "Batch",
        "event_loop": "AsyncContext",
        "probing": "Ability Probe may_block probe",
        "steps": "Wakeup",
    },
)
