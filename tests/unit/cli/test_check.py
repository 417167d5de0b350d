from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from gadget import Association, BulkIn, BulkOut, Configuration, Function, Gadget, Interface, InterruptIn, cli
from gadget.cli import check as command
from gadget.cli.anticipated import anticipated
from gadget.cli.checking import ERROR, NOTE, WARNING, Report, check_subject
from gadget.cli.subject import Subject
from gadget.composition import AnyFunction
from gadget.configfs.udc import Controller
from gadget.kernel_functions import Acm, Hid, Lun, MassStorage, Mjpeg, Ncm, Obex, OtherFunction, Uac2, Uvc, VideoFrame
from gadget.protocol.constants import Speed
from gadget.protocol.descriptors import Descriptor
from gadget.services.boards import BOARDS


class Echo(Function):
    interface_string = "Echo"
    rx = BulkOut()
    tx = BulkIn()


class Report8(Function):
    tx = InterruptIn(interval=0.01)


class Modem(Function):
    association = Association(0xFF)
    control = Interface()
    data = Interface()
    tx = BulkIn()


class Wrong(Function):
    """Numbers its interface otherwise than it is told to."""

    tx = BulkIn()

    def descriptors(self, first_interface: int) -> dict[Speed, list[Descriptor]]:
        return {speed: list(each) for speed, each in super().descriptors(first_interface + 1).items()}


def subject(gadget: Gadget) -> Subject:
    return Subject(gadget.model, dict(zip(gadget.model.instances, gadget.functions, strict=True)), gadget)


def checked(*functions: AnyFunction, board: str | None = None, **fields: object) -> Report:
    gadget = Gadget(*functions, name="g", **fields)  # type: ignore[arg-type]
    return check_subject(subject(gadget), BOARDS[board] if board else None)


def levels(report: Report) -> list[str]:
    return [finding.level for finding in report.findings]


def said(report: Report, level: str) -> str:
    return "\n".join(finding.text for finding in report.findings if finding.level == level)


def test_nothing_is_wrong() -> None:
    report = checked(Echo(), board="raspberrypi", vendor_id=0x1209)
    assert report.findings == []
    assert report.speeds == [Speed.FULL, Speed.HIGH], "the board has no SuperSpeed"
    assert [grant.address for grant in report.budgets[1].grants] == [0x01, 0x81]


def test_without_a_board_there_is_a_demand_and_no_budget() -> None:
    report = checked(Echo(), Acm(), vendor_id=0x1209)
    assert report.speeds == [Speed.FULL, Speed.HIGH, Speed.SUPER]
    assert len(report.demands[1]) == 5
    assert report.budgets == {}


def test_a_function_that_numbers_its_interfaces_wrongly() -> None:
    assert "bInterfaceNumber" in said(checked(Wrong()), ERROR)


def test_more_endpoints_than_there_are() -> None:
    report = checked(*(Echo() for _ in range(5)), board="allwinner-h3")
    assert report.is_broken
    assert said(report, ERROR).count("allwinner-h3 has no bulk") == 2


def test_an_address_that_is_given_twice() -> None:
    report = checked(*(Echo() for _ in range(5)), board="dummy_hcd")
    assert "dummy_hcd gives the address 0x81 out twice" in said(report, ERROR)


def test_sound_on_a_controller_without_isochronous_endpoints() -> None:
    assert "no isochronous" in said(checked(Uac2(), board="dummy_hcd"), ERROR)


def test_an_endpoint_that_binds_and_that_no_fifo_is_left_for() -> None:
    formats = (Mjpeg(frames=(VideoFrame(width=640, height=480),)),)
    large = checked(Uvc(formats=formats, streaming_maxpacket=3072), board="raspberrypi")
    assert "no transmit FIFO of 3072 bytes left for its isochronous IN endpoint" in said(large, ERROR)
    assert said(checked(Uvc(formats=formats, streaming_maxpacket=2048), board="raspberrypi"), ERROR) == ""
    assert said(checked(*(Echo() for _ in range(7)), board="raspberrypi"), ERROR) == ""


def test_a_function_whose_endpoints_nobody_knows() -> None:
    report = checked(OtherFunction(name="new"), vendor_id=0x1209)
    assert levels(report) == [NOTE]
    assert report.demands == {1: []}


def test_too_many_of_a_kind() -> None:
    keyboards = [Hid(report_descriptor=b"x", report_length=8) for _ in range(5)]
    assert "5 of hid, and the kernel has 4" in said(checked(*keyboards), ERROR)
    assert said(checked(*keyboards[:4]), ERROR) == ""


def test_what_somebody_will_be_sorry_for() -> None:
    report = checked(MassStorage(luns=(Lun(file="/nowhere/disk.img"),)), vendor_id=0x1209)
    assert levels(report) == [WARNING, WARNING]
    assert "12 hexadecimal digits" in said(report, WARNING)
    assert "no file /nowhere/disk.img" in said(report, WARNING)
    report = checked(Modem(), device_class=(0, 0, 0), max_power_ma=900)
    assert "associations" in said(report, WARNING)
    assert "900 mA are for SuperSpeed" in said(report, NOTE)


def test_devices_that_a_host_may_not_see() -> None:
    camera = Uvc(formats=(Mjpeg(frames=(VideoFrame(width=640, height=480),)),))
    assert "until a program listens" in said(checked(camera), NOTE)
    assert "invisible to the host for good" in said(checked(Obex()), WARNING)


def test_several_configurations_each_have_a_budget() -> None:
    port = Acm()
    gadget = Gadget(configurations=[Configuration([port, Echo()]), Configuration([port])], name="g")
    report = check_subject(subject(gadget), BOARDS["raspberrypi"])
    assert [len(report.budgets[number].grants) for number in (1, 2)] == [5, 3]


def text(*functions: AnyFunction, board: str | None = None) -> str:
    gadget = Gadget(*functions, name="g", product="Thing")
    found = subject(gadget)
    return "".join(anticipated(found, check_subject(found, BOARDS[board] if board else None), Speed.HIGH))


def test_what_a_host_will_see() -> None:
    shown = text(Acm(), Echo(), board="dummy_hcd")
    assert shown.startswith("g at high-speed\nDevice Descriptor:\n")
    assert "bcdUSB               2.10" in shown, "dummy_hcd can do SuperSpeed (tests/usb/test_enumeration.py)"
    assert "bcdUSB               2.00" in text(Echo(), board="raspberrypi")
    assert "iProduct                2 Thing" in shown
    assert "bNumInterfaces          3" in shown
    assert "acm.0: 2 interfaces with the kernel's own descriptors: bulk IN, bulk OUT, interrupt IN" in shown
    assert "bInterfaceNumber        2" in shown
    assert "iInterface              4 Echo" in shown
    assert "bEndpointAddress     0x07  EP 7 OUT" in shown
    assert "come on top of wTotalLength" in shown


def test_addresses_without_a_board_are_counted() -> None:
    shown = text(Echo())
    assert "bEndpointAddress     0x01  EP 1 OUT" in shown
    assert "on top of" not in shown


GOOD = "from gadget import *\nclass Echo(Function):\n    rx = BulkOut()\n    tx = BulkIn()\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "device_to_check.py"
    path.write_text(GOOD)
    return path


def run(arguments: Iterable[object], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    status = cli.main(["check", *map(str, arguments)])
    return status, capsys.readouterr().out


def test_the_command(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out = run([file, "--board", "raspberrypi"], capsys)
    assert status == 0
    assert "echo at full-speed\n" in out
    assert "echo at high-speed\n" in out
    assert "ffs.echo   bulk        OUT         ep1out" in out
    assert "left: ep2in ep2out" in out
    assert out.endswith("it breaks no rule\n")
    status, out = run([file, "--summary"], capsys)
    assert "Device Descriptor" not in out
    assert "no board was named" in out


def test_the_command_for_programs(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out = run([file, "--board", "dummy_hcd", "--json"], capsys)
    found = json.loads(out)
    assert (status, found["board"], found["speeds"]) == (0, "dummy_hcd", ["full-speed", "high-speed", "super-speed"])
    assert found["endpoints"]["1"][0] == {
        "function": "ffs.echo",
        "direction": "OUT",
        "transfers": "bulk",
        "endpoint": "ep2out-bulk",
        "address": 2,
    }
    assert json.loads(run([file, "--json"], capsys)[1])["endpoints"]["1"][0].get("address") is None
    assert list(found["descriptors"]) == found["speeds"]
    assert "wMaxPacketSize     0x0200  1x 512 bytes" in found["descriptors"]["high-speed"]
    assert "descriptors" not in json.loads(run([file, "--json", "--summary"], capsys)[1])


def test_a_declaration_that_breaks_a_rule(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(GOOD + "g = Gadget(Echo(), vendor_id=0x12345)\n")
    status, out = run([file], capsys)
    assert status == 1
    assert "error: the declaration: idVendor = 74565: must be from 0" in out
    assert "1 rule broken" in out
    status, out = run([file, "--json"], capsys)
    assert (status, len(json.loads(out)["findings"])) == (1, 1)


def test_a_scheme(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "g.toml"
    path.write_text('name = "g"\nfunctions = ["acm.0", "ncm.0"]\n')
    status, out = run([path, "-s", "--board", "raspberrypi"], capsys)
    assert status == 0
    assert "ncm.0" in out
    assert cli.main(["check", str(path), "--try"]) == 2
    assert "--try is for gadgets in Python files" in capsys.readouterr().err


def test_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(tmp_path / "nowhere.py")]) == 2
    assert cli.main(["check", str(tmp_path / "nowhere.py"), "--board", "abacus"]) == 2
    assert "these are: raspberrypi" in capsys.readouterr().err


def test_the_board_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    controllers = [Controller("a", "", driver="dwc2"), Controller("b", "", driver="dummy_udc")]
    monkeypatch.setattr(command, "list_controllers", lambda: controllers)
    assert command._board_here(None) is BOARDS["raspberrypi"]
    assert command._board_here("b") is BOARDS["dummy_hcd"]
    assert command._board_here("c") is None


def test_ncm_is_an_interface_for_two() -> None:
    assert checked(Ncm(), Echo()).first == {"ffs.g-1-echo": 2}
