"""MIDI: a card of ALSA's with raw MIDI ports on this side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gadget.kernel_functions.attributes import Line, Number, attribute
from gadget.kernel_functions.kernel_function import BULK_PAIR, EndpointNeed, KernelFunction, SoundCard

_PORTS = Number(0, 16)
_CARD_ID = Line(15, pattern="[A-Za-z0-9_]+", rule="must be letters, digits and '_'")


@dataclass(frozen=True, kw_only=True)
class Midi(KernelFunction):
    """A MIDI interface of the class of USB MIDI devices (``f_midi.c``).

    Attributes:
        id: The identifier of the card on this side, 15 characters at most.
        index: The number of the card on this side; the kernel has -1, which is the first free one.
        in_ports: How many ports the host hears from; the kernel has 1.
        out_ports: How many ports the host speaks to; the kernel has 1.
        buflen: The bytes of a transfer; the kernel has 512.
        qlen: How many transfers are in flight; the kernel has 32.
    """

    FAMILY: ClassVar[str] = "midi"
    ENDPOINTS: ClassVar[tuple[EndpointNeed, ...] | None] = BULK_PAIR
    INTERFACES: ClassVar[int | None] = 2

    id: str | None = attribute(_CARD_ID, "f_midi.c, f_midi_opts_id_store; sound/core/init.c, snd_card_set_id")
    index: int | None = attribute(Number(-1, 31), "f_midi.c, F_MIDI_OPT_SIGNED")
    in_ports: int | None = attribute(_PORTS, "f_midi.c, MAX_PORTS")
    out_ports: int | None = attribute(_PORTS, "f_midi.c, MAX_PORTS")
    buflen: int | None = attribute(Number(4, 0xFFFFFFFF), "f_midi.c, f_midi_start_ep; USB MIDI 1.0, 4")
    qlen: int | None = attribute(Number(2, 0xFFFFFFFF), "f_midi.c, f_midi_alloc")

    @property
    def sound_card(self) -> SoundCard:
        """The card on this side.

        Raises:
            ClosedError: It is not up.
            KernelError: There is none: it is there while the gadget is bound.
        """
        return self._up().sound_card()

    @property
    def devices(self) -> tuple[str, ...]:
        """The device nodes of its card."""
        return tuple(map(str, self.sound_card.devices))
