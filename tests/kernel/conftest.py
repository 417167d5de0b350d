"""What every test here must leave as it was: no descriptor and no ring more than before."""

from __future__ import annotations

import gc
import importlib.util
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gadget.aio import Context


def open_descriptors() -> set[str]:
    return {f"{path.name}: {path.readlink()}" for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}


def rings() -> list[str]:
    """The completion rings that the kernel has mapped for this process: one a context."""
    return [line for line in Path("/proc/self/maps").read_text().splitlines() if "[aio]" in line]


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    gc.collect()
    before = open_descriptors(), rings()
    yield
    gc.collect()
    assert (open_descriptors(), rings()) == before


@pytest.fixture
def context() -> Iterator[Context]:
    with Context(8) as opened:
        yield opened


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    try:
        yield reader, writer
    finally:
        os.close(reader)
        os.close(writer)


CONTENT = bytes(range(256)) * 256


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    """64 KiB, to be read and written."""
    (tmp_path / "file").write_bytes(CONTENT)
    descriptor = os.open(tmp_path / "file", os.O_RDWR)
    yield descriptor
    os.close(descriptor)


SERVER = Path(__file__).with_name("held_file_server.py")


class HeldFile:
    """A file of a FUSE file system that answers when told to: what is asked with O_DIRECT is in flight till then."""

    #: What it has: a megabyte of it.
    CONTENT = bytes(range(256))

    def __init__(self, path: Path, answers: socket.socket) -> None:
        self.path, self._answers = path, answers

    @contextmanager
    def opened(self) -> Iterator[int]:
        descriptor = os.open(self.path, os.O_RDWR | os.O_DIRECT)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def wait_asked(self, count: int) -> None:
        """Waits until so many more requests have reached the file system."""
        while count:
            assert select.select([self._answers], [], [], 20.0)[0], "nobody has asked"
            count -= len(self._answers.recv(count))

    def answer(self, count: int = 1) -> None:
        self._answers.send(b"!" * count)


def _why_no_fuse() -> str | None:
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "there is no /dev/fuse for this user"
    if os.geteuid() != 0:
        return "mounting without fusermount3 needs root"
    if importlib.util.find_spec("mfusepy") is None:
        return "mfusepy is not installed (the extra dev has it)"
    return None


@pytest.fixture
def held_file(tmp_path: Path) -> Iterator[HeldFile]:
    if reason := _why_no_fuse():
        pytest.skip(reason)
    mount = tmp_path / "mount"
    mount.mkdir()
    ours, theirs = socket.socketpair()
    with (
        ours,
        subprocess.Popen(
            [sys.executable, str(SERVER), str(mount)],
            stdin=theirs.fileno(),
            stderr=subprocess.PIPE,
        ) as server,
    ):
        theirs.close()
        deadline = time.monotonic() + 20.0
        while not mount.is_mount():
            assert server.poll() is None, server.stderr and server.stderr.read()
            assert time.monotonic() < deadline
        yield HeldFile(mount / "file", ours)
        ours.shutdown(socket.SHUT_WR)  # answers what is left
        subprocess.run(["umount", mount], check=True)
        server.communicate(timeout=20.0)
