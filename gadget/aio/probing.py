"""What of Linux AIO works here, and why the rest does not."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import select
import stat
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from gadget.aio import syscalls
from gadget.aio.buffers import direct_alignment
from gadget.aio.context import Context
from gadget.aio.operation import File, Operation, descriptor
from gadget.errors import KernelError

_PROC = Path("/proc/sys/fs")
_PROFILE = "it in the container's seccomp profile"
#: What to allow where a call is refused, or the one that others need.
_WITHOUT = {
    "io_submit": f"{_PROFILE}: without it nothing can be started, and each operation ends with this errno",
    "io_cancel": f"{_PROFILE}: without it nothing is given back, and closing waits for it to end",
    "io_getevents": f"{_PROFILE} (the other of the two is used meanwhile)",
    "io_pgetevents": f"{_PROFILE} (the other of the two is used meanwhile)",
    "poll": "io_submit, see there",
    "fsync": "io_submit, see there",
    "fdsync": "io_submit, see there",
}


@dataclass(frozen=True, slots=True)
class Ability:
    """Something that a kernel, or a container, may have or not.

    Attributes:
        name: What it is.
        works: Whether it was tried with success.
        why: Why not, and what to do about it; empty if it works.
    """

    name: str
    works: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class Probe:
    """What :func:`probe` has found.

    Attributes:
        kernel: As ``uname -r`` has it.
        used: Operations that all contexts of this machine reserve (fs.aio-nr).
        limit: How many there can be (fs.aio-max-nr); 0 where that cannot be read.
        abilities: What was tried.
    """

    kernel: str
    used: int
    limit: int
    abilities: tuple[Ability, ...]

    def __getitem__(self, name: str) -> Ability:
        """The ability of that name.

        Raises:
            KeyError: It was not tried.
        """
        return {ability.name: ability for ability in self.abilities}[name]

    def __str__(self) -> str:
        """For people, a line each."""
        lines = [f"Linux {self.kernel}, {self.used} of {self.limit} operations reserved (fs.aio-nr, fs.aio-max-nr)"]
        lines += [f"{a.name}: {'works' if a.works else 'no: ' + a.why}" for a in self.abilities]
        return "\n".join(lines)


def probe(file: File | None = None) -> Probe:
    """Tries what Linux AIO has, without leaving anything behind.

    Args:
        file: One that is open for reading: what it can do is tried as well.
    """
    tried: list[tuple[str, Callable[[], object]]] = [
        ("context", _open_and_close),
        ("io_submit", lambda: _raw(lambda context: syscalls.io_submit(context, []))),
        ("io_cancel", lambda: _raw(_cancel)),
        ("io_getevents", lambda: _raw(lambda context: syscalls.io_getevents(context, 0, 1, 0.0))),
        ("io_pgetevents", lambda: _raw(lambda context: syscalls.io_pgetevents(context, 0, 1, 0.0))),
        ("poll", _poll),
        ("fsync", lambda: _file(Operation.fsync)),
        ("fdsync", lambda: _file(Operation.fdsync)),
    ]
    if file is not None:
        tried.append(("RWF_NOWAIT", lambda: _run(Operation.read(file, bytearray(1), flags=os.RWF_NOWAIT))))
        tried.append(("O_DIRECT", lambda: direct_alignment(file)))
    return Probe(platform.release(), _number("aio-nr"), _number("aio-max-nr"), tuple(_try(*each) for each in tried))


def _try(name: str, attempt: Callable[[], object]) -> Ability:
    try:
        attempt()
    except OSError as error:
        return Ability(name, False, f"{error.strerror or error}{_cure(name, error)}")
    return Ability(name, True)


def _cure(name: str, error: OSError) -> str:
    if isinstance(error, KernelError):
        return ""  # it has named one
    if error.errno in (errno.EPERM, errno.ENOSYS) and name in _WITHOUT:
        return f"; allow {_WITHOUT[name]}"
    if name == "poll" and error.errno == errno.EINVAL:
        return "; it came with Linux 4.18: use asyncio's add_reader, or epoll"
    if name == "RWF_NOWAIT" and error.errno == errno.EOPNOTSUPP:
        return "; this file system cannot say beforehand that it would block: use a thread for what may"
    return ""


def _open_and_close() -> None:
    Context(1).close()


def _raw(call: Callable[[int], object]) -> None:
    context = syscalls.io_setup(1)
    try:
        call(context)
    finally:
        syscalls.io_destroy(context)


def _cancel(context: int) -> None:
    try:
        syscalls.io_cancel(context, syscalls.Iocb())
    except OSError as error:
        if error.errno != errno.EINVAL:  # nothing is in flight: the call is there
            raise


def _run(operation: Operation) -> None:
    with Context(1) as context:
        context.start(operation)
        context.submit()
        context.wait_all([operation])
    if operation.result != -errno.EAGAIN:  # not cached: the flag is known
        operation.check()


def _poll() -> None:
    reader, writer = os.pipe()
    try:
        _run(Operation.poll(writer, select.POLLOUT))
    finally:
        os.close(reader)
        os.close(writer)


def _file(make: Callable[[int], Operation]) -> None:
    with closing(os.fdopen(os.memfd_create("gadget.aio"), "wb")) as file:
        _run(make(file.fileno()))


def _number(name: str) -> int:
    try:
        return int((_PROC / name).read_text())
    except OSError:
        return 0


def may_block(file: File) -> bool:
    """Whether io_submit may block for this file until the data is there: without O_DIRECT, it reads and writes itself.

    So it does with pipes, sockets and terminals without O_NONBLOCK, however long nothing comes: poll them first. Some
    file systems block with O_DIRECT as well, where they have to look up blocks or to grow the file;
    :attr:`Report.submitting` shows it.
    """
    fd = descriptor(file)
    mode = os.fstat(fd).st_mode
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    if stat.S_ISREG(mode) or stat.S_ISBLK(mode):
        return not flags & os.O_DIRECT
    waits = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)
    return waits and not flags & os.O_NONBLOCK
