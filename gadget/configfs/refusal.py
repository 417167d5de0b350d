"""Says why the kernel refused to bind a gadget, when all that the kernel says is EBUSY."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gadget.errors import ControllerBusyError, KernelError, NoControllerError, NotPermittedError, OutOfEndpointsError
from gadget.functionfs.mount import functionfs_mounts

if TYPE_CHECKING:
    from gadget.configfs.udc import Controller

#: The kernel's log, one record a read.
KERNEL_LOG = Path("/dev/kmsg")

#: ENOTSUPP of ``include/linux/errno.h``, which has no name outside of the kernel: what f_fs.c returns from bind
#: when the controller has no endpoint for a descriptor.
ENOTSUPP = 524

_FAILED_START = re.compile(r"failed to start .*: -(\d+)")
#: As f_uvc.c says it, which then fails with EINVAL.
_NO_ENDPOINT = re.compile(r"nable to allocate \w+ EP")
_OUT_OF_ENDPOINTS = "the controller has no endpoint left of a kind that the gadget declares; declare fewer"


@contextmanager
def kernel_log(log: Path = KERNEL_LOG) -> Iterator[Callable[[], list[str]]]:
    """Follows the kernel's log through a ``with`` block (``Documentation/ABI/testing/dev-kmsg``).

    Args:
        log: The kernel's log, one record a read.

    Yields:
        A function that returns the messages logged since the block began or since it was last called, without
        prefixes; none where this user may not read the log.
    """
    try:
        descriptor = os.open(log, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        yield list
        return
    try:
        os.lseek(descriptor, 0, os.SEEK_END)
        yield lambda: [message for record in _records(descriptor) for message in _messages(record)]
    finally:
        os.close(descriptor)


def _records(descriptor: int) -> Iterator[bytes]:
    while True:
        try:
            record = os.read(descriptor, 8192)
        except BrokenPipeError:
            # Records were overwritten before they were read; the next read goes on behind the gap.
            continue
        except BlockingIOError:
            return
        if not record:
            return
        yield record


def _messages(record: bytes) -> list[str]:
    """Drops the prefix up to the semicolon, and the indented lines that name the device."""
    lines = record.decode(errors="replace").splitlines()
    return [line.partition(";")[2] for line in lines if ";" in line and not line.startswith(" ")]


def explain_refusal(
    error: OSError, tree: Path, name: str, lines: list[str], controller: Controller | None
) -> KernelError:
    """Turns a failed write to a gadget's UDC attribute into the error to raise.

    Args:
        error: What the write raised; on Linux 6.1 it is EBUSY for everything.
        tree: The gadget's folder in configfs.
        name: The controller.
        lines: What the kernel logged meanwhile.
        controller: The controller as it is now, None if it has gone.
    """
    code = error.errno or errno.EIO
    path = str(tree / "UDC")
    if code in (errno.EACCES, errno.EPERM):
        message = f"cannot bind gadget {tree.name} to {name}: run it as root (sudo)"
        return NotPermittedError(code, message, path)
    said = f"the kernel's log: {' | '.join(lines)}" if lines else "the kernel's log (dmesg, as root) says more"
    kind, reason = _reason(tree, lines, controller)
    return kind(code, f"cannot bind gadget {tree.name} to {name}: {reason} ({os.strerror(code)}; {said})", path)


def _reason(tree: Path, lines: list[str], controller: Controller | None) -> tuple[type[KernelError], str]:
    if (inner := _inner_code(lines)) == ENOTSUPP:
        return OutOfEndpointsError, _OUT_OF_ENDPOINTS
    if controller is None:
        return NoControllerError, "the controller has gone away"
    if controller.holder is not None:
        return ControllerBusyError, f"{controller.holder} has just taken it"
    if unready := _unready(tree):
        return (
            KernelError,
            f"{', '.join(unready)} not mounted here, or no descriptors written to its ep0; do that first",
        )
    if inner == errno.ENODEV or any(_NO_ENDPOINT.search(line) for line in lines):
        return OutOfEndpointsError, _OUT_OF_ENDPOINTS
    return KernelError, "the kernel refused"


def _inner_code(lines: list[str]) -> int | None:
    """The error with which the gadget failed to start, which the kernel logs and then replaces by EBUSY."""
    codes = (int(match[1]) for line in lines if (match := _FAILED_START.search(line)))
    return next(codes, None)


def _unready(tree: Path) -> list[str]:
    """The FunctionFS instances whose data endpoints have no files, which appear with the descriptors."""
    written = {
        f"ffs.{instance}"
        for instance, folder in functionfs_mounts()
        if any(entry.name != "ep0" for entry in folder.iterdir())
    }
    instances = sorted(folder.name for folder in tree.glob("functions/ffs.*"))
    return [name for name in instances if name not in written]
