"""What every test here must leave as it was: no descriptor and no ring more than before."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
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
