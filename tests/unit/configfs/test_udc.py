"""On ordinary folders that stand in for sysfs and configfs, and a file for the kernel's log."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from gadget.configfs.udc import (
    Controller,
    bind,
    choose,
    list_controllers,
    read_controller,
    unbind,
)
from gadget.errors import ControllerBusyError, KernelError, NoControllerError
from gadget.protocol.constants import Speed


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    (tmp_path / "sysfs").mkdir()
    return tmp_path / "sysfs"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "usb_gadget").mkdir()
    return tmp_path / "usb_gadget"


def controller(sysfs: Path, name: str, **attributes: str) -> None:
    (sysfs / name).mkdir()
    defaults = {"state": "not attached", "current_speed": "UNKNOWN", "maximum_speed": "super-speed", "function": ""}
    for attribute, value in {**defaults, **attributes}.items():
        (sysfs / name / attribute).write_text(value + "\n")


def gadget(root: Path, name: str, udc: str = "") -> Path:
    (root / name).mkdir()
    (root / name / "UDC").write_text(udc + "\n")
    return root / name


def test_what_a_controller_says(sysfs: Path, root: Path, tmp_path: Path) -> None:
    controller(sysfs, "dummy_udc.0", state="configured", current_speed="high-speed", function="g")
    (tmp_path / "drivers" / "dummy_udc").mkdir(parents=True)
    (sysfs / "dummy_udc.0" / "device").mkdir()
    (sysfs / "dummy_udc.0" / "device" / "driver").symlink_to(tmp_path / "drivers" / "dummy_udc")
    gadget(root, "g", "dummy_udc.0")
    expected = Controller("dummy_udc.0", "configured", Speed.HIGH, Speed.SUPER, "dummy_udc", "g", "g")
    assert list_controllers(sysfs, root) == [expected]
    assert read_controller("dummy_udc.0", sysfs, root) == expected
    assert read_controller("dummy_udc.1", sysfs, root) is None


def test_a_controller_that_says_little(sysfs: Path, root: Path) -> None:
    (sysfs / "fe980000.usb").mkdir()
    assert list_controllers(sysfs, root) == [Controller("fe980000.usb", "")]


def test_controllers_come_in_the_order_of_their_numbers(sysfs: Path, root: Path) -> None:
    for number in (10, 2, 0):
        controller(sysfs, f"dummy_udc.{number}")
    controller(sysfs, "fe980000.usb")
    names = [found.name for found in list_controllers(sysfs, root)]
    assert names == ["dummy_udc.0", "dummy_udc.2", "dummy_udc.10", "fe980000.usb"]


def test_a_machine_without_controllers(tmp_path: Path) -> None:
    assert list_controllers(tmp_path / "none", tmp_path / "none") == []
    with pytest.raises(NoControllerError, match=r"dtoverlay=dwc2.*cable.*gadget vm") as caught:
        choose(None, tmp_path / "none", tmp_path / "none")
    assert caught.value.errno == errno.ENODEV


def test_a_name_that_is_not_there(sysfs: Path, root: Path) -> None:
    controller(sysfs, "a")
    controller(sysfs, "b")
    with pytest.raises(NoControllerError, match="no USB device controller 'c'; there are: a, b"):
        choose("c", sysfs, root)


def test_the_first_free_one_is_chosen(sysfs: Path, root: Path) -> None:
    for name in "abc":
        controller(sysfs, name)
    gadget(root, "g", "a")
    assert choose(None, sysfs, root).name == "b"
    assert choose("c", sysfs, root).name == "c"


def test_who_holds_a_busy_one(sysfs: Path, root: Path) -> None:
    controller(sysfs, "a", function="mine")
    controller(sysfs, "b", function="g_ether")
    gadget(root, "mine", "a")
    with pytest.raises(ControllerBusyError, match="a is held by gadget mine; stop"):
        choose("a", sysfs, root)
    with pytest.raises(ControllerBusyError, match=r"gadget mine; b is held by g_ether .*legacy"):
        choose(None, sysfs, root)


def test_binding_writes_the_controllers_name(sysfs: Path, root: Path) -> None:
    controller(sysfs, "a")
    tree = gadget(root, "g")
    bind(tree, choose("a", sysfs, root), sysfs)
    assert (tree / "UDC").read_text() == "a"


def test_binding_again_is_fine_and_binding_elsewhere_is_not(sysfs: Path, root: Path) -> None:
    controller(sysfs, "a")
    controller(sysfs, "b")
    tree = gadget(root, "g", "a")
    bind(tree, "a", sysfs)
    with pytest.raises(KernelError, match="bound to a; unbind it before binding it to b") as caught:
        bind(tree, "b", sysfs)
    assert caught.value.errno == errno.EBUSY
    assert (tree / "UDC").read_text() == "a\n"


def test_what_cannot_work_is_not_even_written(sysfs: Path, root: Path) -> None:
    controller(sysfs, "a")
    gadget(root, "other", "a")
    tree = gadget(root, "g")
    with pytest.raises(ControllerBusyError, match="gadget other"):
        bind(tree, "a", sysfs)
    with pytest.raises(NoControllerError, match="there are: a"):
        bind(tree, "b", sysfs)
    assert (tree / "UDC").read_text() == "\n"


def test_a_failed_write_is_explained(sysfs: Path, root: Path, tmp_path: Path) -> None:
    controller(sysfs, "a")
    tree = gadget(root, "g")
    (tree / "UDC").unlink()
    (tree / "UDC").mkdir()
    with pytest.raises(KernelError, match=r"cannot bind gadget g to a: the kernel refused \(Is a directory") as caught:
        bind(tree, "a", sysfs, tmp_path / "nosuch")
    assert caught.value.errno == errno.EISDIR


def test_unbinding(root: Path) -> None:
    tree = gadget(root, "g", "a")
    unbind(tree)
    unbind(tree)
    # An ordinary file keeps what the write does not cover.
    assert (tree / "UDC").read_text() == "\n\n"


def test_unbinding_what_is_gone(root: Path) -> None:
    unbind(root / "gone")


def test_unbinding_that_fails(root: Path) -> None:
    (root / "g/UDC").mkdir(parents=True)
    with pytest.raises(KernelError, match="cannot unbind gadget g") as caught:
        unbind(root / "g")
    assert caught.value.errno == errno.EISDIR
