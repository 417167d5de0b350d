"""The protocol between this machine and the agent in the guest: frames on one byte stream.

Many commands share the stream, so every frame names its command, and every stream of a command has a
window: the sender may have ``WINDOW`` bytes under way, and the receiver grants more as it hands data on.
A slow reader thereby holds back only its own command, and no buffer on either side grows without bound.

This module runs in the guest as well, where each import costs tens of milliseconds under emulation:
hence plain integers and a plain class instead of ``enum`` and ``dataclasses``.
"""

from __future__ import annotations

import struct

HEADER = struct.Struct("<BBxxII")  # kind, stream, two bytes of padding, command, length of the payload

# Kinds, to the guest.
START = 1  # payload: pack_start()
SIGNAL = 2  # payload: one byte, the number of the signal, for the whole process group
RESIZE = 3  # payload: SIZE, the terminal's rows and columns
POWER_OFF = 4
PING = 5
# Both ways.
DATA = 16  # payload: bytes of the stream; none says that it ended
CREDIT = 17  # payload: COUNT, how many bytes more may be sent on the stream
# From the guest.
READY = 32  # payload: what went wrong while the guest was set up, as text; empty if nothing did
FAILED = 33  # payload: COUNT, the errno with which the command could not be started
EXIT = 34  # payload: COUNT, the status as a shell reports it (128 + N after signal N)
PONG = 35

STDIN, STDOUT, STDERR, EXTRA = 0, 1, 2, 3  # The command's own descriptors; EXTRA only where it was asked for.

COUNT = struct.Struct("<I")
SIZE = struct.Struct("<HH")
START_HEAD = struct.Struct("<BHHI")  # TERMINAL | EXTRA_OUTPUT, the terminal's rows and columns, the number of arguments
TERMINAL, EXTRA_OUTPUT = 1, 2

#: How much of one stream may be under way, in bytes.
WINDOW = 256 * 1024
#: How much of it one frame carries at most, in bytes.
CHUNK = 32 * 1024
#: A payload larger than this one is no frame of ours. (A command line with its environment is the largest.)
MAX_PAYLOAD = 4 * 1024 * 1024


class Frame:
    """One frame."""

    __slots__ = ("command", "kind", "payload", "stream")

    def __init__(self, kind: int, command: int = 0, stream: int = 0, payload: bytes = b"") -> None:
        self.kind = kind
        self.command = command
        self.stream = stream
        self.payload = payload

    def __bytes__(self) -> bytes:
        return HEADER.pack(self.kind, self.stream, self.command, len(self.payload)) + self.payload

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frame) and bytes(self) == bytes(other)

    def __hash__(self) -> int:
        return hash(bytes(self))

    def __repr__(self) -> str:
        return f"Frame(kind={self.kind}, command={self.command}, stream={self.stream}, {self.payload[:40]!r})"


class Decoder:
    """Turns bytes, cut anywhere, back into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Takes the next bytes and returns the frames that they complete.

        Raises:
            ValueError: A length that no frame of ours has: the two sides have lost each other.
        """
        buffer = self._buffer
        buffer += data
        frames = []
        offset = 0
        while len(buffer) - offset >= HEADER.size:
            kind, stream, command, length = HEADER.unpack_from(buffer, offset)
            if length > MAX_PAYLOAD:
                raise ValueError(f"a frame of {length} bytes: this is not the gadget protocol")
            end = offset + HEADER.size + length
            if len(buffer) < end:
                break
            frames.append(Frame(kind, command, stream, bytes(buffer[offset + HEADER.size : end])))
            offset = end
        del buffer[:offset]
        return frames


def pack_start(
    argv: list[bytes],
    cwd: bytes,
    environment: dict[bytes, bytes],
    size: tuple[int, int] | None,
    *,
    extra: bool = False,
) -> bytes:
    """The payload of START.

    Args:
        argv: The program and its arguments.
        cwd: The folder to run it in, absolute.
        environment: Its whole environment.
        size: Rows and columns of the terminal to give to it, or None for three pipes.
        extra: Whether it has another output, its descriptor 3.

    Raises:
        ValueError: There is a NUL byte in one of them, or nothing to start, or too much of it.
    """
    strings = [cwd, *argv, *(name + b"=" + value for name, value in environment.items())]
    if not argv or any(b"\0" in string for string in strings):
        raise ValueError("a command needs a program, and no argument can contain a NUL byte")
    rows, columns = size or (0, 0)
    flags = (TERMINAL if size is not None else 0) | (EXTRA_OUTPUT if extra else 0)
    payload = START_HEAD.pack(flags, rows, columns, len(argv)) + b"\0".join(strings)
    if len(payload) > MAX_PAYLOAD:
        raise ValueError("the arguments and the environment of the command are too long")
    return payload


def unpack_start(payload: bytes) -> tuple[list[bytes], bytes, dict[bytes, bytes], tuple[int, int] | None, bool]:
    """The reverse of :func:`pack_start`."""
    flags, rows, columns, count = START_HEAD.unpack_from(payload)
    strings = payload[START_HEAD.size :].split(b"\0")
    environment = {}
    for string in strings[1 + count :]:
        name, _, value = string.partition(b"=")
        environment[name] = value
    size = (rows, columns) if flags & TERMINAL else None
    return strings[1 : 1 + count], strings[0], environment, size, bool(flags & EXTRA_OUTPUT)
