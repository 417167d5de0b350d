from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gadget.vm import Machine


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder with a name that needs quoting, as the shared one."""
    return tmp_path_factory.mktemp("an empty folder, it's")


@pytest.fixture(scope="session")
def machine(folder: Path) -> Iterator[Machine]:
    """One boot for all tests that leave the guest as it was."""
    with Machine(folder=folder, memory="1G") as booted:
        yield booted
