"""Linux AIO for any file descriptor. It needs nothing else of this package, and no USB."""

from gadget.aio.batch import Batch
from gadget.aio.blocking import Caller
from gadget.aio.buffers import allocate
from gadget.aio.context import Context, undrained_contexts
from gadget.aio.event_loop import AsyncContext, Bell, Wakeup
from gadget.aio.operation import Opcode, Operation
from gadget.aio.streams import Counters, Gate, ReadStream, WriteStream
from gadget.aio.undrained import undrained

__all__ = [
    "AsyncContext",
    "Batch",
    "Bell",
    "Caller",
    "Context",
    "Counters",
    "Gate",
    "Opcode",
    "Operation",
    "ReadStream",
    "Wakeup",
    "WriteStream",
    "allocate",
    "undrained",
    "undrained_contexts",
]
