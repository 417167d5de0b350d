from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from gadget import cli
from gadget.cli import doctor
from gadget.cli.checkup import BROKEN, LEGACY, NOTE, OK, Check, examine
from gadget.cli.machine import Machine
from tests.unit.cli.fake_machine import make_controller, make_machine

MODULES = {"lib/modules/6.1.0-test/modules.dep": "kernel/libcomposite.ko: a.ko\nkernel/usb_f_fs.ko.xz:\n"}
PI = {"proc/device-tree/model": "Raspberry Pi Zero 2 W Rev 1.0\0"}


def checks(machine: Machine) -> dict[str, list[Check]]:
    found: dict[str, list[Check]] = {}
    for check in examine(machine):
        found.setdefault(check.name, []).append(check)
    return found


def healthy(root: Path, files: dict[str, str] | None = None, **given: object) -> Machine:
    make_controller(root / "sys/class/udc", "a.0")
    (root / "sys/kernel/config/usb_gadget").mkdir(parents=True)
    return make_machine(root, {**MODULES, **(files or {})}, **given)  # type: ignore[arg-type]


def test_a_machine_on_which_a_gadget_could_run(tmp_path: Path) -> None:
    found = examine(healthy(tmp_path))
    assert {check.status for check in found} == {OK}
    assert [check.mend for check in found] == [""] * len(found)


def test_a_machine_that_has_nothing(tmp_path: Path) -> None:
    found = checks(make_machine(tmp_path, {}, uid=1000))
    assert (found["modules"][0].status, found["configfs"][0].status) == (BROKEN, NOTE)
    assert found["controllers"][0].status == BROKEN
    assert "modprobe dummy_hcd" in found["controllers"][0].mend
    assert found["permissions"][0].mend == "sudo gadget run FILE"


def test_an_old_kernel(tmp_path: Path) -> None:
    """gadget run refuses it (gadget.functionfs.mount)."""
    machine = healthy(tmp_path, {"proc/sys/kernel/osrelease": "5.10.110-v7+"})
    assert checks(machine)["kernel"][0].status == BROKEN


@pytest.mark.parametrize(
    ("files", "mend"),
    [
        ({"etc/os-release": "NAME=U\nID=ubuntu\n"}, "sudo apt install linux-modules-extra-6.1.0-test "),
        ({"etc/os-release": 'ID="debian"\n'}, "sudo apt install linux-image-$(dpkg --print-architecture) "),
        ({"etc/os-release": "ID=other\n"}, "gadget vm "),
        ({"lib/modules/6.1.1-test/modules.dep": ""}, "sudo reboot "),
    ],
)
def test_a_kernel_without_the_modules(tmp_path: Path, files: dict[str, str], mend: str) -> None:
    (found,) = checks(make_machine(tmp_path, files))["modules"]
    assert found.status == BROKEN
    assert found.mend.startswith(mend)


def test_modules_that_are_loaded_or_built_in(tmp_path: Path) -> None:
    files = {
        "lib/modules/6.1.0-test/modules.builtin": "kernel/drivers/usb/gadget/libcomposite.ko\n",
        "proc/modules": "usb_f_fs 16384 0 - Live 0x0\n",
    }
    assert checks(make_machine(tmp_path, files))["modules"][0].status == OK


def test_controllers_that_are_held(tmp_path: Path) -> None:
    machine = make_machine(tmp_path, MODULES)
    make_controller(tmp_path / "sys/class/udc", "a.0", function="g_ether")
    tree = tmp_path / "sys/kernel/config/usb_gadget/g"
    tree.mkdir(parents=True)
    (tree / "UDC").write_text("b.0\n")
    make_controller(tmp_path / "sys/class/udc", "b.0")
    first, second = checks(machine)["controllers"]
    assert (first.status, second.status) == (BROKEN, BROKEN)
    assert second.mend == "sudo gadget unbind g"
    make_controller(tmp_path / "sys/class/udc", "c.0")
    assert [check.status for check in checks(machine)["controllers"]] == [NOTE, NOTE, OK]


def test_legacy_modules(tmp_path: Path) -> None:
    files = {
        "proc/modules": "g_ether 16384 0 - Live 0x0\nlibcomposite 1 1 g_ether Live 0x0\n",
        "boot/firmware/cmdline.txt": "root=/dev/mmcblk0p2 modules-load=dwc2,g_ether quiet\n",
    }
    loaded, at_boot = checks(healthy(tmp_path, files))["legacy modules"]
    assert (loaded.status, loaded.mend) == (BROKEN, "sudo modprobe -r g_ether")
    assert at_boot.status == NOTE
    assert "/boot/firmware/cmdline.txt loads g_ether" in at_boot.text
    assert len(set(LEGACY)) == len(LEGACY)


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("boot/firmware/cmdline.txt", "a modules-load=dwc2,g_ether,x b\n", "a modules-load=dwc2,x b\n"),
        ("etc/modules", "# g_zero\ndwc2\ng_ether host_addr=a\n", "# g_zero\ndwc2\n"),
        ("etc/modules-load.d/usb.conf", "g_ether\n", ""),
    ],
)
def test_legacy_modules_at_boot_and_what_mends_that(tmp_path: Path, path: str, before: str, after: str) -> None:
    """The command is run as it is said, but for sudo and on a copy."""
    found = [check for check in checks(healthy(tmp_path, {path: before}))["legacy modules"] if check.status != OK]
    assert [check.text for check in found] == [f"/{path} loads g_ether at every boot"]
    words = shlex.split(found[0].mend.removeprefix("sudo "))
    subprocess.run([*words[:-1], str(tmp_path / path)], check=True)
    assert (tmp_path / path).read_text() == after


def test_rpi_usb_gadget(tmp_path: Path) -> None:
    machine = healthy(tmp_path, {"usr/bin/rpi-usb-gadget": ""})
    assert checks(machine)["rpi-usb-gadget"][0].mend == ""
    make_controller(tmp_path / "sys/class/udc", "b.0", function="g_ether")
    assert checks(machine)["rpi-usb-gadget"][0].mend == "sudo rpi-usb-gadget off"


def test_a_virtual_environment_that_sudo_does_not_see(tmp_path: Path) -> None:
    machine = healthy(tmp_path, uid=1000, prefix=Path("/home/me/.venv"), is_virtual_environment=True)
    found = checks(machine)
    assert found["permissions"][0].mend == "sudo /home/me/.venv/bin/gadget run FILE"
    assert found["virtual environment"][0].status == NOTE


@pytest.mark.parametrize(
    ("lines", "with_controller", "status", "words"),
    [
        ("dtparam=audio=on\n", False, BROKEN, "dtoverlay=dwc2,dr_mode=peripheral"),
        ("# dtoverlay=dwc2\n", False, BROKEN, "tee -a /boot/firmware/config.txt"),
        ("[all]\ndtoverlay=dwc2,dr_mode=host\n", False, BROKEN, "s/^dtoverlay=dwc2,dr_mode=host/"),
        ("dtoverlay=dwc2\n[cm5]\ndtoverlay=dwc2,dr_mode=host\n", True, OK, ""),
        ("[cm5]\ndtoverlay=dwc2,dr_mode=host\n\n[all]\n", False, BROKEN, "[all]\\ndtoverlay=dwc2,dr_mode=peripheral"),
        ("[pi02]\ndtoverlay=dwc2\notg_mode=1\n", False, BROKEN, "s/^otg_mode=1/#&/"),
        ("dtoverlay=dwc2\n", False, BROKEN, "sudo reboot"),
        ("dtoverlay=dwc2,dr_mode=peripheral\n", True, OK, ""),
        ("dtparam=audio=on\n", True, OK, ""),
    ],
)
def test_the_overlay_of_a_pi(tmp_path: Path, lines: str, with_controller: bool, status: str, words: str) -> None:
    files = {**PI, "boot/firmware/config.txt": lines}
    machine = healthy(tmp_path, files) if with_controller else make_machine(tmp_path, {**MODULES, **files})
    (found,) = checks(machine)["dwc2 overlay"]
    assert found.status == status
    assert words in found.mend


def test_a_pi_without_a_file(tmp_path: Path) -> None:
    assert make_machine(tmp_path, PI).boot_configuration() == ("/boot/firmware/config.txt", [])


def over_the_cable(root: Path, environment: dict[str, str], files: dict[str, str]) -> Machine:
    device = root / "sys/devices/platform/soc/a.usb/gadget.0"
    (device / "net/usb0").mkdir(parents=True)
    (root / "sys/class/net/usb0").mkdir(parents=True)
    (root / "sys/class/net/usb0/device").symlink_to(device)
    (root / "sys/class/net/eth0").mkdir()
    addresses = f"{'fe80' + '0' * 27 + '1'} 02 40 20 80 usb0\n{'fe80' + '0' * 27 + '2'} 03 40 20 80 eth0\n"
    return healthy(root, {"proc/net/if_inet6": addresses, **files}, environment=environment)


def test_an_ssh_connection_over_the_cable(tmp_path: Path) -> None:
    machine = over_the_cable(tmp_path, {"SSH_CONNECTION": "fe80::9%usb0 5 fe80::1%usb0 22"}, {})
    assert checks(machine)["SSH"][0].status == BROKEN


def test_an_ssh_connection_by_another_way_which_sudo_has_forgotten(tmp_path: Path) -> None:
    files = {
        "proc/self/stat": "30 (gadget) S 20 1",
        "proc/20/stat": "20 (sudo) S 10 1",
        "proc/20/environ": "A=1\0",
        "proc/10/environ": "SSH_CONNECTION=fe80::9 5 fe80::2 22\0B=2\0",
    }
    assert checks(over_the_cable(tmp_path, {}, files))["SSH"][0].status == OK


def test_no_ssh_connection(tmp_path: Path) -> None:
    assert "SSH" not in checks(over_the_cable(tmp_path, {}, {"proc/self/stat": "30 (a b) S 1 1"}))


@pytest.mark.parametrize(("status", "code"), [(OK, 0), (NOTE, 0), (BROKEN, 1)])
def test_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], status: str, code: int
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda machine: [Check("kernel", status, "so it is", "do this")])
    assert cli.main(["doctor"]) == code
    out = capsys.readouterr().out
    assert "kernel  so it is\n" in out
    assert "do this\n" in out
    assert ("could run here now" in out) == (code == 0)
    assert cli.main(["doctor", "--json"]) == code
    assert json.loads(capsys.readouterr().out) == [
        {"name": "kernel", "status": status, "text": "so it is", "mend": "do this"}
    ]
    with pytest.raises(SystemExit, match="2"):
        cli.main(["doctor", "--cure"])


def test_this_machine_has_addresses() -> None:
    assert ("lo", "127.0.0.1") in list(Machine().addresses())
