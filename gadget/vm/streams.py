"""What a caller may say about a command's streams, turned into file descriptors, as ``subprocess`` does it."""

from __future__ import annotations

import os
import subprocess
import threading
from typing import IO, Any

from gadget.vm.command import Command

#: What a stream of a command may be: None for our own stream, subprocess.PIPE, subprocess.DEVNULL,
#: subprocess.STDOUT for stderr, a file descriptor, or an object with ``fileno``.
Stream = int | IO[Any] | None


class Plumbing:
    """Turns what a caller said about streams into descriptors.

    Attributes:
        owned: The descriptors made for the command, which go when it has ended.
        files: The caller's ends of them, by the stream's name.
    """

    def __init__(self) -> None:
        self.owned: list[int] = []
        self.files: dict[str, IO[bytes]] = {}

    def source(self, stream: Stream) -> int | None:
        """The descriptor that the command's input is read from."""
        if stream == subprocess.DEVNULL:
            return None
        if stream == subprocess.PIPE:
            inside, outside = os.pipe2(os.O_CLOEXEC)
            self.owned.append(inside)
            self.files["stdin"] = open(outside, "wb", buffering=0)  # noqa: SIM115, PTH123
            return inside
        return _descriptor(stream, 0)

    def sink(self, name: str, stream: Stream, ours: int) -> int | None:
        """The descriptor that one of its outputs is written to."""
        if stream == subprocess.DEVNULL:
            return None
        if stream == subprocess.PIPE:
            outside, inside = os.pipe2(os.O_CLOEXEC)
            self.owned.append(inside)
            self.files[name] = open(outside, "rb", buffering=0)  # noqa: SIM115, PTH123
            return inside
        return _descriptor(stream, ours)

    def close(self) -> None:
        """Takes it all back, since the command was not started."""
        for descriptor in self.owned:
            os.close(descriptor)
        for file in self.files.values():
            file.close()


def _descriptor(stream: Stream, ours: int) -> int:
    if stream is None:
        return ours
    return stream if isinstance(stream, int) else stream.fileno()


class Exchange:
    """Feeds a command its input and collects its outputs, each with a thread that ends with the stream."""

    def __init__(self, command: Command, data: bytes | None) -> None:
        self._command = command
        self._chunks: dict[str, bytes] = {}
        self._threads = [
            threading.Thread(target=self._collect, args=(name, stream), daemon=True)
            for name, stream in (("stdout", command.stdout), ("stderr", command.stderr))
            if stream is not None
        ]
        if data is not None:
            self._threads.append(threading.Thread(target=self._feed, args=(data,), daemon=True))
        for thread in self._threads:
            thread.start()

    def _collect(self, name: str, stream: IO[bytes]) -> None:
        with stream:
            self._chunks[name] = b"".join(iter(lambda: stream.read(65536), b""))

    def _feed(self, data: bytes) -> None:
        assert self._command.stdin is not None
        try:
            with self._command.stdin as stream:
                view = memoryview(data)
                while view:
                    view = view[stream.write(view) :]
        except BrokenPipeError:
            return  # The command ended without reading it all.

    def close(self) -> None:
        """Waits until the outputs have ended."""
        for thread in self._threads:
            thread.join(5.0)

    @property
    def results(self) -> tuple[bytes, bytes]:
        """What the command wrote to its two outputs, if they were captured."""
        return self._chunks.get("stdout", b""), self._chunks.get("stderr", b"")
