"""Endpoint 0 as FunctionFS offers it: a state machine, without any I/O.

The kernel hands over a SETUP and holds the host until somebody answers. An answer is given by reading from or
writing to ep0, and the direction is part of it (f_fs.c, ffs_ep0_read and ffs_ep0_write):

* in the request's own direction, the I/O is the data stage, or with no bytes the status stage;
* in the other direction, it is a refusal: the endpoint stalls and the call fails with EL2HLT.

Any event that arrives while nobody has answered yet withdraws the request (FFS_SETUP_CANCELLED); the next call
fails with EIDRM. Once a data stage has begun, events no longer disturb it. Data from the host is acknowledged by the
kernel when the read completes, so a handler that wants the data runs after the host has been told that all is well.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, auto
from types import MappingProxyType

from gadget.protocol.constants import Direction
from gadget.protocol.functionfs_format import Setup


class ControlState(IntEnum):
    """Who is to do something about the request."""

    IDLE = auto()
    """There is none."""
    DECIDING = auto()
    """The handler: the kernel holds the host until it has answered."""
    TRANSFERRING = auto()
    """The kernel: a data or status stage is under way."""
    HANDLING = auto()
    """The handler has the host's data, which is acknowledged; for the kernel the request is over."""


class Input(IntEnum):
    """What moves the machine."""

    ASK = auto()
    """A request whose handler decides before anything is transferred."""
    TAKE = auto()
    """A request with data from the host, which a handler is waiting for."""
    UNKNOWN = auto()
    """A request that nobody handles."""
    SUPERSEDED = auto()
    """The kernel reported another event."""
    ANSWERED = auto()
    """The handler returned."""
    REFUSED = auto()
    """The handler raised Stall, or failed."""
    TRANSFERRED = auto()
    """The stage is complete."""
    RECEIVED = auto()
    """The data of a request from the host has arrived."""
    FAILED = auto()
    """The host gave up, or the kernel did."""


_S = ControlState
_I = Input

#: Every legal step. What is not here is a defect of this package, not of the host.
TRANSITIONS: MappingProxyType[tuple[ControlState, Input], ControlState] = MappingProxyType(
    {
        (_S.IDLE, _I.ASK): _S.DECIDING,
        (_S.IDLE, _I.TAKE): _S.TRANSFERRING,
        (_S.IDLE, _I.UNKNOWN): _S.IDLE,
        (_S.IDLE, _I.SUPERSEDED): _S.IDLE,
        (_S.DECIDING, _I.SUPERSEDED): _S.IDLE,
        (_S.DECIDING, _I.ANSWERED): _S.TRANSFERRING,
        (_S.DECIDING, _I.REFUSED): _S.IDLE,
        (_S.TRANSFERRING, _I.SUPERSEDED): _S.TRANSFERRING,
        (_S.TRANSFERRING, _I.TRANSFERRED): _S.IDLE,
        (_S.TRANSFERRING, _I.RECEIVED): _S.HANDLING,
        (_S.TRANSFERRING, _I.FAILED): _S.IDLE,
        (_S.HANDLING, _I.SUPERSEDED): _S.HANDLING,
        (_S.HANDLING, _I.ANSWERED): _S.IDLE,
        (_S.HANDLING, _I.REFUSED): _S.IDLE,
    }
)


@dataclass(frozen=True, slots=True)
class Handle:
    """Action: run the handler of this request with the host's data, empty unless there was a data stage."""

    setup: Setup
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Write:
    """Action: write this to ep0. It blocks until the host has read it, or has acknowledged nothing at all."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Read:
    """Action: read up to this many bytes from ep0. It blocks until the host has sent them."""

    length: int


@dataclass(frozen=True, slots=True)
class Refuse:
    """Action: stall, by I/O in the direction that the request does not have. EL2HLT is its success."""

    by_writing: bool


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Action: stop the handler; nobody is waiting for its answer any more."""


Action = Handle | Write | Read | Refuse | Withdraw


class ControlMachine:
    """One ep0. Each method takes an input and returns the action it calls for, or None.

    Attributes:
        state: Who is to act.
        setup: The request being served; meaningful outside IDLE.
        takes_data: Whether its handler waits for data from the host; meaningful outside IDLE.
    """

    def __init__(self) -> None:
        self.state = ControlState.IDLE
        self.setup: Setup | None = None
        self.takes_data = False

    def _step(self, given: Input) -> ControlState:
        before = self.state
        after = TRANSITIONS.get((before, given))
        if after is None:
            raise RuntimeError(f"ep0: {given.name} makes no sense while {before.name}")
        self.state = after
        return before

    def request(self, setup: Setup, *, known: bool) -> Action:
        """A SETUP was read. ``known``: there is a handler for it."""
        takes_data = known and setup.direction == Direction.OUT and setup.length > 0
        self._step(Input.UNKNOWN if not known else Input.TAKE if takes_data else Input.ASK)
        self.setup, self.takes_data = setup, takes_data
        if not known:
            return _refusal(setup)
        return Read(setup.length) if takes_data else Handle(setup)

    def superseded(self) -> Action | None:
        """The kernel has another event to report."""
        return Withdraw() if self._step(Input.SUPERSEDED) is ControlState.DECIDING else None

    def answered(self, data: bytes) -> Action | None:
        """The handler returned; ``data`` is cut to what the host asked for."""
        if self._step(Input.ANSWERED) is ControlState.HANDLING:
            return None
        setup = self._current()
        return Write(data[: setup.length]) if setup.direction == Direction.IN else Read(0)

    def refused(self) -> Action | None:
        """The handler refused. None: too late, the host's data was acknowledged already."""
        if self._step(Input.REFUSED) is ControlState.HANDLING:
            return None
        return _refusal(self._current())

    def transferred(self, data: bytes = b"") -> Action | None:
        """The data or status stage is complete; ``data`` is what the host sent."""
        setup = self._current()
        if self.takes_data:
            self._step(Input.RECEIVED)
            return Handle(setup, data)
        self._step(Input.TRANSFERRED)
        return None

    def failed(self) -> None:
        """The stage did not complete: the host gave up on it, or is gone."""
        self._step(Input.FAILED)

    def _current(self) -> Setup:
        if self.setup is None:
            raise RuntimeError("ep0: there is no request")
        return self.setup


def _refusal(setup: Setup) -> Refuse:
    return Refuse(by_writing=setup.direction == Direction.OUT)
