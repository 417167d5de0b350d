"""On ordinary folders that stand in for configfs, sysfs and /dev."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

import pytest

from gadget.errors import KernelError
from gadget.kernel_functions import SoundCard
from gadget.services.function_folder import FunctionFolder


class Places:
    def __init__(self, top: Path) -> None:
        self.top = top
        self.tree = top / "usb_gadget/g"
        self.sysfs = top / "sys"
        self.dev = top / "dev"
        (self.tree / "functions").mkdir(parents=True)
        (self.tree / "UDC").write_text("udc.0\n")
        self.dev.mkdir()
        self.device = self.sysfs / "devices/platform/udc.0"
        (self.sysfs / "class/udc").mkdir(parents=True)
        (self.device / "udc/udc.0").mkdir(parents=True)
        (self.device / "udc/udc.0/device").symlink_to(self.device)
        (self.sysfs / "class/udc/udc.0").symlink_to(self.device / "udc/udc.0")

    def function(self, instance: str, bound: Sequence[str] | None = None, **attributes: str) -> FunctionFolder:
        folder = self.tree / "functions" / instance
        folder.mkdir(exist_ok=True)
        for name, value in attributes.items():
            (folder / name).write_text(value + "\n")
        return FunctionFolder(self.tree, instance, bound or [instance], sysfs=self.sysfs, dev=self.dev)

    def node(self, name: str) -> Path:
        path = self.dev / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        return path


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


def refused(what: object) -> int | None:
    assert callable(what)
    with pytest.raises(KernelError) as caught:
        what()
    return caught.value.errno


def test_a_terminal(places: Places) -> None:
    function = places.function("acm.0", port_num="3")
    assert refused(function.terminal) == errno.ENODEV
    node = places.node("ttyGS3")
    assert function.terminal() == node
    assert refused(places.function("acm.1").terminal) == errno.ENODEV


def test_a_character_device_by_its_number(places: Places) -> None:
    function = places.function("hid.0", dev="244:1")
    assert refused(function.character_device) == errno.ENODEV
    made = places.device / "gadget.0/hidg/hidg1"
    made.mkdir(parents=True)
    (places.sysfs / "dev/char").mkdir(parents=True)
    (places.sysfs / "dev/char/244:1").symlink_to(made)
    node = places.node("hidg1")
    assert function.character_device() == node


@pytest.mark.parametrize("name", ["(unnamed net_device)", "usb%d"])
def test_a_network_interface_that_is_not_there_yet(places: Places, name: str) -> None:
    assert refused(places.function("ncm.0", ifname=name).network_interface) == errno.ENODEV
    assert places.function("ncm.0", ifname="usb1").network_interface() == "usb1"


def test_sound_cards_in_the_order_in_which_they_were_made(places: Places) -> None:
    order = ["midi.b", "acm.0", "midi.a"]
    second, first = places.function("midi.a", order), places.function("midi.b", order)
    assert refused(first.sound_card) == errno.ENODEV
    for number, name in ((7, "First"), (1, "Second")):
        card = places.device / f"gadget.0/sound/card{number}"
        for node in (f"controlC{number}", f"midiC{number}D0"):
            (card / node).mkdir(parents=True)
            (card / node / "uevent").write_text(f"MAJOR=116\nDEVNAME=snd/{node}\n")
        (card / "midi").mkdir()
        (card / "midi/uevent").write_text(f"MAJOR=14\nDEVNAME=midi{number}\n")  # of the emulation of OSS
        (card / "id").write_text(name + "\n")
        (card / "power").mkdir()
    made = sorted(places.device.glob("gadget*/sound/card*"), key=lambda path: path.stat().st_ino)
    snd = places.dev / "snd"
    expected = [
        SoundCard(int(path.name[4:]), (path / "id").read_text().strip(), (snd / f"controlC{n}", snd / f"midiC{n}D0"))
        for path in made
        for n in [path.name[4:]]
    ]
    assert [first.sound_card(), second.sound_card()] == expected


def test_more_devices_than_functions_belong_to_nobody_known(places: Places) -> None:
    for number in range(2):
        (places.device / f"gadget.0/video4linux/video{number}").mkdir(parents=True)
        places.node(f"video{number}")
    assert refused(places.function("uvc.0").video_device) == errno.ENOTUNIQ
    assert places.function("uvc.0", ["uvc.0", "uvc.1"]).video_device().name.startswith("video")


def test_the_only_printer(places: Places) -> None:
    function = places.function("printer.0")
    assert refused(function.printer_device) == errno.ENODEV
    made = places.sysfs / "devices/virtual/usb_printer_gadget/g_printer2"
    made.mkdir(parents=True)
    (places.sysfs / "class/usb_printer_gadget").mkdir()
    (places.sysfs / "class/usb_printer_gadget/g_printer2").symlink_to(made)
    node = places.node("g_printer2")
    assert function.printer_device() == node


def test_attributes(places: Places) -> None:
    function = places.function("acm.0", port_num="3")
    assert function.read("port_num") == b"3\n"
    assert function.read("console") is None
    function.write("port_num", b"4")
    assert function.read("port_num") == b"4\n"  # an ordinary file keeps what was behind it
    with pytest.raises(KernelError, match="cannot write '1' to") as caught:
        function.write("console", b"1")
    assert caught.value.errno == errno.ENOENT
    (function.path / "lun.0").mkdir()
    assert function.folders("") == ["lun.0"]
    assert function.folders("nothing") == []
