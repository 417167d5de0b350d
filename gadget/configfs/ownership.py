"""Whose gadget is it: a locked record in ``/run``, so that a start cleans up after a killed one and after nobody else.

The record is one file. Its owner holds an exclusive ``flock`` on it for life, so the kernel itself tells whether the
owner still lives, whatever became of its process id. A record is never written in place: a new file is written and
locked, and only then given the name. So whoever opens the name finds a complete record, locked if it has an owner.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
import sys
import warnings
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gadget.configfs.apply import USB_GADGET_ROOT
from gadget.configfs.checks import check_name
from gadget.configfs.reclaim import describe_foreign, is_left, reclaim
from gadget.configfs.record import Record, boot_id, default_folder, discard_unpublished, is_alive, publish, start_time
from gadget.errors import (
    ClosedError,
    GadgetBusyError,
    KernelError,
    NotPermittedError,
    NotUndoneError,
)


class Ownership:
    """The right to one gadget's name, held until :meth:`release`.

    Attributes:
        record: What is on file.
        stale: What a killed owner left on file and nobody has cleaned up yet, else None; see :meth:`reclaim`.

    Leaving a ``with`` block releases it, unless something of the gadget is left, for whatever reason: the record then
    stays for the next start.
    """

    def __init__(self, path: Path, record: Record, stale: Record | None, descriptor: int) -> None:
        """Is called by :meth:`acquire`."""
        self.record = record
        self.stale = stale
        self._path = path
        self._descriptor: int | None = descriptor
        _held.add(self)

    @classmethod
    def acquire(
        cls,
        name: str,
        *,
        functions: Sequence[str] = (),
        mounts: Sequence[Path] = (),
        folders: Sequence[Path] = (),
        root: Path = USB_GADGET_ROOT,
        folder: Path | None = None,
    ) -> Ownership:
        """Takes a gadget's name, and puts on file what is going to be made; make it afterwards.

        Where a killed owner has left something, that stays on file until :meth:`reclaim`, which comes first then.

        Args:
            name: The gadget's name.
            functions: Function instances that it will have.
            mounts: Where its FunctionFS instances will be mounted.
            folders: Those of the mount points that will be made for it.
            root: The folder of all gadgets.
            folder: The folder of the records; None for :func:`default_folder`.

        Raises:
            GadgetBusyError: Another living process has it.
            KernelError: EEXIST, the gadget is there already and no record says that it is ours.
            NotPermittedError: The folder of the records cannot be written.
        """
        path = _prepared(folder or default_folder()) / f"{check_name(name)}.json"
        discard_unpublished(path)
        wanted = _identified(Record(name, root / name, tuple(functions), tuple(mounts), tuple(folders)))
        while True:
            found = _lock_existing(path)
            taken = cls._take_new(path, wanted) if found is None else cls._take_over(path, wanted, *found)
            if taken is not None:
                return taken

    @classmethod
    def _take_new(cls, path: Path, wanted: Record) -> Ownership | None:
        # Only with the name in hand can nobody else of ours be making the tree. Until it is known to be nobody's the
        # record claims nothing, so that being killed in between does not make it ours.
        empty = replace(wanted, functions=(), mounts=(), folders=())
        descriptor = publish(path, empty, exclusive=True)
        if descriptor is None:
            return None
        ownership = cls(path, empty, None, descriptor)
        if wanted.tree.exists():
            ownership.release()
            raise KernelError(errno.EEXIST, describe_foreign(wanted.tree), str(wanted.tree))
        ownership.update(functions=wanted.functions, mounts=wanted.mounts, folders=wanted.folders)
        return ownership

    @classmethod
    def _take_over(cls, path: Path, wanted: Record, previous: Record, lock: int) -> Ownership:
        try:
            stale = _still_valid(previous, wanted)
            descriptor = publish(path, wanted if stale is None else _uncleaned(wanted, stale))
        finally:
            os.close(lock)
        assert descriptor is not None
        return cls(path, wanted, stale, descriptor)

    def reclaim(self) -> None:
        """Removes what a killed owner left, if there is anything; see :func:`reclaim`.

        Raises:
            NotUndoneError: Something could not be removed. It stays on file.
        """
        if self.stale is not None:
            reclaim(self.stale)
            self.stale = None
            self.update()

    def update(self, **changes: Any) -> None:
        """Puts changes of the record on file, all or nothing.

        Args:
            changes: Attributes of :class:`Record` (``udc="dummy_udc.0"``).

        Raises:
            ClosedError: It was released.
        """
        if self._descriptor is None:
            raise ClosedError(f"the ownership of gadget {self.record.name} was released")
        self.record = replace(self.record, **changes)
        on_file = self.record if self.stale is None else _uncleaned(self.record, self.stale)
        descriptor = publish(self._path, on_file)
        os.close(self._descriptor)
        self._descriptor = descriptor

    def release(self) -> None:
        """Gives the name up and removes the record; do this last, when nothing of the gadget is left. Idempotent."""
        if self._descriptor is not None:
            self._path.unlink(missing_ok=True)
            self._close()

    def abandon(self) -> None:
        """Gives the name up with something left; the record stays, and the next :meth:`acquire` finds it stale."""
        if self._descriptor is not None:
            self.update(pid=0)
            self._close()

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        told = self.stale is not None or isinstance(error, NotUndoneError)
        if told or (self._descriptor is not None and is_left(self.record)):
            self.abandon()
        else:
            self.release()

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            warnings.warn(f"ownership of gadget {self.record.name} was never released", ResourceWarning, 2, source=self)
            self._close()


#: Every ownership of this process that is still held, for :func:`_forget_in_child`.
_held: weakref.WeakSet[Ownership] = weakref.WeakSet()


def _forget_in_child() -> None:
    """Closes the locks in a forked child: a copy of the descriptor there would keep a dead owner's lock."""
    for ownership in tuple(_held):
        ownership._close()


os.register_at_fork(after_in_child=_forget_in_child)


def _prepared(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        kind = NotPermittedError if isinstance(error, PermissionError) else KernelError
        code = error.errno or errno.EIO
        message = f"cannot make the folder of ownership records, {folder}: {os.strerror(code)}; run it as root (sudo)"
        raise kind(code, message, str(folder)) from error
    return folder


def _identified(record: Record) -> Record:
    pid = os.getpid()
    command = shlex.join(sys.orig_argv)
    return replace(record, pid=pid, started=start_time(pid) or 0, boot_id=boot_id(), created_by=command)


def _lock_existing(path: Path) -> tuple[Record, int] | None:
    """Locks the record on file and reads it; None where there is none.

    Raises:
        GadgetBusyError: Its owner lives.
    """
    while True:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        keep = False
        try:
            locked = _try_lock(descriptor)
            # The owner may have replaced or removed the file between open and lock; what was locked then is no
            # longer the record.
            if not _is_named(descriptor, path):
                continue
            record = Record.read(descriptor, path)
            if not locked or _lives(record):
                raise GadgetBusyError(errno.EBUSY, _describe_owner(record), str(path))
            keep = True
            return record, descriptor
        finally:
            if not keep:
                os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_named(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _lives(record: Record) -> bool:
    """Another process that wrote the record and lost its lock; it may still serve the gadget."""
    return record.pid != os.getpid() and is_alive(record)


def _describe_owner(record: Record) -> str:
    if start_time(record.pid) != record.started:
        return f"gadget {record.name} is just being taken over by another process; try again"
    line = _command_line(record.pid) or record.created_by
    return f"gadget {record.name} is served by process {record.pid} ({line}); stop that one, or choose another name"


def _command_line(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode(errors="replace").split("\0")
    except OSError:
        return ""
    return shlex.join(words) if words != [""] else ""


def _still_valid(previous: Record, wanted: Record) -> Record | None:
    """Drops a record of another boot: nothing of it can be there, and what has its name now is another's."""
    if previous.boot_id == wanted.boot_id:
        return previous
    if wanted.tree.exists():
        raise KernelError(errno.EEXIST, describe_foreign(wanted.tree), str(wanted.tree))
    return None


def _uncleaned(record: Record, stale: Record) -> Record:
    """What is on file until a killed owner's rest is cleaned up: that rest, so that being killed again loses nothing.

    What is going to be made is not there yet. Something of the same name that is there is another's, and would become
    the next start's to remove.
    """
    return replace(record, functions=stale.functions, mounts=stale.mounts, folders=stale.folders)
