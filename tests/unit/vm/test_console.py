from __future__ import annotations

import pytest

from gadget.vm.console import LIMIT, Console


@pytest.mark.parametrize(
    ("log", "status", "reason"),
    [
        (
            b"[1.0] Kernel panic - not syncing: VFS: no root\r\n[1.1] more",
            0,
            "panicked: Kernel panic - not syncing: VFS: no root",
        ),
        (b"gadget: the guest's set-up failed: line 7\r\nreboot: Power down", 0, "the guest's set-up failed: line 7"),
        (b"qemu: -m much: bad", 1, "QEMU ended with status 1"),
        (b"reboot: Power down", 0, "the guest powered off"),
    ],
)
def test_the_reason_of_an_end_is_read_from_the_log(log: bytes, status: int, reason: str) -> None:
    console = Console()
    console.take(log)
    assert console.why_it_ended(status).endswith(reason)


def test_the_oldest_goes_first_and_all_is_shown() -> None:
    shown: list[bytes] = []
    console = Console(shown.append)
    for part in (b"a" * 10, b"b" * LIMIT, b"c", b""):
        assert console.take(part) == bool(part)
    assert console.text == "b" * (LIMIT - 1) + "c"
    assert [len(part) for part in shown] == [10, LIMIT, 1]
