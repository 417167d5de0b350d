"""The formats and frames of a video function, and the folders that they become."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, ClassVar

from gadget.configfs.steps import MakeDirectory, Step
from gadget.errors import DescriptorError
from gadget.kernel_functions.attributes import Attribute, Blob, Number, Numbers, attribute
from gadget.kernel_functions.kernel_function import Reader, read_values, written

_SOURCE = "uvc_configfs.c"
_UNSIGNED = Number(1, 0xFFFFFFFF)
#: What stands behind the four characters of a format in its GUID (USB Video Class, Uncompressed Payload, 2.2).
_GUID_TAIL = bytes.fromhex("00001000800000aa00389b71")


def four_characters(code: str) -> bytes:
    """The GUID of a format that is known by four characters: ``YUY2``, ``NV12``."""
    return code.encode().ljust(4)[:4] + _GUID_TAIL


@dataclass(frozen=True, kw_only=True)
class VideoFrame:
    """One size of picture, and how often there can be one. Times are in units of 100 ns, as the descriptor has them.

    Attributes:
        width: wWidth, in pixels.
        height: wHeight, in pixels.
        intervals: dwFrameInterval: the times between two pictures that the host can choose from; 333333 is 30 a second.
        default_interval: dwDefaultFrameInterval; the shortest by default.
        min_bit_rate: dwMinBitRate; that of 16 bits a pixel at the longest interval by default.
        max_bit_rate: dwMaxBitRate; that of 16 bits a pixel at the shortest interval by default.
        buffer_size: dwMaxVideoFrameBufferSize, in bytes; 16 bits a pixel by default.
        capabilities: bmCapabilities: bit 0 for still images, bit 1 for a fixed frame rate. The kernel has 0.

    Raises:
        DescriptorError: A value breaks a rule of USB Video or of the kernel.
    """

    width: int = attribute(Number(1, 0xFFFF), _SOURCE, "wWidth", required=True)
    height: int = attribute(Number(1, 0xFFFF), _SOURCE, "wHeight", required=True)
    capabilities: int | None = attribute(Number(0, 0xFF), _SOURCE, "bmCapabilities")
    min_bit_rate: int | None = attribute(_UNSIGNED, _SOURCE, "dwMinBitRate")
    max_bit_rate: int | None = attribute(_UNSIGNED, _SOURCE, "dwMaxBitRate")
    buffer_size: int | None = attribute(_UNSIGNED, _SOURCE, "dwMaxVideoFrameBufferSize")
    default_interval: int | None = attribute(_UNSIGNED, _SOURCE, "dwDefaultFrameInterval")
    # A descriptor of 26 bytes and four for each interval is at most 255 bytes long.
    intervals: tuple[int, ...] | None = attribute(Numbers(_UNSIGNED, 57, "\n"), _SOURCE, "dwFrameInterval")

    def __post_init__(self) -> None:
        intervals = tuple(sorted(self.intervals or (333333,)))
        object.__setattr__(self, "intervals", intervals)
        for name in ("width", "height", "intervals"):  # The others are made of them.
            attributes_of(VideoFrame)[name].check(getattr(self, name))
        bits = 16 * self.width * self.height
        for name, value in (
            ("default_interval", intervals[0]),
            ("min_bit_rate", bits * 10_000_000 // intervals[-1]),
            ("max_bit_rate", bits * 10_000_000 // intervals[0]),
            ("buffer_size", bits // 8),
        ):
            if getattr(self, name) is None:
                object.__setattr__(self, name, min(value, 0xFFFFFFFF))
        for name, known in attributes_of(VideoFrame).items():
            if (given := getattr(self, name)) is not None:
                known.check(given)
        if self.default_interval not in intervals:
            rule = "must be one of dwFrameInterval"
            raise DescriptorError(
                "dwDefaultFrameInterval", self.default_interval, rule, "USB Video Class 1.1, Table 3-3"
            )

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.width}x{self.height}"


@dataclass(frozen=True, kw_only=True)
class VideoFormat:
    """A format of pictures, with the sizes that it comes in.

    Attributes:
        frames: The sizes, one at least.
        default_frame: bDefaultFrameIndex: which of them is best, counted from 1 in the order in which the kernel has
            them; the kernel has 1.

    Raises:
        DescriptorError: A value breaks a rule of USB Video or of the kernel.
    """

    FOLDER: ClassVar[str] = ""

    frames: tuple[VideoFrame, ...]
    default_frame: int | None = attribute(Number(1, 0xFF), _SOURCE, "bDefaultFrameIndex")

    def __post_init__(self) -> None:
        object.__setattr__(self, "frames", tuple(self.frames))
        names = [frame.name for frame in self.frames]
        if not names or len(set(names)) != len(names):
            rule = "must be one size at least, and each only once: give one VideoFrame all of its intervals"
            raise DescriptorError("frames", names, rule, "USB Video Class 1.1, 3.9.2.6")
        for name, known in attributes_of(type(self)).items():
            if (given := getattr(self, name)) is not None:
                known.check(given)
        if self.default_frame is not None and self.default_frame > len(names):
            rule = f"must be from 1 to {len(names)}, the number of its frames"
            raise DescriptorError("bDefaultFrameIndex", self.default_frame, rule, "USB Video Class 1.1, Table 3-1")

    def steps(self, name: str) -> Iterator[Step]:
        """What makes its folder below ``streaming``.

        Args:
            name: The folder's name.
        """
        folder = PurePosixPath("streaming", self.FOLDER, name)
        yield MakeDirectory(folder)
        yield from written(self, attributes_of(type(self)), folder)
        for frame in self.frames:
            yield MakeDirectory(folder / frame.name)
            yield from written(frame, attributes_of(VideoFrame), folder / frame.name)

    @classmethod
    def read(cls, reader: Reader, folder: str) -> VideoFormat:
        """Makes an object of what stands in configfs.

        Args:
            reader: The function's folder.
            folder: The format's folder below that.
        """
        names = sorted(reader.folders(folder), key=lambda name: _number(reader, f"{folder}/{name}/bFrameIndex"))
        known = attributes_of(VideoFrame)
        frames = tuple(VideoFrame(**read_values(known, reader, f"{folder}/{name}/")) for name in names)
        return cls(frames=frames, **read_values(attributes_of(cls), reader, f"{folder}/"))


def read_formats(reader: Reader) -> tuple[VideoFormat, ...]:
    """Makes objects of all formats that stand in configfs, in the order that the host sees.

    Args:
        reader: The function's folder.
    """
    found = [
        (_number(reader, f"{folder}/bFormatIndex"), kind.read(reader, folder))
        for kind in (Uncompressed, Mjpeg)
        for folder in (f"streaming/{kind.FOLDER}/{name}" for name in reader.folders(f"streaming/{kind.FOLDER}"))
    ]
    return tuple(each for _, each in sorted(found, key=lambda pair: pair[0]))


def _number(reader: Reader, attribute: str) -> int:
    """An index, which the kernel knows once the header is linked."""
    return int(reader.read(attribute) or 0)


@dataclass(frozen=True, kw_only=True)
class Uncompressed(VideoFormat):
    """Pictures as they are, ``YUY2`` by default.

    Attributes:
        guid: guidFormat, sixteen bytes; :func:`four_characters` makes one.
        bits_per_pixel: bBitsPerPixel; the kernel has 16.
    """

    FOLDER: ClassVar[str] = "uncompressed"

    guid: bytes | None = attribute(Blob(16, 16), _SOURCE, "guidFormat")
    bits_per_pixel: int | None = attribute(Number(1, 0xFF), _SOURCE, "bBitsPerPixel")


@dataclass(frozen=True, kw_only=True)
class Mjpeg(VideoFormat):
    """Pictures that are compressed one by one (Motion JPEG)."""

    FOLDER: ClassVar[str] = "mjpeg"


def attributes_of(cls: type[VideoFrame] | type[VideoFormat]) -> Mapping[str, Attribute]:
    """The fields of a frame or a format that are attributes in configfs."""
    found: dict[str, Any] = {}
    for each in fields(cls):
        if each.metadata:
            name, kind, source = each.metadata["attribute"]
            found[each.name] = Attribute(name or each.name, kind, f"drivers/usb/gadget/function/{source}")
    return MappingProxyType(found)
