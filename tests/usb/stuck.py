"""A file whose reads and writes never end until they are allowed to: what a controller that keeps transfers looks like.

None of the bench's controllers keeps a transfer that is cancelled. FUSE with direct I/O does (``fs/fuse/file.c``,
fuse_direct_IO): what Linux AIO submits there is in flight until the program behind the file answers, and nothing takes
it back. That program is a thread here, and speaks as much of FUSE as one file needs
(``include/uapi/linux/fuse.h``).
"""

from __future__ import annotations

import errno
import os
import struct
import threading
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from gadget.functionfs.mount import mount, unmount

_HEADER = struct.Struct("<IIQQIIII")
_ANSWER = struct.Struct("<IiQ")


class Opcode(IntEnum):
    """enum fuse_opcode, as far as it is asked here."""

    FORGET, GETATTR, OPEN, READ, WRITE, RELEASE, FLUSH, INIT, INTERRUPT = 2, 3, 14, 15, 16, 18, 25, 26, 36


_ASYNC_DIO, _DIRECT_IO = 1 << 15, 1
_SIZE = 1 << 40


class StuckFile:
    """The file, open inside a ``with`` block; what is in flight at its end is allowed to end.

    Args:
        path: Where it is to be; made for it, and removed after it.

    Attributes:
        fd: A descriptor of it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: list[int] = []
        self._lock = threading.Lock()
        self._allowed = False
        self.fd = -1

    def __enter__(self) -> Self:
        self._path.touch()
        self._device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        mount("stuck", self._path, "fuse", f"fd={self._device},rootmode=100000,user_id=0,group_id=0")
        self._thread = threading.Thread(target=self._serve, name="stuck file")
        self._thread.start()
        self.fd = os.open(self._path, os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC)
        # A file that looks empty is read and written at once; how long it is, the kernel only learns when asked.
        assert os.fstat(self.fd).st_size == _SIZE
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.allow()
        os.close(self.fd)
        unmount(self._path)  # ends the thread: the kernel has nothing more to ask
        self._thread.join()
        os.close(self._device)
        self._path.unlink()

    @property
    def kept(self) -> int:
        """How many reads and writes it keeps."""
        with self._lock:
            return len(self._kept)

    def allow(self) -> None:
        """Everything that is kept, and everything that comes, ends: as if its endpoint had been disabled."""
        with self._lock:
            self._allowed = True
            kept, self._kept = self._kept, []
        for unique in kept:
            self._answer(unique, error=errno.ESHUTDOWN)

    def _serve(self) -> None:
        while True:
            try:
                request = os.read(self._device, 1 << 20)
            except OSError as error:
                # It was unmounted: before it was asked, or (fs/fuse/dev.c, fuse_dev_do_read) while a request was read.
                if error.errno in (errno.ENODEV, errno.ECONNABORTED):
                    return
                if error.errno != errno.ENOENT:  # what was asked was taken back before it was read
                    raise
            else:
                _, opcode, unique, *_ = _HEADER.unpack_from(request)
                self._serve_request(opcode, unique)

    def _serve_request(self, opcode: int, unique: int) -> None:
        match opcode:
            case Opcode.INIT:
                said = (7, 31, 0, _ASYNC_DIO, 64, 64, 1 << 17, 1, 0, 0)
                self._answer(unique, struct.pack("<4I2H2I2H8I", *said, *[0] * 8))
            case Opcode.GETATTR:
                attributes = struct.pack("<6Q10I", 1, _SIZE, 0, 0, 0, 0, 0, 0, 0, 0o100600, 1, 0, 0, 0, 4096, 0)
                self._answer(unique, struct.pack("<QII", 3600, 0, 0) + attributes)
            case Opcode.OPEN:
                self._answer(unique, struct.pack("<QII", 0, _DIRECT_IO, 0))
            case Opcode.READ | Opcode.WRITE:
                self._keep(unique)
            case Opcode.RELEASE | Opcode.FLUSH:
                self._answer(unique)
            case Opcode.FORGET | Opcode.INTERRUPT:
                pass  # they want no answer
            case _:
                self._answer(unique, error=errno.ENOSYS)

    def _keep(self, unique: int) -> None:
        with self._lock:
            if not self._allowed:
                self._kept.append(unique)
                return
        self._answer(unique, error=errno.ESHUTDOWN)

    def _answer(self, unique: int, data: bytes = b"", error: int = 0) -> None:
        # Who asked may have given up meanwhile: to be released, an unmounted file does not wait (fuse(4), ENOENT).
        with suppress(FileNotFoundError):
            os.write(self._device, _ANSWER.pack(_ANSWER.size + len(data), -error, unique) + data)
