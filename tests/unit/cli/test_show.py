from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from gadget import Gadget, cli
from gadget.cli import show as command
from gadget.configfs.plan import plan
from gadget.kernel_functions import Acm, Ncm
from gadget.protocol.describe.names import Names
from gadget.protocol.describe.text import describe
from gadget.protocol.descriptors import (
    ConfigurationDescriptor,
    DeviceDescriptor,
    InterfaceDescriptor,
    join_descriptors,
)
from gadget.services.existing import ExistingGadget
from tests.unit.cli.fake_machine import make_tree

USB_IDS = "1d6b  Linux Foundation\n\t0104  Multifunction Composite Gadget\nC ff  Vendor Specific Class\n"

DEVICE = DeviceDescriptor(0x0200, 0, 0, 0, 64, 0x1D6B, 0x0104, 0x0100, 1, 2, 0, 2)


def configuration(value: int, *interfaces: InterfaceDescriptor) -> bytes:
    body = join_descriptors(interfaces)
    return ConfigurationDescriptor(9 + len(body), 1, value, 3 + value).to_bytes() + body


def interface(number: int, setting: int, string: int) -> InterfaceDescriptor:
    return InterfaceDescriptor(number, setting, 0, 0xFF, string=string)


DATA = (
    DEVICE.to_bytes()
    + configuration(1, interface(0, 0, 10))
    + configuration(2, interface(0, 0, 11), interface(0, 1, 12), interface(1, 0, 13))
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A device as sysfs has it, with its second configuration, and the second setting of its first interface."""
    device = tmp_path / "7-1"
    device.mkdir()
    (device / "descriptors").write_bytes(DATA)
    attributes = {"manufacturer": "gadget", "configuration": "Second", "bConfigurationValue": "2", "busnum": "7"}
    attributes |= {"devnum": "12", "idVendor": "1d6b", "idProduct": "0104"}
    for name, text in attributes.items():
        (device / name).write_text(f"{text}\n")
    for number, setting, text in ((0, 1, "Other setting"), (1, 0, "Second interface")):
        place = device / f"7-1:2.{number}"
        place.mkdir()
        (place / "bAlternateSetting").write_text(f"{setting:2}\n")
        (place / "interface").write_text(f"{text}\n")
    return device


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(["show", "--ids", "/dev/null", *arguments]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def plain(data: bytes, strings: dict[int, str] | None = None) -> str:
    return describe(data, names=Names(), string=strings)


def test_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "descriptors"
    file.write_bytes(DATA)
    assert shown(capsys, str(file)) == plain(DATA)


def test_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(DATA)))
    assert shown(capsys, "-") == plain(DATA)


def test_a_device_of_the_host(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By name or by path, with the strings that sysfs has: each is of one number, and most numbers have none there."""
    strings = {1: "gadget", 5: "Second", 12: "Other setting", 13: "Second interface"}
    expected = "Bus 007 Device 012: ID 1d6b:0104\n" + plain(DATA, strings)
    assert shown(capsys, str(folder)) == expected
    monkeypatch.setattr(command, "SYSFS", folder.parent)
    assert shown(capsys, "7-1") == expected


def test_a_device_of_a_newer_kernel(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bos_descriptors").write_bytes(bytes.fromhex("050f0c000107100202000000"))
    assert "\nBinary Object Store Descriptor:\n" in shown(capsys, str(folder))


def test_a_device_that_is_half_gone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for attribute in (*folder.glob("*-*/*"), *folder.iterdir()):
        if attribute.is_file() and attribute.name != "descriptors":
            attribute.unlink()
    assert shown(capsys, str(folder)) == "Bus 000 Device 000: ID 0:0\n" + plain(DATA)


def test_names(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = tmp_path / "usb.ids"
    ids.write_text(USB_IDS)
    assert cli.main(["show", "--ids", str(ids), str(folder)]) == 0
    named = capsys.readouterr().out
    assert named.startswith("Bus 007 Device 012: ID 1d6b:0104 Linux Foundation Multifunction Composite Gadget\n")
    assert "\n      bInterfaceClass       255 Vendor Specific Class\n" in named
    monkeypatch.setattr(command, "USB_IDS", (tmp_path / "nothing", ids))
    assert cli.main(["show", str(folder)]) == 0
    assert capsys.readouterr().out == named
    monkeypatch.setattr(command, "USB_IDS", ())
    assert cli.main(["show", str(folder)]) == 0
    assert "\n      bInterfaceClass       255 Vendor Specific\n" in capsys.readouterr().out


def test_a_gadget_at_each_speed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "device.py"
    file.write_text("from gadget import BulkIn, Function\nclass Source(Function):\n    tx = BulkIn()\n")
    text = shown(capsys, f"{file}:Source")
    headings = [line for line in text.splitlines() if line.startswith("source at ")]
    where = "(the controller chooses the endpoint addresses):"
    assert headings == [f"source at {speed} {where}" for speed in ("full-speed", "high-speed", "super-speed")]
    sizes = [line.split()[1:] for line in text.splitlines() if "wMaxPacketSize" in line]
    assert sizes == [[f"0x{size:04x}", "1x", str(size), "bytes"] for size in (64, 512, 1024)]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("9-9", "there is no gadget, no file and no USB device '9-9'; devices of this host: 7-1"),
        ("{}/nothing", "there is no gadget, no file and no USB device 'nothing'; devices of this host: 7-1"),
        ("{}/nothing.py", "there is no file '{}/nothing.py'"),
    ],
)
def test_what_is_not_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], target: str, message: str
) -> None:
    monkeypatch.setattr(command, "SYSFS", folder.parent)
    assert cli.main(["show", target.format(folder)]) == 2
    assert capsys.readouterr().err == f"gadget show: {message.format(folder)}\n"


def test_a_list_of_names_that_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show", "--ids", str(folder / "none"), str(folder)]) == 2
    assert capsys.readouterr().err == f"gadget show: cannot read {folder}/none: No such file or directory\n"


def test_a_reader_that_has_gone(folder: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command_line = [sys.executable, "-m", "gadget", "show", str(folder)]
    try:
        done = subprocess.run(command_line, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_the_kernels_own_functions_present_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "device_to_show.py"
    file.write_text("from gadget import Gadget\nfrom gadget.kernel_functions import Acm\ng = Gadget(Acm(), name='g')\n")
    assert cli.main(["show", str(file)]) == 0
    assert "acm.0: 2 interfaces with the kernel's own descriptors" in capsys.readouterr().out


def test_a_gadget_in_configfs(tmp_path: Path) -> None:
    gadget = Gadget(Acm(), Ncm(qmult=7), name="g", product="Thing")
    make_tree(tmp_path, plan(gadget.model))
    shown = "".join(command.existing_texts(ExistingGadget("g", tmp_path), Names()))
    assert shown.startswith("g: bound to no controller\n  idVendor              0x1d6b\n")
    assert "  strings/0x409/product               Thing\n" in shown
    assert "  ncm.0\n    write qmult = 7\n" in shown
