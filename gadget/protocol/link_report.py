"""What can be said about the link to the host, and how it is known.

Nothing tells a gadget whether a cable is plugged in. The state of the link follows from the events of ep0, since the
controller's ``state`` file stays "configured" through suspend and unbind on some (measured on dummy_hcd), and what a
pulled cable looks like depends on the controller: most report a disconnect, dwc2 has been reported to suspend only.
"""

from __future__ import annotations

from dataclasses import dataclass

from gadget.protocol.lifecycle import LinkState


@dataclass(frozen=True, slots=True)
class LinkReport:
    """The state of a link, and how it was inferred.

    Attributes:
        state: How far the connection has come.
        seconds: For how long it has been so.
        controller: The controller's name, empty while the gadget is bound to none.
        controller_state: What the controller's ``state`` file says.
    """

    state: LinkState
    seconds: float
    controller: str
    controller_state: str

    @property
    def may_be_unplugged(self) -> bool:
        """Whether a pulled cable would look like this: every state does but ENABLED, on one controller or another."""
        return self.state is not LinkState.ENABLED

    def __str__(self) -> str:
        return f"{self.state.name.lower()}: {self._evidence()}"

    def _evidence(self) -> str:
        told = f"{self.seconds:.1f} s ago"
        if self.state is LinkState.UNBOUND:
            return f"being bound to {self.controller}" if self.controller else "the gadget is bound to no controller"
        if self.state is LinkState.BOUND:
            return (
                f"bound to {self.controller}, and no host has selected a configuration since (last event {told}): no "
                f"cable, or a host that has not come so far; the controller says {self.controller_state!r}"
            )
        if self.state is LinkState.ENABLED:
            return f"the host selected the configuration or resumed {told}, and nothing ended that"
        return (
            f"the bus is idle, told {told}: the host sleeps, or the cable was pulled, which some controllers (dwc2) "
            f"report in the same way; the controller says {self.controller_state!r}"
        )
