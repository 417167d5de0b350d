"""What the host and the controller do to a function, as a legal sequence.

FunctionFS reports six events besides SETUP (``functionfs.h``, usb_functionfs_event_type), but keeps only four of them
and purges: a new BIND, UNBIND, ENABLE or DISABLE discards everything queued except suspend and resume (f_fs.c,
__ffs_event_add), and SET_INTERFACE shows as a second ENABLE with no DISABLE between. So what arrives may have
gaps. This table fills them: whatever comes in, what goes out alternates properly.
"""

from __future__ import annotations

from enum import Enum, auto
from types import MappingProxyType

from gadget.errors import DisabledError, DisconnectedError, SupersededError, UnboundError
from gadget.protocol.constants import EventType


class LinkState(Enum):
    """How far the host's connection to one function has come."""

    UNBOUND = auto()
    """No controller is bound to the gadget."""
    BOUND = auto()
    """A controller is bound; the host has not selected the configuration (any more)."""
    ENABLED = auto()
    """The host has selected the configuration: endpoints work."""
    SUSPENDED = auto()
    """Enabled, and the bus is idle; transfers stay queued until it resumes."""


_S = LinkState
_E = EventType

#: (state, what the kernel reported) -> (the next state, the events that the function sees).
TRANSITIONS: MappingProxyType[tuple[LinkState, EventType], tuple[LinkState, tuple[EventType, ...]]] = MappingProxyType(
    {
        (_S.UNBOUND, _E.BIND): (_S.BOUND, (_E.BIND,)),
        (_S.UNBOUND, _E.UNBIND): (_S.UNBOUND, ()),
        (_S.UNBOUND, _E.ENABLE): (_S.ENABLED, (_E.BIND, _E.ENABLE)),
        (_S.UNBOUND, _E.DISABLE): (_S.BOUND, (_E.BIND,)),
        (_S.UNBOUND, _E.SUSPEND): (_S.UNBOUND, ()),
        (_S.UNBOUND, _E.RESUME): (_S.UNBOUND, ()),
        (_S.BOUND, _E.BIND): (_S.BOUND, (_E.UNBIND, _E.BIND)),
        (_S.BOUND, _E.UNBIND): (_S.UNBOUND, (_E.UNBIND,)),
        (_S.BOUND, _E.ENABLE): (_S.ENABLED, (_E.ENABLE,)),
        (_S.BOUND, _E.DISABLE): (_S.BOUND, ()),
        (_S.BOUND, _E.SUSPEND): (_S.BOUND, ()),
        (_S.BOUND, _E.RESUME): (_S.BOUND, ()),
        (_S.ENABLED, _E.BIND): (_S.BOUND, (_E.DISABLE, _E.UNBIND, _E.BIND)),
        (_S.ENABLED, _E.UNBIND): (_S.UNBOUND, (_E.DISABLE, _E.UNBIND)),
        (_S.ENABLED, _E.ENABLE): (_S.ENABLED, (_E.DISABLE, _E.ENABLE)),
        (_S.ENABLED, _E.DISABLE): (_S.BOUND, (_E.DISABLE,)),
        (_S.ENABLED, _E.SUSPEND): (_S.SUSPENDED, (_E.SUSPEND,)),
        (_S.ENABLED, _E.RESUME): (_S.ENABLED, ()),
        (_S.SUSPENDED, _E.BIND): (_S.BOUND, (_E.DISABLE, _E.UNBIND, _E.BIND)),
        (_S.SUSPENDED, _E.UNBIND): (_S.UNBOUND, (_E.DISABLE, _E.UNBIND)),
        (_S.SUSPENDED, _E.ENABLE): (_S.ENABLED, (_E.DISABLE, _E.ENABLE)),
        (_S.SUSPENDED, _E.DISABLE): (_S.BOUND, (_E.DISABLE,)),
        (_S.SUSPENDED, _E.SUSPEND): (_S.SUSPENDED, ()),
        (_S.SUSPENDED, _E.RESUME): (_S.ENABLED, (_E.RESUME,)),
    }
)


#: How a generation ended, by the event that the kernel reported. A BIND that comes while one is running means that
#: the UNBIND before it was purged.
ENDINGS: MappingProxyType[EventType, type[DisconnectedError]] = MappingProxyType(
    {
        _E.DISABLE: DisabledError,
        _E.ENABLE: SupersededError,
        _E.UNBIND: UnboundError,
        _E.BIND: UnboundError,
    }
)


#: Where each event leads that a function sees. The sequence is a legal one, so what was before does not matter.
_AFTER: MappingProxyType[EventType, LinkState] = MappingProxyType(
    {
        _E.BIND: _S.BOUND,
        _E.UNBIND: _S.UNBOUND,
        _E.ENABLE: _S.ENABLED,
        _E.DISABLE: _S.BOUND,
        _E.SUSPEND: _S.SUSPENDED,
        _E.RESUME: _S.ENABLED,
    }
)


class Lifecycle:
    """One function's place in the table, and how many generations it has seen.

    Attributes:
        state: Where it is, by what the function has seen.
        generation: Counts ENABLEs. Transfers of one generation never reach another.
    """

    def __init__(self) -> None:
        self.state = LinkState.UNBOUND
        self.generation = 0

    def infer(self, reported: EventType) -> tuple[EventType, ...]:
        """What the function is to see, in order, when the kernel reports this event.

        It follows from what the function has seen, so what was inferred and never told is inferred again.
        """
        return TRANSITIONS[self.state, reported][1]

    def see(self, event: EventType) -> None:
        """The function sees one of these."""
        self.state = _AFTER[event]
        self.generation += event is EventType.ENABLE
