"""What the kernel refuses, and what to do about it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from gadget.errors import KernelError, UnsupportedError

_LIMIT, _USED = Path("/proc/sys/fs/aio-max-nr"), Path("/proc/sys/fs/aio-nr")


def setup_error(code: int) -> KernelError:
    """Why a context or batch could not be opened (io_setup(2), eventfd(2)), with the cure."""
    if code in (errno.EMFILE, errno.ENFILE):
        return KernelError(code, f"eventfd: {os.strerror(code)}: close some, or raise RLIMIT_NOFILE (ulimit -n)")
    what = f"io_setup: {os.strerror(code)}"
    if code == errno.EAGAIN:
        return KernelError(
            code,
            f"{what}: the machine's limit of operations is used up ({_read(_USED)} of {_read(_LIMIT)}): close "
            "other contexts, or raise it: sysctl fs.aio-max-nr=1048576",
        )
    if code == errno.ENOSYS:
        return UnsupportedError(code, f"{what}: this kernel is built without CONFIG_AIO, or a container hides it")
    if code == errno.EPERM:
        return UnsupportedError(
            code,
            f"{what}: a seccomp filter refuses it: allow io_setup, io_submit, io_getevents, "
            "io_cancel and io_destroy in the container's profile",
        )
    return KernelError(code, what)


def wait_error(code: int) -> KernelError:
    """Why a batch cannot sleep until its operations have ended, with the cure."""
    what = f"io_getevents: {os.strerror(code)}"
    if code in (errno.EPERM, errno.ENOSYS):
        cure = "allow it, or io_pgetevents, in the container's seccomp profile; a Context needs neither"
        return UnsupportedError(code, f"{what}: {cure}")
    return KernelError(code, what)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return "?"
