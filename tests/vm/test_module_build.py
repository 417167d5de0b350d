"""Kernel modules, built on this machine for the guest's kernel, and a driver at work on a device of ours."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gadget.errors import UsageError
from gadget.vm import Command, Machine, VmError
from gadget.vm.errors import TROUBLE
from gadget.vm.headers import find_headers, is_build_folder
from gadget.vm.kernel import Kernel, cache_folder, find_kernel
from gadget.vm.module_build import build_module
from gadget.vm.module_load import load_command

PATIENCE = 60.0
EXAMPLE = Path(__file__).parents[2] / "examples/host_driver"
FOLDER = "/sys/bus/usb/drivers/thermometer"
READ = f"cat {FOLDER}/*:1.0/temperature"
SOURCE = """\
#include <linux/module.h>
static int __init begin(void) { %s; return 0; }
static void __exit end(void) { }
module_init(begin);
module_exit(end);
MODULE_LICENSE("Dual MIT/GPL");
"""


def write_module(folder: Path, name: str, body: str = "", more: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "Kbuild").write_text(f"obj-m += {name}.o\n")
    (folder / f"{name}.c").write_text(SOURCE % body + more)
    return folder


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    return find_kernel()


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: Kernel) -> Path:
    """A cache folder of this test's own, where nothing was built yet; with the kernels and headers that there are."""
    find_headers(kernel)
    cache = tmp_path / "cache/gadget"
    cache.mkdir(parents=True)
    for name in ("kernels", "headers"):
        if (cache_folder() / name).is_dir():
            (cache / name).symlink_to(cache_folder() / name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parent))
    return cache


# Building, which needs no guest.


def test_a_module_is_built_once_for_the_same_sources(tmp_path: Path, kernel: Kernel, own_cache: Path) -> None:
    folder = write_module(tmp_path / "module", "counted")
    said: list[str] = []
    first = build_module(folder, kernel, said.append)
    made = first.stat().st_ino
    (folder / "test_it.py").write_text("no source of the module")
    assert (build_module(folder, kernel, said.append), first.stat().st_ino) == (first, made)
    assert said == [f"Building the kernel module in {folder} ..."]
    write_module(folder, "counted", 'pr_info("changed")')
    assert build_module(folder, kernel) != first
    assert sorted(path.name for path in folder.iterdir()) == ["Kbuild", "counted.c", "test_it.py"]
    assert kernel.release.encode() in first.read_bytes()


def test_a_compile_error_is_told_in_the_compiler_s_words(tmp_path: Path, kernel: Kernel, own_cache: Path) -> None:
    folder = write_module(tmp_path / "module", "broken", "no_such_function()")
    for _ in range(2):
        with pytest.raises(
            VmError, match=r"(?s)does not build:\n.*error: implicit declaration of .*no_such_function"
        ) as it:
            build_module(folder, kernel)
        assert f"{folder}/broken.c:2:" in str(it.value)
    assert sorted(path.name for path in (own_cache / "modules").iterdir()) == ["lock"]


def test_a_warning_is_told(tmp_path: Path, kernel: Kernel, own_cache: Path) -> None:
    folder = write_module(tmp_path / "module", "warned", "int unused")
    said: list[str] = []
    build_module(folder, kernel, said.append)
    assert f"{folder}/warned.c:2:" in said[1]
    assert "unused variable" in said[1]


@pytest.mark.parametrize(
    ("makefile", "message"), [("", "builds none"), ("obj-m += one.o two.o", r"builds one\.ko, two\.ko")]
)
def test_a_folder_that_does_not_build_one_module_is_refused(
    tmp_path: Path, kernel: Kernel, own_cache: Path, makefile: str, message: str
) -> None:
    for name in ("one", "two"):
        write_module(tmp_path / "module", name)
    (tmp_path / "module/Kbuild").write_text(makefile)
    with pytest.raises(UsageError, match=message):
        build_module(tmp_path / "module", kernel)


def test_two_processes_at_once_build_it_once(tmp_path: Path, kernel: Kernel, own_cache: Path) -> None:
    folder = write_module(tmp_path / "module", "shared")
    program = (
        "import sys; from pathlib import Path; from gadget.vm.kernel import find_kernel; "
        "from gadget.vm.module_build import build_module; print(build_module(Path(sys.argv[1]), find_kernel(), print))"
    )
    command = [sys.executable, "-c", program, str(folder)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [process.communicate(timeout=PATIENCE)[0].splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len({lines[-1] for lines in outputs}) == 1
    assert sorted(map(len, outputs)) == [1, 1, 2]


def test_a_make_that_we_run_in_does_not_show(
    tmp_path: Path, kernel: Kernel, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"MAKEFLAGS": "n", "ARCH": "nonsense", "KBUILD_OUTPUT": "/nowhere"}.items():
        monkeypatch.setenv(name, value)
    assert build_module(write_module(tmp_path / "module", "alone"), kernel).is_file()


def test_what_is_missing_to_build_with_is_named(
    tmp_path: Path, kernel: Kernel, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(VmError, match="apt-get install make gcc libelf1"):
        build_module(write_module(tmp_path / "module", "unbuilt"), kernel)


def test_another_compiler_than_the_kernel_s_is_told(
    tmp_path: Path, kernel: Kernel, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A PATH with everything in it but the compiler that built the kernel; what is there under cc is the same one."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for program in (path for name in ("/usr/bin", "/bin") for path in Path(name).iterdir()):
        if "gcc" not in program.name and not (programs / program.name).is_symlink():
            (programs / program.name).symlink_to(program.resolve())
    monkeypatch.setenv("PATH", str(programs))
    said: list[str] = []
    assert build_module(write_module(tmp_path / "module", "other"), kernel, said.append).is_file()
    assert re.fullmatch(r"The kernel was built with \S*gcc\S*, which is not installed here: .* with cc\.", said[0])


def test_a_path_that_the_kernel_s_build_cannot_take_is_refused(
    tmp_path: Path, kernel: Kernel, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_module(tmp_path / "a module", "spaced")
    assert build_module(folder, kernel).is_file()
    shutil.copytree(own_cache, tmp_path / "a cache/gadget", symlinks=True, ignore=shutil.ignore_patterns("modules"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a cache"))
    with pytest.raises(VmError, match="set XDG_CACHE_HOME"):
        build_module(folder, kernel)


def test_without_a_network_the_reason_is_told(
    tmp_path: Path, kernel: Kernel, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("apt-get") is None or is_build_folder(Path("/lib/modules") / kernel.release / "build"):
        pytest.skip("the headers are installed, or this is no Debian")
    (own_cache / "headers").unlink()
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # The discard port, where nobody listens.
    (tmp_path / "apt.conf").write_text('Acquire::Retries "0";\n')
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    with pytest.raises(VmError, match=rf"no headers to build modules for Linux {kernel.release} with") as caught:
        find_headers(kernel)
    assert "The archive could not be reached" in str(caught.value)
    assert [path.name for path in (own_cache / "headers").iterdir()] == ["lock"]


# A driver at work.


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with the example's driver loaded."""
    with Machine(folder=tmp_path_factory.mktemp("bench"), memory="1G", modules=[EXAMPLE]) as machine:
        yield machine
        assert not TROUBLE.search(machine.console), machine.console


@contextmanager
def device(machine: Machine, sensor: Path) -> Iterator[Command]:
    """The example's device on the bus; ends it, and checks that it went in order."""
    sensor.write_text("0\n")
    command = machine.start(
        ["python", "-m", "gadget", "run", str(EXAMPLE / "device.py")],
        env={"SENSOR": str(sensor)},
        stdout=subprocess.PIPE,
    )
    assert command.stdout is not None
    with command.stdout as output:
        assert b"configured by the host" in output.readline()
        yield command
        command.terminate()
        assert command.wait(PATIENCE) == 0


@pytest.fixture
def sensor(bench: Machine) -> Path:
    """The file that the device's temperature comes from: in the folder that the guest shares."""
    done = bench.run(["pwd"], capture=True)
    return Path(done.stdout.decode().strip()) / "sensor"


def shell(machine: Machine, script: str) -> tuple[int, str, str]:
    done = machine.run(["sh", "-c", script], capture=True, timeout=PATIENCE, env={"LC_ALL": "C"})
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_the_driver_reads_what_the_device_measures(bench: Machine, sensor: Path) -> None:
    with device(bench, sensor):
        for value in (21500, 0, -273150, 2**31 - 1):
            sensor.write_text(f"{value}\n")
            assert shell(bench, READ) == (0, f"{value}\n", "")


def test_what_the_device_refuses_is_a_broken_pipe_to_the_reader(bench: Machine, sensor: Path) -> None:
    with device(bench, sensor):
        for broken in ("", "hot", f"{2**31}"):
            sensor.write_text(broken)
            status, out, err = shell(bench, READ)
            assert (status, out, err.endswith(": Broken pipe\n")) == (1, "", True)
        sensor.write_text("1")
        assert shell(bench, READ) == (0, "1\n", "")


def test_unplugging_ends_a_read_that_waits_for_the_device(bench: Machine, sensor: Path) -> None:
    """A stopped process leaves the request unanswered for as long as it takes to unplug under it."""
    with device(bench, sensor) as command:
        command.send_signal(signal.SIGSTOP)
        status, out, err = shell(
            bench,
            f"""{READ} & reader=$!
            until grep -q temperature_show /proc/$reader/stack; do [ -d /proc/$reader ] || exit 99; done
            echo >/sys/kernel/config/usb_gadget/thermometer/UDC
            wait $reader || status=$?
            until [ "$(echo {FOLDER}/*:1.0)" = "{FOLDER}/*:1.0" ]; do :; done
            exit $status""",
        )
        command.send_signal(signal.SIGCONT)
    assert (status, out) == (1, "")
    assert any(reason in err for reason in ("Protocol error", "No such device", "shutdown")), err
    with device(bench, sensor):
        assert shell(bench, READ) == (0, "0\n", "")


def test_the_driver_leaves_and_comes_back_under_a_device(bench: Machine, sensor: Path) -> None:
    with device(bench, sensor):
        assert shell(bench, "rmmod thermometer && ls /sys/bus/usb/devices/*:1.0/temperature")[0] == 2
        module = shell(bench, "cat /run/gadget-module.thermometer")[1].strip()
        assert bench.run(load_command([Path(module)])).returncode == 0
        assert shell(bench, READ) == (0, "0\n", "")


def test_a_module_built_anew_replaces_the_one_that_is_loaded(bench: Machine, kernel: Kernel, tmp_path: Path) -> None:
    show = ["cat", "/sys/module/renewed_module/version"]
    for version in ("1", "2"):
        folder = write_module(tmp_path / "m", "renewed-module", more=f'MODULE_VERSION("{version}");\n')
        command = load_command([build_module(folder, kernel)], show)
        for _ in range(2):  # The second time it is there already.
            done = bench.run(command, capture=True)
            assert (done.returncode, done.stdout, done.stderr) == (0, f"{version}\n".encode(), b"")


def test_what_a_module_needs_of_others_is_loaded_first(bench: Machine, kernel: Kernel, tmp_path: Path) -> None:
    declared = "extern int usb_serial_generic_open(void);\n"
    folder = write_module(tmp_path / "m", "needy", 'pr_info("%p", usb_serial_generic_open)')
    (folder / "needy.c").write_text(declared + (folder / "needy.c").read_text())
    assert shell(bench, "test -d /sys/module/usbserial")[0] == 1
    assert bench.run(load_command([build_module(folder, kernel)])).returncode == 0
    assert shell(bench, "ls /sys/module/usbserial/holders") == (0, "needy\n", "")


def test_a_module_that_refuses_to_load_stops_everything(kernel: Kernel, tmp_path: Path) -> None:
    folder = write_module(tmp_path / "m", "refusing", "return -ENODEV")
    machine = Machine(folder=tmp_path, memory="1G", modules=[folder])
    with pytest.raises(VmError, match=r"No such device\s+the kernel module refusing could not be loaded"), machine:
        pytest.fail("it came up")


def test_the_command_line_loads_modules_into_a_session(tmp_path: Path) -> None:
    """The session's machine is up when the second module comes; the command's input stays the command's."""
    write_module(tmp_path / "one", "module_one")
    write_module(tmp_path / "two", "module_two")
    session = ["--session", f"test-{uuid.uuid4().hex[:8]}"]
    show = ["--", "sh", "-c", "cat; ls -d /sys/module/module_*"]

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "gadget", "vm", "-q", "--memory", "1G", *session, *words]
        return subprocess.run(
            command, cwd=tmp_path, input="input\n", capture_output=True, text=True, timeout=PATIENCE, check=False
        )

    try:
        assert call("--module", "one", *show).stdout == "input\n/sys/module/module_one\n"
        both = call("--module", "one", "--module", "two", *show)
        assert (both.returncode, both.stderr) == (0, "")
        assert both.stdout == "input\n/sys/module/module_one\n/sys/module/module_two\n"
        write_module(tmp_path / "two", "module_two", "return -ENODEV")
        refused = call("--module", "two", *show)
        assert (refused.returncode, refused.stdout) == (125, "")
        assert "the kernel module module_two could not be loaded" in refused.stderr
    finally:
        call("--stop")


def test_without_a_machine_no_module_is_loaded(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gadget", "vm", "--here", "--module", os.fspath(tmp_path), "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "nor --module" in done.stderr
