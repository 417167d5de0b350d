from __future__ import annotations

from pathlib import Path

from gadget.functionfs.mount import functionfs_mounts


def test_mounts_of_functionfs_and_of_nothing_else(tmp_path: Path) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(
        "24 1 0:22 / / rw shared:1 - ext4 /dev/root rw\n"
        "90 24 0:50 / /run/ffs\\040a rw,nosuid - functionfs a rw\n"
        "91 24 0:51 / /dev/ffs-b rw,nosuid shared:9 master:1 - functionfs b rw\n"
        "92 24 0:52 / /functionfs rw - tmpfs functionfs rw\n"
    )
    assert functionfs_mounts(mountinfo) == [("a", Path("/run/ffs a")), ("b", Path("/dev/ffs-b"))]
