"""Debian's packages without root: apt downloads them, with package lists of its own if the system's are old."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from gadget.vm.errors import VmError

T = TypeVar("T")

PROGRAMS = ("apt-get", "apt-cache", "dpkg", "dpkg-deb")


def find_program(name: str) -> str | None:
    """Finds a program; those for administration are often not on a user's PATH."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def missing_programs(needed: Sequence[str] = PROGRAMS) -> list[str]:
    """Which of the programs are not installed; on other systems than Debian and its kin, all of apt's."""
    return [program for program in needed if find_program(program) is None]


def run(argv: Sequence[str], folder: Path, failure: str) -> tuple[str, str]:
    """Runs a program in ``folder``; returns what it wrote to its output and to its errors.

    Raises:
        VmError: It failed; the message begins with ``failure`` and ends with what the program said.
    """
    result = subprocess.run(
        argv,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
        check=False,
    )
    if result.returncode != 0:
        raise VmError(f"{failure}: {result.stderr.strip() or result.stdout.strip() or 'no reason given'}")
    return result.stdout, result.stderr


class Archive:
    """What apt knows of and can download.

    Args:
        work: A folder for downloads, ours alone.
        options: Options of apt that go before its command.
    """

    def __init__(self, work: Path, options: Sequence[str] = ()) -> None:
        self.work = work
        # apt would warn that its own user _apt can't write here; as root nothing is gained by switching to it.
        self._options = [*options, "-q", "-o", "APT::Sandbox::User=root"]
        self._unreachable = ""

    def architecture(self) -> str:
        """Debian's name of this machine's architecture (``amd64``)."""
        return run(["dpkg", "--print-architecture"], self.work, "dpkg failed")[0].strip()

    def control(self, package: str) -> str:
        """What apt knows of a package, as its control file has it.

        Args:
            package: Its name, or ``NAME=VERSION``.
        """
        command = ["apt-cache", *self._options, "show", "--no-all-versions", package]
        try:
            return run(command, self.work, f"apt knows no {package}")[0]
        except VmError as error:
            if self._unreachable:
                raise VmError(f"{error}\nThe archive could not be reached: {self._unreachable}") from error
            raise

    def download(self, packages: Sequence[str]) -> list[Path]:
        """Downloads packages, each a name or ``NAME=VERSION``; apt checks them against the archive's signature."""
        names = " ".join(packages)
        run(["apt-get", *self._options, "download", *packages], self.work, f"the download of {names} failed")
        return sorted(self.work.glob("*.deb"))

    def refresh(self) -> None:
        """Fetches the package lists."""
        # apt-get only warns where a server is not reached, and another of the archives may have what is needed.
        self._unreachable = run(["apt-get", *self._options, "update"], self.work, "apt-get update failed")[1].strip()


def with_fresh_lists(work: Path, fetch: Callable[[Archive], T], say: Callable[[str], None]) -> T:
    """Fetches with the system's package lists or, if that fails, with new ones, for which no root is needed.

    Args:
        work: A folder for downloads, ours alone.
        fetch: What to do with the archive.
        say: Told what takes long.
    """
    try:
        return fetch(Archive(work))
    except VmError:
        say("apt's package lists are missing or old; fetching fresh ones for this download ...")
    archive = Archive(work, _private_lists(work / "apt"))
    archive.refresh()
    return fetch(archive)


def _private_lists(folder: Path) -> list[str]:
    for part in ("lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    return ["-o", f"Dir::State::Lists={folder / 'lists'}", "-o", f"Dir::Cache={folder / 'cache'}"]


def unpack(packages: Sequence[Path], root: Path) -> None:
    """Unpacks packages into one folder, without their documentation."""
    for package in packages:
        run(["dpkg-deb", "-x", str(package), str(root)], root.parent, f"{package.name} cannot be unpacked")
    shutil.rmtree(root / "usr/share", ignore_errors=True)
