"""Gadgets in configfs for devices that are no Python programs: the one in C, and the kernel's own functions."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.programs import PRODUCT_ID, VENDOR_ID
from gadget.configfs.apply import USB_GADGET_ROOT, applied, listing, revert
from gadget.configfs.model import ConfigurationModel, GadgetModel
from gadget.configfs.plan import plan, tree_undo
from gadget.configfs.udc import unbind
from gadget.functionfs.mount import functionfs, functionfs_mounts, unmount


@contextmanager
def kernel_function(family: str, udc: str, serial: str, attributes: Mapping[str, int]) -> Iterator[Path]:
    """A gadget that consists of one of the kernel's own functions, bound to nothing yet.

    Args:
        family: The kind of function, ``SourceSink`` or ``Loopback``.
        udc: The controller it is for.
        serial: Its serial number, by which the host finds it.
        attributes: Of the function.
    """
    instance = f"{family}.{udc.replace('.', '-')}"
    with _tree(instance, udc, serial) as tree:
        # The function's attributes can't be changed once it is linked (f_sourcesink.c, refcnt), so the link waits.
        link = tree / "configs/c.1" / instance
        link.unlink()
        for name, value in attributes.items():
            (tree / "functions" / instance / name).write_text(str(value))
        link.symlink_to(tree / "functions" / instance)
        yield tree


@contextmanager
def functionfs_tree(name: str, udc: str, serial: str) -> Iterator[tuple[Path, Path]]:
    """A gadget with one FunctionFS, mounted and bound to nothing yet: its tree, and where it is mounted."""
    instance = f"{name}-{udc.replace('.', '-')}"
    with (
        _tree(f"ffs.{instance}", udc, serial) as tree,
        tempfile.TemporaryDirectory() as folder,
        functionfs(instance, Path(folder) / "mounted") as mounted,
    ):
        yield tree, mounted


def remove_left(name: str, instance: str) -> None:
    """Removes what a program has left behind that cannot clean up after itself: a gadget, and its FunctionFS.

    python-functionfs unmounts while its transfers still refer to the endpoint files, which is EBUSY, and says status 0.

    Args:
        name: The gadget's name in configfs.
        instance: The name of its FunctionFS.
    """
    for mounted, folder in functionfs_mounts():
        if mounted == instance:
            unmount(folder)
            folder.rmdir()
    if (tree := USB_GADGET_ROOT / name).is_dir():
        unbind(tree)
        revert(tree_undo(listing(name)))


@contextmanager
def _tree(instance: str, udc: str, serial: str) -> Iterator[Path]:
    model = GadgetModel(
        name=f"bench-{instance}",
        vendor_id=VENDOR_ID,
        product_id=PRODUCT_ID,
        product="benchmark",
        serial_number=serial,
        configurations=(ConfigurationModel(functions=(instance,)),),
    )
    with applied(plan(model)) as tree:
        try:
            yield tree
        finally:
            unbind(tree)
