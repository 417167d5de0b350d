"""The functions that the kernel has, each as a class with its attributes, its rules and its devices on this side."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gadget.kernel_functions.audio import Uac1, Uac2
from gadget.kernel_functions.gadget_zero import Loopback, SourceSink
from gadget.kernel_functions.hid import Hid
from gadget.kernel_functions.kernel_function import EndpointNeed, KernelFunction, SoundCard
from gadget.kernel_functions.midi import Midi
from gadget.kernel_functions.network import Ecm, Eem, Geth, Ncm, Phonet, Rndis
from gadget.kernel_functions.other import Ffs, OtherFunction
from gadget.kernel_functions.printer import Printer
from gadget.kernel_functions.serial import Acm, Gser, Obex
from gadget.kernel_functions.storage import Lun, MassStorage
from gadget.kernel_functions.video import Uvc
from gadget.kernel_functions.video_formats import Mjpeg, Uncompressed, VideoFormat, VideoFrame, four_characters

#: The class of each kind of function, by what configfs calls it.
FAMILIES: Mapping[str, type[KernelFunction]] = MappingProxyType(
    {
        each.FAMILY: each
        for each in (
            *(Acm, Gser, Obex, Ecm, Geth, Eem, Ncm, Rndis, Hid, MassStorage, Midi, Uac1, Uac2, Uvc, Printer, Phonet),
            *(Loopback, SourceSink, Ffs),
        )
    }
)

__all__ = [
    "FAMILIES",
    "Acm",
    "Ecm",
    "Eem",
    "EndpointNeed",
    "Ffs",
    "Geth",
    "Gser",
    "Hid",
    "KernelFunction",
    "Loopback",
    "Lun",
    "MassStorage",
    "Midi",
    "Mjpeg",
    "Ncm",
    "Obex",
    "OtherFunction",
    "Phonet",
    "Printer",
    "Rndis",
    "SoundCard",
    "SourceSink",
    "Uac1",
    "Uac2",
    "Uncompressed",
    "Uvc",
    "VideoFormat",
    "VideoFrame",
    "four_characters",
]
