"""Audio: a card of ALSA's with streams of samples on this side.

What the host plays is captured here (``c_``), and what is played here (``p_``) is what the host records.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gadget.errors import DescriptorError
from gadget.kernel_functions.attributes import Choice, Flag, Line, Number, Numbers, attribute
from gadget.kernel_functions.kernel_function import (
    INTERRUPT_IN,
    ISOCHRONOUS_IN,
    ISOCHRONOUS_OUT,
    EndpointNeed,
    KernelFunction,
    SoundCard,
)
from gadget.protocol.constants import Speed

# snprintf takes the length of what was written for the room that there is, so that a line break is what it cuts off.
_NAME = Line(31, ending=b"\n")
_VOLUME = Number(-0x8000, 0x7FFF)
_RESOLUTION = Number(1, 0x7FFF)
_BYTES = Number(1, 4)
_COUNT = Number(1, 0x7FFFFFFF)
_BOTH = "f_uac1.c, f_audio_validate_opts; f_uac2.c, afunc_validate_opts"
_STRING = "f_uac1.c, UAC1_ATTRIBUTE_STRING; f_uac2.c, UAC2_ATTRIBUTE_STRING"
_RATES = "f_uac1.c, UAC1_RATE_ATTRIBUTE; f_uac2.c, UAC2_RATE_ATTRIBUTE; uac_common.h"


def _rates(maximum: int) -> Numbers:
    return Numbers(Number(1, maximum), 10, ",")


@dataclass(frozen=True, kw_only=True)
class _Audio(KernelFunction):
    """An audio function.

    Attributes:
        c_mute_present: The host can mute what it plays; the kernel says yes.
        c_volume_present: The host can set the volume of what it plays; the kernel says yes.
        c_volume_min: The least volume, in 1/256 dB; the kernel has -25600, which is -100 dB.
        c_volume_max: The most; the kernel has 0.
        c_volume_res: The steps between them; the kernel has 256, which is 1 dB.
        p_mute_present: The host can mute what it records.
        p_volume_present: The host can set the volume of what it records.
        p_volume_min: As ``c_volume_min``.
        p_volume_max: As ``c_volume_max``.
        p_volume_res: As ``c_volume_res``.
        req_number: How many transfers are in flight each way; the kernel has 2.
        function_name: What the interface is called, 31 bytes at most.
    """

    c_mute_present: bool | None = attribute(Flag(), _BOTH)
    c_volume_present: bool | None = attribute(Flag(), _BOTH)
    c_volume_min: int | None = attribute(_VOLUME, _BOTH)
    c_volume_max: int | None = attribute(_VOLUME, _BOTH)
    c_volume_res: int | None = attribute(_RESOLUTION, _BOTH)
    p_mute_present: bool | None = attribute(Flag(), _BOTH)
    p_volume_present: bool | None = attribute(Flag(), _BOTH)
    p_volume_min: int | None = attribute(_VOLUME, _BOTH)
    p_volume_max: int | None = attribute(_VOLUME, _BOTH)
    p_volume_res: int | None = attribute(_RESOLUTION, _BOTH)
    req_number: int | None = attribute(_COUNT, "u_audio.c, g_audio_setup")
    function_name: str | None = attribute(_NAME, _STRING)

    def _check(self) -> None:
        if self._mask("c") == 0 and self._mask("p") == 0:
            raise DescriptorError("p_chmask", 0, "must not be 0 while c_chmask is: there would be no channel", _BOTH)
        for way in ("c", "p"):
            self._check_volume(way)

    def _mask(self, way: str) -> int:
        """The channels of one direction, as the kernel has them by default."""
        given = getattr(self, f"{way}_chmask")
        return 3 if given is None else int(given)

    def _check_volume(self, way: str) -> None:
        names = ("volume_min", "volume_max", "volume_res")
        defaults = (-25600, 0, 256)
        given = (getattr(self, f"{way}_{name}") for name in names)
        least, most, step = (
            default if value is None else value for value, default in zip(given, defaults, strict=True)
        )
        if most <= least:
            raise DescriptorError(f"{way}_volume_max", most, f"must be more than {way}_volume_min, {least}", _BOTH)
        if (most - least) % step:
            rule = f"must divide the range from {way}_volume_min to {way}_volume_max, {most - least}"
            raise DescriptorError(f"{way}_volume_res", step, rule, _BOTH)

    @property
    def interfaces(self) -> int | None:
        """One for control, and one for each direction that has channels."""
        return 1 + bool(self._mask("c")) + bool(self._mask("p"))

    @property
    def endpoints(self) -> tuple[EndpointNeed, ...] | None:
        """One to tell of mute and volume; one for each direction that has channels; one for what sets its pace."""
        playing, recording = bool(self._mask("c")), bool(self._mask("p"))
        feedback = playing and self._has_feedback()
        controls = [f"{way}_{name}_present" for way in self._with_controls() for name in ("mute", "volume")]
        told = any(getattr(self, name) is not False for name in controls)
        needs = (ISOCHRONOUS_OUT,) * playing + (ISOCHRONOUS_IN,) * (feedback + recording)
        return (INTERRUPT_IN,) * told + needs

    def _has_feedback(self) -> bool:
        """Whether the host is told how fast to play."""
        return False

    def _with_controls(self) -> str:
        """The directions whose mute and volume count, channels or not (f_uac1.c, FUIN_EN and FUOUT_EN)."""
        return "cp"

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


@dataclass(frozen=True, kw_only=True)
class Uac1(_Audio):
    """USB Audio 1.0, which every host knows (``f_uac1.c``). It takes isochronous endpoints, and has no SuperSpeed.

    Attributes:
        c_chmask: The channels that the host plays, a bit for each; the kernel has 3, left and right. 0 for none.
        c_srate: Their sampling rates, ten at most; the kernel has 48000.
        c_ssize: The bytes of a sample of theirs, 1 to 4; the kernel has 2.
        p_chmask: The channels that the host records.
        p_srate: As ``c_srate``.
        p_ssize: As ``c_ssize``.
    """

    FAMILY: ClassVar[str] = "uac1"
    MAX_SPEED: ClassVar[Speed] = Speed.HIGH

    c_chmask: int | None = attribute(Number(0, 0xFFF), _BOTH)
    c_srate: tuple[int, ...] | None = attribute(_rates(0xFFFFFF), _RATES)
    c_ssize: int | None = attribute(_BYTES, _BOTH)
    p_chmask: int | None = attribute(Number(0, 0xFFF), _BOTH)
    p_srate: tuple[int, ...] | None = attribute(_rates(0xFFFFFF), _RATES)
    p_ssize: int | None = attribute(_BYTES, _BOTH)


@dataclass(frozen=True, kw_only=True)
class Uac2(_Audio):
    """USB Audio 2.0 (``f_uac2.c``). It takes isochronous endpoints.

    Attributes:
        c_chmask: The channels that the host plays, a bit for each; the kernel has 3, left and right. 0 for none.
        c_srate: Their sampling rates, ten at most; the kernel has 64000.
        c_ssize: The bytes of a sample of theirs, 1 to 4; the kernel has 2.
        c_sync: Who sets the pace of what the host plays: this side (``async``, the kernel's) or the host
            (``adaptive``).
        c_hs_bint: The interval of its endpoint at high speed and above, 1 to 4; 0, the kernel's, chooses one.
        p_chmask: The channels that the host records.
        p_srate: As ``c_srate``; the kernel has 48000.
        p_ssize: As ``c_ssize``.
        p_hs_bint: As ``c_hs_bint``.
        fb_max: How much faster than the rate the host may be asked to play, in thousandths; the kernel has 5.
    """

    FAMILY: ClassVar[str] = "uac2"
    HAS_ASSOCIATION: ClassVar[bool] = True

    c_chmask: int | None = attribute(Number(0, 0x7FFFFFF), _BOTH)
    c_srate: tuple[int, ...] | None = attribute(_rates(0xFFFFFFFF), _RATES)
    c_ssize: int | None = attribute(_BYTES, _BOTH)
    c_sync: str | None = attribute(Choice(("async", "adaptive")), "f_uac2.c, UAC2_ATTRIBUTE_SYNC")
    c_hs_bint: int | None = attribute(Number(0, 4), _BOTH)
    p_chmask: int | None = attribute(Number(0, 0x7FFFFFF), _BOTH)
    p_srate: tuple[int, ...] | None = attribute(_rates(0xFFFFFFFF), _RATES)
    p_ssize: int | None = attribute(_BYTES, _BOTH)
    p_hs_bint: int | None = attribute(Number(0, 4), _BOTH)
    fb_max: int | None = attribute(_COUNT, "f_uac2.c, UAC2_ATTRIBUTE(u32, fb_max)")

    def _has_feedback(self) -> bool:
        return self.c_sync != "adaptive"

    def _with_controls(self) -> str:
        """Without channels, there is nothing to control (f_uac2.c, FUIN_EN and FUOUT_EN)."""
        return "".join(way for way in "cp" if self._mask(way))
