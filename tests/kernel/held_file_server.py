"""A file system with one file, whose reads and writes are answered when the socket on standard input says so.

Each byte from the socket lets one of them go, its end all of them. Run by conftest.py in a process of its own, as a
file system that its own user waits for would be a deadlock.
"""

from __future__ import annotations

import os
import socket
import stat
import sys
import threading
from typing import Any

import mfusepy

CONTENT = bytearray(bytes(range(256)) * 4096)


class Held(mfusepy.Operations):  # type: ignore[misc] # it has no types
    """``/file``: a megabyte."""

    use_ns = True

    def __init__(self, answers: socket.socket) -> None:
        self._answers = answers
        self._permits = threading.Semaphore(0)
        self._open = False

    def init(self, path: str) -> None:
        threading.Thread(target=self._serve_answers, daemon=True).start()

    def _serve_answers(self) -> None:
        while data := self._answers.recv(64):
            for _ in data:
                self._permits.release()
        self._open = True
        for _ in range(1000):
            self._permits.release()

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
        return {"st_mode": stat.S_IFREG | 0o644, "st_nlink": 1, "st_size": len(CONTENT)}

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        self._wait()
        return bytes(CONTENT[offset : offset + size])

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        self._wait()
        CONTENT[offset : offset + len(data)] = data
        return len(data)

    def _wait(self) -> None:
        self._answers.send(b"?")  # one has come
        if not self._open:
            self._permits.acquire()


if __name__ == "__main__":
    ours = socket.socket(fileno=os.dup(0))
    mfusepy.FUSE(Held(ours), sys.argv[1], foreground=True, nothreads=False)
