"""Video: a camera for the host, fed through a device of V4L2's on this side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from gadget.configfs.steps import MakeDirectory, MakeLink, Step
from gadget.errors import DescriptorError
from gadget.kernel_functions.attributes import Attribute, Line, Number, attribute
from gadget.kernel_functions.kernel_function import (
    INTERRUPT_IN,
    ISOCHRONOUS_IN,
    EndpointNeed,
    KernelFunction,
    Reader,
    read_values,
    written,
)
from gadget.kernel_functions.video_formats import VideoFormat, read_formats

_HEADER = "h"
_CONTROL = PurePosixPath("control")
_STREAMING = PurePosixPath("streaming")


@dataclass(frozen=True, kw_only=True)
class Uvc(KernelFunction):
    """A camera of the class of USB Video devices (``f_uvc.c``, ``uvc_configfs.c``). It takes an isochronous endpoint.

    The device stays invisible to the host until a program listens at its node and has answered for the format.

    Attributes:
        formats: The formats that the host can choose from, in this order.
        streaming_interval: The interval of the endpoint, 1 to 16; the kernel has 1.
        streaming_maxpacket: Its bytes in an interval, at most 3072, with bursts a multiple of 1024; the kernel has
            1024.
        streaming_maxburst: The burst at SuperSpeed, 0 to 15; the kernel has 0.
        function_name: What the function is called, 31 bytes at most.
        version: bcdUVC; the kernel has 0x0110.
        clock_frequency: dwClockFrequency of the control interface, in hertz; the kernel has 48000000.
    """

    FAMILY: ClassVar[str] = "uvc"
    ENDPOINTS: ClassVar[tuple[EndpointNeed, ...] | None] = (INTERRUPT_IN, ISOCHRONOUS_IN)
    INTERFACES: ClassVar[int | None] = 2
    HAS_ASSOCIATION: ClassVar[bool] = True

    formats: tuple[VideoFormat, ...]
    streaming_interval: int | None = attribute(Number(1, 16), "uvc_configfs.c, UVCG_OPTS_ATTR")
    streaming_maxpacket: int | None = attribute(Number(1, 3072), "uvc_configfs.c, UVCG_OPTS_ATTR")
    streaming_maxburst: int | None = attribute(Number(0, 15), "uvc_configfs.c, UVCG_OPTS_ATTR")
    function_name: str | None = attribute(Line(31), "uvc_configfs.c, UVCG_OPTS_STRING_ATTR")
    version: int | None = None
    clock_frequency: int | None = None

    def _check(self) -> None:
        object.__setattr__(self, "formats", tuple(self.formats))
        if not self.formats:
            source = "drivers/usb/gadget/function/f_uvc.c, uvc_copy_descriptors"
            raise DescriptorError("formats", (), "must be one at least", source)
        for name, known in _HEADER_ATTRIBUTES.items():
            if (value := getattr(self, name)) is not None:
                known.check(value)
        size = 1024 if self.streaming_maxpacket is None else self.streaming_maxpacket
        if self.streaming_maxburst and size % 1024:
            rule = "must be a multiple of 1024 with bursts; the kernel overrules it otherwise"
            source = "drivers/usb/gadget/function/f_uvc.c, uvc_function_bind"
            raise DescriptorError("streaming_maxpacket", size, rule, source)

    def _own_steps(self) -> Iterator[Step]:
        yield from super()._own_steps()
        yield from self._control_steps()
        yield from self._streaming_steps()

    def _control_steps(self) -> Iterator[Step]:
        header = _CONTROL / "header" / _HEADER
        yield MakeDirectory(header)
        yield from written(self, _HEADER_ATTRIBUTES, header)
        # Without one of these, binding fails for want of descriptors at that speed (f_uvc.c, uvc_copy_descriptors).
        for speed in ("fs", "ss"):
            yield MakeLink(_CONTROL / "class" / speed / _HEADER, header)

    def _streaming_steps(self) -> Iterator[Step]:
        header = _STREAMING / "header" / _HEADER
        named = [(f"format{number}", each) for number, each in enumerate(self.formats, start=1)]
        for name, each in named:
            yield from each.steps(name)
        yield MakeDirectory(header)
        # What is linked cannot be changed any more, so this comes last.
        for name, each in named:
            yield MakeLink(header / name, _STREAMING / each.FOLDER / name)
        for speed in ("fs", "hs", "ss"):
            yield MakeLink(_STREAMING / "class" / speed / _HEADER, header)

    @classmethod
    def _read_fields(cls, reader: Reader) -> dict[str, Any]:
        found = super()._read_fields(reader)
        for header in reader.folders("control/header")[:1]:
            found.update(read_values(_HEADER_ATTRIBUTES, reader, f"control/header/{header}/"))
        return {**found, "formats": read_formats(reader)}

    @property
    def node(self) -> Path:
        """Its device node on this side.

        Raises:
            ClosedError: It is not up.
            KernelError: There is none: it is there while the gadget is bound.
        """
        return self._up().video_device()

    @property
    def devices(self) -> tuple[str, ...]:
        """Its device node."""
        return (str(self.node),)


_HEADER_SOURCE = "drivers/usb/gadget/function/uvc_configfs.c, UVCG_CTRL_HDR_ATTR"
_HEADER_ATTRIBUTES: Mapping[str, Attribute] = {
    "version": Attribute("bcdUVC", Number(0, 0xFFFF), _HEADER_SOURCE),
    "clock_frequency": Attribute("dwClockFrequency", Number(0, 0x7FFFFFFF), _HEADER_SOURCE),
}
