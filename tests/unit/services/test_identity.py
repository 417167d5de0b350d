from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest

from gadget.errors import KernelError, UsageError
from gadget.services.identity import machine_mac, machine_serial


@pytest.fixture
def machine_id(tmp_path: Path) -> Path:
    path = tmp_path / "machine-id"
    path.write_text("0123456789abcdef0123456789abcdef\n")
    return path


def test_they_stay_the_same(machine_id: Path) -> None:
    """For ever: a host knows the device by them."""
    assert machine_serial(machine_id=machine_id) == "97C665A9F59ED153"
    assert machine_serial("meter", machine_id=machine_id) == "44A7816D0436097B"
    assert machine_mac("ncm host", machine_id=machine_id) == "d2:0b:5a:a8:fb:59"


def test_each_purpose_and_each_machine_has_its_own(machine_id: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("1123456789abcdef0123456789abcdef\n")
    purposes = [f"interface {number}" for number in range(50)]
    macs = {machine_mac(purpose, machine_id=machine) for purpose in purposes for machine in (machine_id, other)}
    assert len(macs) == 100
    assert all(re.fullmatch("[0-9a-f][26ae](:[0-9a-f]{2}){5}", mac) for mac in macs)
    assert machine_serial(machine_id=machine_id) != machine_serial(machine_id=other)
    assert "0123456789ABCDEF" not in machine_serial(machine_id=machine_id)


@pytest.mark.parametrize("content", [None, "", "uninitialized\n", "0123"])
def test_a_machine_without_an_identity(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "machine-id"
    if content is not None:
        path.write_text(content)
    with pytest.raises(KernelError, match="systemd-machine-id-setup") as caught:
        machine_serial(machine_id=path)
    assert caught.value.errno == errno.ENOENT


def test_an_address_for_nothing(machine_id: Path) -> None:
    with pytest.raises(UsageError, match="what for"):
        machine_mac("", machine_id=machine_id)
