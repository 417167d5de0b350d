"""mount(2) and umount2(2), and FunctionFS on a folder of its own."""

from __future__ import annotations

import ctypes
import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gadget.errors import KernelError, MissingModuleError, NotPermittedError, NotUndoneError
from gadget.functionfs.access import Access

MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
UMOUNT_NOFOLLOW = 8

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: Path, fstype: str, options: str = "") -> None:
    """Mounts a file system without set-user-ID programs, device files or executables.

    Raises:
        NotPermittedError: It needs root.
        MissingModuleError: The kernel doesn't know the file system.
        KernelError: Anything else, with the kernel's errno.
    """
    flags = ctypes.c_ulong(MS_NOSUID | MS_NODEV | MS_NOEXEC)
    arguments = (os.fsencode(source), os.fsencode(target), fstype.encode(), flags, options.encode())
    if _libc.mount(*arguments) != 0:
        raise _mount_error(ctypes.get_errno(), source, target, fstype)


def unmount(target: Path) -> None:
    """Unmounts a folder; one that isn't mounted (any more) is fine.

    Raises:
        KernelError: EBUSY and others, with the kernel's errno.
    """
    if _libc.umount2(os.fsencode(target), UMOUNT_NOFOLLOW) != 0:
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOENT):
            raise KernelError(code, f"cannot unmount: {os.strerror(code)}", str(target))


def _mount_error(code: int, source: str, target: Path, fstype: str) -> KernelError:
    if code == errno.EPERM:
        return NotPermittedError(code, f"mounting {fstype} needs root; start this as root or with sudo", str(target))
    if code == errno.ENODEV:
        return MissingModuleError(code, f"this kernel has no {fstype}; load its module (modprobe usb_f_fs)")
    if code == errno.ENOENT and fstype == "functionfs":
        hint = f"there is no FunctionFS instance {source!r}: create functions/ffs.{source} in configfs first"
        return KernelError(code, hint, str(target))
    return KernelError(code, f"cannot mount {fstype} {source!r}: {os.strerror(code)}", str(target))


@contextmanager
def functionfs(instance: str, folder: Path, access: Access | None = None) -> Iterator[Path]:
    """Mounts the FunctionFS instance on a folder, which is made for it and removed after it.

    Args:
        instance: The instance, which exists in configfs.
        folder: The folder.
        access: Who may open its files; root alone by default.

    It is never mounted with ``no_disconnect``: reopening ep0 after a SIGKILL then deadlocks in the kernel.

    Raises:
        NotUndoneError: It cannot be unmounted, because something still has a file in it open.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"cannot make the folder to mount FunctionFS on: {error.strerror}"
        raise KernelError(error.errno or errno.EIO, message, str(folder)) from error
    try:
        mount(instance, folder, "functionfs", access.options if access is not None else "")
    except BaseException:
        folder.rmdir()
        raise
    try:
        yield folder
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    try:
        unmount(folder)
        folder.rmdir()
    except OSError as error:
        message = f"{error.strerror}; see who uses it (fuser -vm), then start the gadget again to clean up"
        raise NotUndoneError(error.errno or errno.EBUSY, message, str(folder)) from error


def functionfs_mounts(mountinfo: Path = Path("/proc/self/mountinfo")) -> list[tuple[str, Path]]:
    """Lists every FunctionFS that is mounted, as instance and mount point, as often as it is mounted.

    Args:
        mountinfo: The list of mounts (proc(5)).
    """
    found = []
    for line in os.fsdecode(mountinfo.read_bytes()).splitlines():
        place, _, kind = line.partition(" - ")
        if kind.split()[:1] == ["functionfs"]:
            found.append((_unescaped(kind.split()[1]), Path(_unescaped(place.split()[4]))))
    return found


def _unescaped(text: str) -> str:
    """Undoes the kernel's octal escapes for blank, tab, line break and backslash (``fs/proc_namespace.c``, mangle)."""
    for character in " \t\n\\":
        text = text.replace(f"\\{ord(character):03o}", character)
    return text


def require_eventfd(release: str) -> None:
    """Refuses a kernel whose FUNCTIONFS_EVENTFD can crash it.

    Args:
        release: As uname(2) gives it, "6.1.0-32-arm64".

    Raises:
        MissingModuleError: It is older than Linux 5.16.
    """
    numbers = tuple(int(number) for number in re.findall(r"\d+", release)[:2])
    if numbers < (5, 16):
        raise MissingModuleError(
            errno.ENOSYS, f"Linux {release} is too old for FunctionFS events; it takes 5.16 or newer"
        )
