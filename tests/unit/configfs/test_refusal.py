"""On ordinary folders that stand in for configfs, and a file for the kernel's log."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from gadget.configfs.refusal import explain_refusal, kernel_log
from gadget.configfs.udc import Controller
from gadget.errors import ControllerBusyError, KernelError, NoControllerError, NotPermittedError, OutOfEndpointsError

FREE = Controller("a", "not attached")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "g").mkdir()
    return tmp_path / "g"


def test_the_kernels_log_is_read_from_where_it_is_now(tmp_path: Path) -> None:
    log = tmp_path / "kmsg"
    log.write_bytes(b"6,811,4,-;before\n")
    with kernel_log(log) as collect, log.open("ab") as writer:
        assert collect() == []
        writer.write(b"4,812,5,-;udc a: one; two\n SUBSYSTEM=udc\n DEVICE=+udc:a\n4,813,6,-;three\n")
        writer.flush()
        assert collect() == ["udc a: one; two", "three"]
        assert collect() == []


def test_a_log_that_may_not_be_read_says_nothing(tmp_path: Path) -> None:
    with kernel_log(tmp_path / "nosuch") as collect:
        assert collect() == []


BUSY = OSError(errno.EBUSY, "Device or resource busy")
CANNOT = "UDC core: g: couldn't find an available UDC or it's busy"


@pytest.mark.parametrize("code", [524, 19])
def test_endpoints_that_ran_out(tree: Path, code: int) -> None:
    lines = [f"udc a: failed to start g: -{code}", CANNOT]
    refusal = explain_refusal(BUSY, tree, "a", lines, FREE)
    assert type(refusal) is OutOfEndpointsError
    assert refusal.errno == errno.EBUSY
    assert f"failed to start g: -{code} | {CANNOT}" in str(refusal)
    assert refusal.filename == str(tree / "UDC")


def test_a_function_that_calls_its_missing_endpoint_an_invalid_argument(tree: Path) -> None:
    lines = [
        "configfs-gadget.g gadget.0: uvc: Unable to allocate streaming EP",
        "udc a: failed to start g: -22",
        CANNOT,
    ]
    assert type(explain_refusal(BUSY, tree, "a", lines, FREE)) is OutOfEndpointsError


def test_a_functionfs_without_descriptors(tree: Path) -> None:
    (tree / "functions/ffs.nowhere").mkdir(parents=True)
    refusal = explain_refusal(BUSY, tree, "a", ["udc a: failed to start g: -19", CANNOT], FREE)
    assert type(refusal) is KernelError
    assert "ffs.nowhere not mounted here, or no descriptors written to its ep0" in str(refusal)


def test_a_controller_that_was_lost_meanwhile(tree: Path) -> None:
    assert type(explain_refusal(BUSY, tree, "a", [CANNOT], None)) is NoControllerError
    refusal = explain_refusal(BUSY, tree, "a", [CANNOT], Controller("a", "configured", gadget="other"))
    assert type(refusal) is ControllerBusyError
    assert "gadget other has just taken it" in str(refusal)


def test_a_refusal_without_a_reason_points_to_the_log(tree: Path) -> None:
    refusal = explain_refusal(BUSY, tree, "a", [], FREE)
    assert type(refusal) is KernelError
    assert "dmesg" in str(refusal)


def test_who_may_not_write_is_told_about_root(tree: Path) -> None:
    refusal = explain_refusal(PermissionError(errno.EACCES, "Permission denied"), tree, "a", [], FREE)
    assert type(refusal) is NotPermittedError
    assert "as root" in str(refusal)
