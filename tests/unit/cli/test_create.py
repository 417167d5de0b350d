from __future__ import annotations

from pathlib import Path

import pytest

from gadget import cli
from gadget.cli.create import parse_function
from gadget.errors import ConfigurationError, DescriptorError, UsageError
from gadget.kernel_functions import Acm, Hid, Lun, MassStorage, Ncm, OtherFunction


def test_functions_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "report").write_bytes(b"\x05\x01")
    assert parse_function("acm") == Acm()
    assert parse_function("acm.GS0,console=1") == Acm(instance="GS0", console=True)
    assert parse_function("ncm,qmult=7") == Ncm(qmult=7)
    assert parse_function("acm,console=off") == Acm(console=False)
    assert parse_function("ncm,ifname=net%d") == Ncm(ifname="net%d")
    assert parse_function("mass_storage,lun.0/file=,lun.0/removable=yes") == (
        MassStorage(luns=(Lun(removable=True),), attributes={"lun.0/file": b""})
    )
    assert parse_function(f"hid,report_length=8,report_desc=@{tmp_path}/report") == (
        Hid(report_descriptor=b"\x05\x01", report_length=8)
    )
    assert parse_function("mass_storage,lun.2/removable=1") == MassStorage(luns=(Lun(), Lun(), Lun(removable=True)))
    luns = (Lun(file="/a,b.img", ro=True), Lun(removable=True))
    text = "mass_storage,lun.0/file=/a,,b.img,lun.0/ro=1,lun.1/removable=1"
    assert parse_function(text) == MassStorage(luns=luns)
    assert parse_function("new,x=1") == OtherFunction(name="new", attributes={"x": b"1"})


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("acm,console", UsageError),
        ("acm,console=maybe", DescriptorError),
        ("uac2,c_srate=fast", DescriptorError),
        ("uvc,streaming/uncompressed/u/small/wWidth=640", DescriptorError),
        ("ncm,dev_addr=x", DescriptorError),
        ("ncm,ifname=usb0", DescriptorError),
        ("mass_storage,lun.0/file=disk.img", DescriptorError),
        ("mass_storage,lun.0/ro=perhaps", DescriptorError),
        ("hid,report_length=8", DescriptorError),
        ("hid,report_desc=x", DescriptorError),
        ("a b", ConfigurationError),
    ],
)
def test_what_is_none(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        parse_function(text)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="cannot read /nowhere"):
        parse_function("hid,report_desc=@/nowhere")


def test_what_would_be_done_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["create", "g", "acm", "acm", "ncm", "--vendor-id", "0x1209", "--product", "Port", "--dry-run"]
    assert cli.main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "mkdir g"
    assert "write g/idVendor = 0x1209" in lines
    assert "write g/bDeviceClass = 0xef" in lines
    assert "write g/strings/0x409/product = Port" in lines
    assert lines[-3:] == [
        "link g/configs/c.1/acm.0 -> g/functions/acm.0",
        "link g/configs/c.1/acm.1 -> g/functions/acm.1",
        "link g/configs/c.1/ncm.0 -> g/functions/ncm.0",
    ]


def test_a_functionfs_is_not_bound_before_its_program_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["create", "g", "ffs.adb"]) == 2
    assert "--no-bind" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--vendor-id", "--product-id", "--max-power"])
def test_a_number_that_is_none(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["create", "g", "acm", option, "12ab"])
    assert f"argument {option}: '12ab' is no number" in capsys.readouterr().err
