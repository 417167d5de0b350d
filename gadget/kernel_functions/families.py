"""The class of each kind of function, by what configfs calls it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gadget.kernel_functions.audio import Uac1, Uac2
from gadget.kernel_functions.gadget_zero import Loopback, SourceSink
from gadget.kernel_functions.hid import Hid
from gadget.kernel_functions.kernel_function import KernelFunction
from gadget.kernel_functions.midi import Midi
from gadget.kernel_functions.network import Ecm, Eem, Geth, Ncm, Phonet, Rndis
from gadget.kernel_functions.other import Ffs
from gadget.kernel_functions.printer import Printer
from gadget.kernel_functions.serial import Acm, Gser, Obex
from gadget.kernel_functions.storage import MassStorage
from gadget.kernel_functions.video import Uvc

#: All of them.
FAMILIES: Mapping[str, type[KernelFunction]] = MappingProxyType(
    {
        each.FAMILY: each
        for each in (
            *(Acm, Gser, Obex, Ecm, Geth, Eem, Ncm, Rndis, Hid, MassStorage, Midi, Uac1, Uac2, Uvc, Printer, Phonet),
            *(Loopback, SourceSink, Ffs),
        )
    }
)
