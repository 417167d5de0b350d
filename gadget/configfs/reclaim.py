"""Takes down what a killed owner left behind, and nothing that its record does not list."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

from gadget.configfs.apply import listing, revert
from gadget.configfs.plan import tree_undo
from gadget.configfs.record import Record
from gadget.configfs.udc import unbind
from gadget.errors import KernelError, NotUndoneError
from gadget.functionfs.mount import functionfs_mounts, unmount


def describe_foreign(tree: Path) -> str:
    """Says that a gadget was found that is not ours."""
    return (
        f"gadget {tree.name} is there already, and no record says that this program made it, so it was left alone; "
        "choose another name, or remove it first"
    )


def is_left(record: Record) -> bool:
    """Whether anything that the record lists is still there."""
    mounted = {folder for _, folder in functionfs_mounts()}
    return record.tree.exists() or bool(mounted & set(record.mounts)) or any(map(Path.exists, record.folders))


def reclaim(record: Record, mountinfo: Path = Path("/proc/self/mountinfo")) -> None:
    """Takes down what a record lists, in the order of the teardown; what is gone already is no failure.

    Args:
        record: A record of this boot whose owner is dead.
        mountinfo: The list of mounts (proc(5)); only a FunctionFS is unmounted.

    Raises:
        KernelError: EEXIST, the tree has functions that the record does not list, so it is another's. Nothing was done.
        NotUndoneError: Something could not be removed; everything else was.
    """
    functions = record.tree / "functions"
    found = {entry.name for entry in functions.iterdir()} if functions.is_dir() else set()
    if not found <= set(record.functions):
        raise KernelError(errno.EEXIST, describe_foreign(record.tree), str(record.tree))
    unbind(record.tree)
    failures = _unmount_all(record.mounts, mountinfo)
    root = record.tree.parent
    revert(tree_undo(listing(record.name, root)), root)
    for folder in record.folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    if failures:
        first = failures[0]
        message = f"{first.strerror}; see who uses it (fuser -vm), then start the gadget again to clean up"
        raise NotUndoneError(first.errno or errno.EIO, message, first.filename) from first


def _unmount_all(targets: Sequence[Path], mountinfo: Path) -> list[KernelError]:
    mounted = [folder for _, folder in functionfs_mounts(mountinfo)]
    failures: list[KernelError] = []
    for target in targets:
        for _ in range(mounted.count(target)):
            try:
                unmount(target)
            except KernelError as error:
                failures.append(error)
    return failures
