"""Finds what modules for a kernel are built against: its build folder, installed, or Debian's, downloaded once."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from gadget.vm import debian
from gadget.vm.errors import VmError
from gadget.vm.kernel import Kernel, cache_folder, locked

#: The file of an unpacked tree that says which version of the packages it is.
_VERSION_FILE = "package-version"


def find_headers(kernel: Kernel, say: Callable[[str], None] = lambda line: None) -> Path:
    """The folder that ``make -C`` is told to build modules for this kernel.

    It is ``build`` beside the kernel's modules or in ``/lib/modules/RELEASE``, if there is one; else Debian's
    header packages of just the kernel's version, unpacked in the cache folder without root.

    Args:
        kernel: The kernel that the modules are for.
        say: Told what takes long, a line at a time.

    Raises:
        VmError: They cannot be had; the message says why, and what to do.
    """
    for folder in (kernel.modules / "build", Path("/lib/modules") / kernel.release / "build"):
        if is_build_folder(folder):
            return folder.resolve()
    version = package_version(kernel.image.read_bytes(), kernel.release)
    if version is None:
        raise VmError(
            f"{kernel.image}: no build folder at /lib/modules/{kernel.release}/build, and the image does not say which "
            "Debian package it is from: install the headers of this kernel"
        )
    folder = cache_folder() / "headers"
    folder.mkdir(exist_ok=True)
    with locked(folder):
        root = folder / kernel.release
        if not (root / _VERSION_FILE).is_file() or (root / _VERSION_FILE).read_text() != version:
            _download(root, kernel, version, say)
    return build_folder(root, kernel.release)


def is_build_folder(folder: Path) -> bool:
    """Whether modules can be built with it: a kernel that was configured and prepared, not its sources alone."""
    return (folder / "Makefile").is_file() and (folder / "include/generated/autoconf.h").is_file()


def build_folder(root: Path, release: str) -> Path:
    """Where Debian's packages, unpacked into ``root``, have the build folder."""
    return root / "usr/src" / f"linux-headers-{release}"


def package_version(image: bytes, release: str) -> str | None:
    """The version of the Debian package that a kernel image is from.

    Debian's kernels name it in the text that /proc/version shows. On x86 it stands in the image's header, on arm64
    in the kernel itself, which is not compressed there.

    Args:
        image: The whole image.
        release: Its release, which the text begins with.
    """
    banner = re.search(re.escape(release.encode()) + rb" \([^\0\n]*? Debian (\d[\w.+~:-]*) \(", image)
    return banner[1].decode() if banner else None


def header_packages(release: str, version: str, control: str) -> list[str]:
    """The packages that make up the build folder, each as ``NAME=VERSION``.

    All are built from the kernel's own source package, so all have its version. The compiler, which is also
    a dependency, is not among them: it is a matter of the machine.

    Args:
        release: The kernel's release.
        version: The version of its package.
        control: What apt knows of ``linux-headers-RELEASE`` in this version.
    """
    depends = re.search(r"^Depends:(.*)$", control, re.MULTILINE)
    names = re.findall(r"(?:^|,)\s*(linux-(?:headers|kbuild)-[^\s,(|]+)", depends[1] if depends else "")
    return [f"{name}={version}" for name in (f"linux-headers-{release}", *names)]


def relocated(makefile: str) -> str:
    """A Makefile of Debian's headers that finds the rest beside itself, wherever the tree is.

    As packaged it includes ``/usr/src/...``, where nothing can be put without root.
    """
    text = re.sub(r"/usr/src/", "$(gadget-usr)/src/", makefile)
    text = re.sub(r"/usr/lib/(?=linux-kbuild)", "$(gadget-usr)/lib/", text)
    if text == makefile:
        return makefile
    return "gadget-usr := $(abspath $(dir $(lastword $(MAKEFILE_LIST)))../..)\n" + text


def _download(root: Path, kernel: Kernel, version: str, say: Callable[[str], None]) -> None:
    """Puts the packages' content at ``root``; it gets this name last, when it is whole."""
    failure = f"no headers to build modules for Linux {kernel.release} with"
    if debian.missing_programs():
        raise VmError(f"{failure}, and no apt to get Debian's: install them at /lib/modules/{kernel.release}/build")
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=".new-") as name:
        work = Path(name)
        try:
            packages = debian.with_fresh_lists(work, lambda archive: _fetch(archive, kernel, version, say), say)
        except VmError as error:
            raise VmError(f"{failure}: {error}\n{_advice(kernel, version)}") from error
        debian.unpack(packages, work / "root")
        build = build_folder(work / "root", kernel.release)
        (build / "Makefile").write_text(relocated((build / "Makefile").read_text()))
        (work / "root" / _VERSION_FILE).write_text(version)
        shutil.rmtree(root, ignore_errors=True)
        (work / "root").rename(root)


def _fetch(archive: debian.Archive, kernel: Kernel, version: str, say: Callable[[str], None]) -> list[Path]:
    control = archive.control(f"linux-headers-{kernel.release}={version}")
    say(f"Downloading the headers of Linux {kernel.release} (about 14 MB, once) ...")
    return archive.download(header_packages(kernel.release, version, control))


def _advice(kernel: Kernel, version: str) -> str:
    """Debian's archive keeps the newest versions only, so an old kernel may have lost its headers."""
    if cache_folder() in kernel.image.parents:
        renew = f"delete {kernel.image.parents[1]}, and the newest kernel is downloaded"
    else:
        renew = f"install linux-headers-{kernel.release}, or upgrade the kernel"
    return f"If there is a network, the archive may have dropped version {version}: {renew}."
