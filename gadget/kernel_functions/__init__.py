"""The functions that the kernel has, each as a class with its attributes, its rules and its devices on this side.

Names are loaded when they are first used: most gadgets have one or two of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gadget.lazy_names import lazy_names

if TYPE_CHECKING:
    from gadget.kernel_functions.audio import Uac1 as Uac1, Uac2 as Uac2
    from gadget.kernel_functions.families import FAMILIES as FAMILIES
    from gadget.kernel_functions.gadget_zero import Loopback as Loopback, SourceSink as SourceSink
    from gadget.kernel_functions.hid import Hid as Hid
    from gadget.kernel_functions.kernel_function import (
        EndpointNeed as EndpointNeed,
        KernelFunction as KernelFunction,
        SoundCard as SoundCard,
    )
    from gadget.kernel_functions.midi import Midi as Midi
    from gadget.kernel_functions.network import (
        Ecm as Ecm,
        Eem as Eem,
        Geth as Geth,
        Ncm as Ncm,
        Phonet as Phonet,
        Rndis as Rndis,
    )
    from gadget.kernel_functions.other import Ffs as Ffs, OtherFunction as OtherFunction
    from gadget.kernel_functions.printer import Printer as Printer
    from gadget.kernel_functions.serial import Acm as Acm, Gser as Gser, Obex as Obex
    from gadget.kernel_functions.storage import Lun as Lun, MassStorage as MassStorage
    from gadget.kernel_functions.video import Uvc as Uvc
    from gadget.kernel_functions.video_formats import (
        Mjpeg as Mjpeg,
        Uncompressed as Uncompressed,
        VideoFormat as VideoFormat,
        VideoFrame as VideoFrame,
        four_characters as four_characters,
    )

_HOMES = {
    "audio": "Uac1 Uac2",
    "families": "FAMILIES",
    "gadget_zero": "Loopback SourceSink",
    "hid": "Hid",
    "kernel_function": "EndpointNeed KernelFunction SoundCard",
    "midi": "Midi",
    "network": "Ecm Eem Geth Ncm Phonet Rndis",
    "other": "Ffs OtherFunction",
    "printer": "Printer",
    "serial": "Acm Gser Obex",
    "storage": "Lun MassStorage",
    "video": "Uvc",
    "video_formats": "Mjpeg Uncompressed VideoFormat VideoFrame four_characters",
}

__all__ = sorted(name for names in _HOMES.values() for name in names.split())
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
