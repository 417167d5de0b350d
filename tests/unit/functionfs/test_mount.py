from __future__ import annotations

from pathlib import Path

import pytest

from gadget.errors import MissingModuleError
from gadget.functionfs.mount import functionfs_mounts, require_eventfd


def test_mounts_of_functionfs_and_of_nothing_else(tmp_path: Path) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(
        "24 1 0:22 / / rw shared:1 - ext4 /dev/root rw\n"
        "90 24 0:50 / /run/ffs\\040a rw,nosuid - functionfs a rw\n"
        "91 24 0:51 / /dev/ffs-b rw,nosuid shared:9 master:1 - functionfs b rw\n"
        "92 24 0:52 / /functionfs rw - tmpfs functionfs rw\n"
    )
    assert functionfs_mounts(mountinfo) == [("a", Path("/run/ffs a")), ("b", Path("/dev/ffs-b"))]


@pytest.mark.parametrize("release", ["5.16.0", "5.17-rc1", "6.1.0-32-arm64", "6.12.25+rpt-rpi-v8", "10.0"])
def test_kernels_whose_events_work(release: str) -> None:
    require_eventfd(release)


@pytest.mark.parametrize("release", ["5.4.0", "5.15.92-v8+", "4.19.0-27-amd64", "3.10"])
def test_older_kernels_are_refused(release: str) -> None:
    with pytest.raises(MissingModuleError, match=f"Linux {release[0]}.*too old.*5.16"):
        require_eventfd(release)
