"""Finds a kernel for the guest: one that is named, one that is installed, or Debian's, downloaded once."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gadget.vm import debian
from gadget.vm.errors import VmError
from gadget.vm.kernel_image import release_of

#: What a kernel has to bring as modules (or built in) for the bench.
NEEDED = ("dummy_hcd", "libcomposite", "usb_f_fs", "configfs", "overlay", "9p", "9pnet_virtio")


@dataclass(frozen=True)
class Kernel:
    """A kernel that can be booted.

    Attributes:
        image: What QEMU loads.
        release: As ``uname -r`` says it.
        modules: The folder of its modules, ``.../lib/modules/RELEASE``.
    """

    image: Path
    release: str
    modules: Path


def cache_folder() -> Path:
    """Where kernels, initramfs images and verdicts are kept; made if it is missing."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(base) / "gadget"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other processes out of a folder, so that two first runs don't download the same thing twice."""
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def missing_modules(modules: Path, needed: Iterable[str] = NEEDED) -> list[str]:
    """Which of the needed modules a kernel has neither built in nor as files."""
    have = set()
    for name in ("modules.builtin", "modules.dep", "modules.order"):
        file = modules / name
        if file.is_file():
            have |= {Path(line.split(":")[0]).name.split(".")[0] for line in file.read_text().splitlines()}
    return [name for name in needed if name not in have and name.replace("_", "-") not in have]


def version_key(release: str) -> list[tuple[int, int | str]]:
    """Sorts releases the way people count: 6.10 is newer than 6.9."""
    return [(1, int(part)) if part.isdigit() else (0, part) for part in re.findall(r"\d+|\D+", release)]


def open_kernel(image: Path) -> Kernel:
    """A kernel from its image; the modules are looked for beside it and then in this machine's folder.

    Raises:
        VmError: It can't be read, or its release or its modules can't be found, or one that is needed is missing.
    """
    try:
        with image.open("rb") as file:
            header = file.read(64 * 1024)
    except OSError as error:
        raise VmError(f"{image}: this kernel cannot be read: {error.strerror}") from error
    release = release_of(header, image.name)
    if release is None:
        raise VmError(f"{image}: this is no kernel image whose release can be told; name one as vmlinuz-RELEASE")
    candidates = [image.resolve().parent.parent / "lib/modules" / release, Path("/lib/modules") / release]
    modules = next((path for path in candidates if path.is_dir()), None)
    if modules is None:
        raise VmError(f"{image}: its modules are not in {' nor in '.join(map(str, candidates))}")
    lacking = missing_modules(modules)
    if lacking:
        raise VmError(f"{image}: this kernel has no {', '.join(lacking)}; use Debian's linux-image-amd64")
    return Kernel(image.absolute(), release, modules)


def installed_kernels(boot: Path = Path("/boot")) -> list[Kernel]:
    """The installed kernels that can be used, the newest first."""
    kernels = []
    for image in boot.glob("vmlinuz-*"):
        try:
            kernels.append(open_kernel(image))
        except VmError:
            continue  # Not readable by this user, or without dummy_hcd: another one will do.
    return sorted(kernels, key=lambda kernel: version_key(kernel.release), reverse=True)


def cached_kernels() -> list[Kernel]:
    """The kernels that were downloaded before, the newest first."""
    images = (cache_folder() / "kernels").glob("*/boot/vmlinuz-*")
    kernels = [open_kernel(image) for image in images if not image.parents[1].name.startswith(".")]
    return sorted(kernels, key=lambda kernel: version_key(kernel.release), reverse=True)


def find_kernel(named: Path | None = None, say: Callable[[str], None] = lambda line: None) -> Kernel:
    """The kernel to boot: the one named (or ``GADGET_VM_KERNEL``), an installed one, or Debian's.

    Args:
        named: A kernel's image.
        say: Told what takes long, a line at a time.
    """
    name = str(named or os.environ.get("GADGET_VM_KERNEL", ""))
    if name:
        return open_kernel(Path(name))
    for kernels in (installed_kernels, cached_kernels):
        found = kernels()
        if found:
            return found[0]
    folder = cache_folder() / "kernels"
    folder.mkdir(exist_ok=True)
    with locked(folder):
        found = cached_kernels()  # Another process may have been first.
        return found[0] if found else open_kernel(_download(folder, say))


def package_from(control: str) -> str | None:
    """The package that a kernel's metapackage stands for.

    Args:
        control: What ``apt-cache show linux-image-ARCH`` prints.
    """
    for line in control.splitlines():
        if line.startswith("Depends:"):
            match = re.search(r"\blinux-image-\d[^\s,(|]*", line)
            if match:
                return match[0]
    return None


def _download(folder: Path, say: Callable[[str], None]) -> Path:
    """Downloads and unpacks Debian's kernel into ``folder`` without root; returns the image."""
    missing = debian.missing_programs((*debian.PROGRAMS, "depmod"))
    if missing:
        raise VmError(
            f"no kernel for the guest, and no {missing[0]} to get Debian's with: install a kernel that has "
            "dummy_hcd, or name one with --kernel or GADGET_VM_KERNEL"
        )
    with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as name:
        work = Path(name)
        try:
            packages = debian.with_fresh_lists(work, lambda archive: _fetch_package(archive, say), say)
        except VmError as error:
            message = f"no kernel for the guest: {error}\nName one with --kernel or GADGET_VM_KERNEL"
            raise VmError(message) from error
        return _unpack(packages, folder, work)


def _fetch_package(archive: debian.Archive, say: Callable[[str], None]) -> list[Path]:
    metapackage = f"linux-image-{archive.architecture()}"
    package = package_from(archive.control(metapackage))
    if package is None:
        raise VmError(f"{metapackage} names no kernel package")
    say(f"Downloading {package} (Debian's kernel, about 70 MB, once) ...")
    return archive.download([package])


def _unpack(packages: list[Path], folder: Path, work: Path) -> Path:
    """Unpacks into a hidden folder that gets its name last: what has a name is whole."""
    root = work / "root"
    debian.unpack(packages, root)
    if not (root / "lib").exists():  # Where the package has usr/lib/modules, as on merged systems.
        (root / "lib").symlink_to("usr/lib")
    image = next((root / "boot").glob("vmlinuz-*"))
    release = image.name.removeprefix("vmlinuz-")
    debian.run([debian.find_program("depmod") or "depmod", "-b", str(root), release], work, "depmod failed")
    target = folder / release
    shutil.rmtree(target, ignore_errors=True)
    root.rename(target)
    return target / "boot" / image.name
