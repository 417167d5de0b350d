from __future__ import annotations

import itertools
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gadget.errors import UsageError
from gadget.vm import boot


def plan(**changes: object) -> boot.GuestPlan:
    values: dict[str, Any] = {
        "release": "6.1.0-9-amd64",
        "modules": Path("/cache/k/lib/modules/6.1.0-9-amd64"),
        "folder": Path("/home/me/my project"),
        "cached": (),
        "python": Path("/home/me/v/bin/python"),
        "package_root": Path("/home/me/src"),
    }
    return boot.GuestPlan(**{**values, **changes})


@pytest.mark.parametrize(
    ("speed", "expected"),
    [
        ("full", ["is_super_speed=0", "is_high_speed=0", "num=1"]),
        ("high", ["is_super_speed=0", "is_high_speed=1", "num=1"]),
        ("super", ["is_super_speed=1", "is_high_speed=1", "num=1"]),
    ],
)
def test_each_speed_is_the_driver_s_own_options(speed: str, expected: list[str]) -> None:
    assert boot.dummy_hcd_options(speed, 1) == expected


@pytest.mark.parametrize(("speed", "controllers"), [("low", 1), ("super", 0), ("super", 33)])
def test_what_the_driver_does_not_take_is_refused(speed: str, controllers: int) -> None:
    with pytest.raises(UsageError):
        boot.dummy_hcd_options(speed, controllers)


def test_a_comma_in_a_path_does_not_end_the_option() -> None:
    arguments = boot.export("gadget.folder", Path("/a,b"), readonly=False)
    assert "path=/a,,b," in arguments[1]
    assert "readonly" not in arguments[1]
    assert arguments[1].split("id=")[1].split(",")[0] == arguments[3].split("fsdev=")[1].split(",")[0]


def test_both_exports_of_the_root_are_readonly_and_the_folder_is_not() -> None:
    arguments = boot.qemu_arguments(
        boot.ARCHITECTURES["x86_64"],
        accelerator="tcg",
        kernel=Path("/k"),
        initramfs=Path("/i"),
        append="quiet",
        memory="1G",
        cpus=3,
        control=7,
        console=8,
        folder=Path("/shared"),
    )
    exports = [value for flag, value in itertools.pairwise(arguments) if flag == "-fsdev"]
    assert [("path=/," in value, "readonly=on" in value) for value in exports] == [
        (True, True),
        (True, True),
        (False, False),
    ]
    assert arguments[arguments.index("-accel") + 1] == "tcg"
    assert arguments[arguments.index("-smp") + 1] == "3"


def test_init_is_one_quoted_argument_within_the_kernel_s_limit() -> None:
    append = boot.kernel_arguments(
        boot.ARCHITECTURES["x86_64"], Path("/bin/busybox"), Path("/tmp/a folder/" + "x" * 100 + "/init")
    )
    assert append.count('"') == 2
    assert append.endswith("/init'\"")
    assert len(append) < 2048  # COMMAND_LINE_SIZE, arch/x86/include/asm/setup.h


def test_the_other_processors_start_when_the_kernel_has_found_its_devices() -> None:
    append = boot.kernel_arguments(boot.ARCHITECTURES["x86_64"], Path("/bin/busybox"), Path("/tmp/init"))
    assert "maxcpus=1" in append.split(" init=")[0].split()
    assert "cpu[1-9]*/online" in boot.guest_script(plan())


@pytest.mark.parametrize("path", ["/tmp/it's/init", '/tmp/a"b/init'])
def test_a_quote_in_a_path_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="quote"):
        boot.kernel_arguments(boot.ARCHITECTURES["x86_64"], Path("/bin/busybox"), Path(path))


@pytest.mark.parametrize("shell", ["sh", "busybox"])
def test_the_script_is_valid_shell_whatever_the_folder_is_called(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.fail(f"{shell} is part of the set-up: run scripts/setup")
    script = boot.guest_script(plan(folder=Path('/home/it\'s $(reboot); "x"'), cached=(Path("/home/it's/.venv"),)))
    command = [shell, "sh", "-n"] if shell == "busybox" else [shell, "-n"]
    subprocess.run(command, input=script, text=True, check=True)


def test_the_python_environment_inside_the_folder_is_bound_back_read_only() -> None:
    script = boot.guest_script(plan(cached=(Path("/home/me/my project/.venv"),)))
    lines = script.splitlines()
    mounted = next(number for number, line in enumerate(lines) if "gadget.folder" in line)
    assert lines[mounted + 1] == (
        "mount --bind '/run/lower/home/me/my project/.venv' '/run/root/home/me/my project/.venv'"
    )
    assert lines[mounted + 2] == "mount -o remount,bind,ro '/run/root/home/me/my project/.venv'"


def test_without_a_folder_nothing_is_mounted_writable() -> None:
    assert "gadget.folder" not in boot.guest_script(plan(folder=None))
