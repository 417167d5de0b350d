"""An out-of-tree kernel module under test: built before its test on this machine, loaded in the guest while it runs."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gadget.errors import GadgetError, KernelError
from gadget.testing.marker import is_usb, needs_of
from gadget.vm.module_load import load_command, module_name

#: In the guest: the folders of the modules that were built for it, each with its file or why there is none.
built_modules = pytest.StashKey[Mapping[str, "Built"]]()


@dataclass(frozen=True)
class Built:
    """What became of the folder of a module.

    Attributes:
        file: The ``.ko``; empty if it could not be built.
        error: Why not, as the compiler says it.
    """

    file: str = ""
    error: str = ""


@dataclass(frozen=True)
class KernelModule:
    """A module that is loaded.

    Attributes:
        name: As in ``/sys/module``.
        file: Its ``.ko``.
    """

    name: str
    file: Path

    @property
    def sysfs(self) -> Path:
        """Its folder in sysfs, with its parameters."""
        return Path("/sys/module") / self.name


def folders_of(items: Sequence[pytest.Item]) -> list[Path]:
    """The folders of the modules that tests ask for, each once."""
    return list(dict.fromkeys(folder for item in items if is_usb(item) for folder in _folders(item)))


def _folders(item: pytest.Item) -> list[Path]:
    return [item.config.rootpath / folder for folder in needs_of(item).modules]


def build_all(folders: Sequence[Path], say: Callable[[str], None]) -> dict[str, Built]:
    """Builds modules for the guest's kernel; a failure fails only the tests that need that one."""
    if not folders:
        return {}
    from gadget.vm.kernel import find_kernel
    from gadget.vm.module_build import build_module

    kernel = find_kernel(say=say)

    def build(folder: Path) -> Built:
        try:
            return Built(file=str(build_module(folder, kernel, say)))
        except GadgetError as error:
            return Built(error=str(error))

    return {str(folder): build(folder) for folder in folders}


def module_files(item: pytest.Item) -> list[Path]:
    """The files of the modules that a test asks for; built now if this is no guest.

    Raises:
        GadgetError: One could not be built.
    """
    built = item.config.stash.get(built_modules, None)
    if built is None:
        built = _build_for_running_kernel(_folders(item))
    found = [built[str(folder)] for folder in _folders(item)]
    for each in found:
        if each.error:
            raise GadgetError(each.error)
    return [Path(each.file) for each in found]


def _build_for_running_kernel(folders: Sequence[Path]) -> dict[str, Built]:
    from gadget.vm.kernel import Kernel
    from gadget.vm.module_build import build_module

    release = os.uname().release
    kernel = Kernel(Path(f"/boot/vmlinuz-{release}"), release, Path(f"/lib/modules/{release}"))
    return {str(folder): Built(file=str(build_module(folder, kernel))) for folder in folders}


@contextmanager
def loaded(file: Path) -> Iterator[KernelModule]:
    """Loads a module, and what it depends on, for the length of a ``with`` block.

    Raises:
        KernelError: The kernel refused to load it, or to unload it: something still uses it.
    """
    module = KernelModule(module_name(file), file)
    _run(load_command([file]))
    try:
        yield module
    finally:
        _run(["rmmod", module.name])


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        raise KernelError(errno.EINVAL, done.stderr.strip() or f"{command[0]} ended with status {done.returncode}")
