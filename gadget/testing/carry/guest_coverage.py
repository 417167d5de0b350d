"""Coverage in the guest: measured there as it is here, and merged into what is measured here.

Works with whatever has started coverage in this process: ``coverage run -m pytest``, or pytest-cov.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def prefix(config: pytest.Config) -> list[str]:
    """What stands between the interpreter and ``-m pytest`` in the guest."""
    coverage = _current()
    if coverage is None:
        return []
    command = ["-m", "coverage", "run", f"--data-file={_data_file(config)}"]
    if coverage.config.config_file:
        command.append(f"--rcfile={coverage.config.config_file}")
    if coverage.get_option("run:branch"):
        command.append("--branch")
    for name in ("source", "omit", "include"):
        if values := coverage.get_option(f"run:{name}"):
            command.append(f"--{name}={','.join(values)}")
    return command


def save() -> None:
    """In the guest: writes what was measured so far."""
    coverage = _current()
    if coverage is not None:
        coverage.save()


def merge(config: pytest.Config) -> None:
    """Adds what was measured in the guest, once that is gone."""
    coverage, file = _current(), _data_file(config)
    if coverage is None or not file.exists():
        return
    from coverage import CoverageData
    from coverage.exceptions import CoverageException

    measured = CoverageData(basename=str(file))
    try:
        measured.read()
        coverage.get_data().update(measured)
    except CoverageException as error:
        config.issue_config_time_warning(pytest.PytestWarning(f"coverage of the guest is lost: {error}"), stacklevel=2)
    finally:
        measured.close()
        for leftover in file.parent.glob(f"{file.name}*"):  # SQLite's journal, after a panic
            leftover.unlink()


def _data_file(config: pytest.Config) -> Path:
    """In the shared folder, where both sides see it."""
    return config.rootpath / ".coverage.gadget-guest"


def _current() -> Any:
    """The measurement that runs in this process, None if there is none."""
    module = sys.modules.get("coverage")
    return module.Coverage.current() if module is not None else None
