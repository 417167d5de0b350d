from __future__ import annotations

from pathlib import Path

import pytest

from gadget.configfs.reclaim import reclaim
from gadget.configfs.record import Record


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "usb_gadget").mkdir()
    return tmp_path / "usb_gadget" / "g"


def test_reclaiming_what_is_gone(tree: Path) -> None:
    reclaim(Record("g", tree, ("ffs.g",), (Path("/dev/ffs-g"),), (Path("/dev/ffs-g"),), "dummy_udc.0"))


def test_folders_of_mounts_are_removed_when_empty(tree: Path, tmp_path: Path) -> None:
    empty, full = tmp_path / "empty", tmp_path / "full"
    empty.mkdir()
    (full / "file").mkdir(parents=True)
    reclaim(Record("g", tree, folders=(empty, full, tmp_path / "gone")))
    assert not empty.exists()
    assert full.exists()


def test_only_a_functionfs_is_unmounted(tree: Path) -> None:
    # Unmounting /proc would be EBUSY, or a disaster.
    reclaim(Record("g", tree, mounts=(Path("/proc"),)))
    assert Path("/proc/self").exists()
