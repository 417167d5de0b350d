"""The bench itself, on real boots: run on this machine, not in the guest."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import threading
import time
from functools import partial
from pathlib import Path
from typing import IO

import pytest

from gadget.errors import ClosedError, UsageError
from gadget.vm import CommandNotStartedError, Machine, VmError, VmTimeoutError
from gadget.vm.prepare import architecture

#: Seconds; an emulated guest shares the processors with two more while the whole suite runs.
PATIENCE = 120.0


def shell(machine: Machine, script: str) -> tuple[int, bytes, bytes]:
    done = machine.run(["sh", "-c", script], capture=True, timeout=PATIENCE)
    return done.returncode, done.stdout, done.stderr


def read_until(stream: IO[bytes], text: bytes) -> bytes:
    data = b""
    while text not in data:
        part = stream.read(4096)
        assert part, f"the stream ended after {data!r}, without {text!r}"
        data += part
    return data


@pytest.mark.parametrize("status", [0, 1, 42, 255])
def test_the_exit_status_is_the_command_s(machine: Machine, status: int) -> None:
    assert shell(machine, f"exit {status}")[0] == status


def test_death_by_a_signal_is_reported_as_a_shell_does(machine: Machine) -> None:
    assert shell(machine, "kill -SEGV $$")[0] == 128 + signal.SIGSEGV


def test_the_outputs_come_apart(machine: Machine) -> None:
    assert shell(machine, "echo to out; echo to err >&2; echo more") == (0, b"to out\nmore\n", b"to err\n")


def test_the_errors_can_go_the_way_of_the_output(machine: Machine) -> None:
    done = machine.run(["sh", "-c", "echo a; echo b >&2; echo c"], capture=True, stderr=subprocess.STDOUT)
    assert (sorted(done.stdout.split()), done.stderr) == ([b"a", b"b", b"c"], b"")


def test_commands_run_as_root_on_a_bus(machine: Machine, folder: Path) -> None:
    status, out, err = shell(machine, "id -u; pwd; ls /sys/class/udc; ls -d /sys/kernel/config/usb_gadget; uname -n")
    assert (status, err) == (0, b"")
    assert out.decode().splitlines() == ["0", str(folder), "dummy_udc.0", "/sys/kernel/config/usb_gadget", "gadget-vm"]


def test_the_host_s_class_drivers_can_be_loaded(machine: Machine) -> None:
    assert shell(machine, "modprobe -a cdc_acm usbhid usb_storage usbtmc && ls -d /sys/bus/usb/drivers/usbtmc")[0] == 0


def test_python_is_the_environment_s_own(machine: Machine) -> None:
    import sys

    # pyusb: not in Debian's Python, and soon imported over 9p.
    status, out, err = shell(machine, "python -c 'import sys, usb; print(sys.prefix)'")
    assert (status, out.decode().strip(), err) == (0, sys.prefix, b"")


def test_a_mebibyte_of_any_bytes_goes_in_and_out_unchanged(machine: Machine) -> None:
    data = os.urandom(1 << 20)
    done = machine.run(["cat"], capture=True, input=data, timeout=PATIENCE)
    assert (done.returncode, hashlib.sha256(done.stdout).digest()) == (0, hashlib.sha256(data).digest())


def test_a_command_that_reads_nothing_does_not_hold_up_its_input(machine: Machine) -> None:
    assert machine.run(["true"], capture=True, input=bytes(1 << 20), timeout=PATIENCE).returncode == 0


def test_output_of_a_writer_that_nobody_reads_is_bounded_and_holds_up_no_other(machine: Machine) -> None:
    flood = machine.start(["cat", "/dev/zero"], stdout=subprocess.PIPE)
    assert shell(machine, "echo alive") == (0, b"alive\n", b"")
    flood.kill()
    assert flood.stdout is not None
    with flood.stdout as stream:
        written = sum(map(len, iter(partial(stream.read, 65536), b"")))
    assert flood.wait(PATIENCE) == 128 + signal.SIGKILL
    assert written < 4 << 20


def test_a_reader_that_leaves_does_not_hold_up_the_command(machine: Machine) -> None:
    command = machine.start(["sh", "-c", "yes | head -c 3000000; exit 3"], stdout=subprocess.PIPE)
    assert command.stdout is not None
    command.stdout.close()
    assert command.wait(PATIENCE) == 3


def test_commands_run_side_by_side(machine: Machine) -> None:
    """Each waits for what the other one says: neither would end if they ran one after the other."""
    one = machine.start(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    two = machine.start(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert one.stdin
    assert one.stdout
    assert two.stdin
    assert two.stdout
    with one.stdin, one.stdout, two.stdin, two.stdout:
        two.stdin.write(b"from two\n")
        one.stdin.write(read_until(two.stdout, b"\n"))
        assert read_until(one.stdout, b"\n") == b"from two\n"
        one.stdin.close()
        two.stdin.close()
        assert (one.wait(PATIENCE), two.wait(PATIENCE)) == (0, 0)


def test_output_is_live(machine: Machine) -> None:
    command = machine.start(["sh", "-c", "echo first; read x; echo $x"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert command.stdin
    assert command.stdout
    with command.stdin, command.stdout:
        assert read_until(command.stdout, b"\n") == b"first\n"
        command.stdin.write(b"second\n")
        assert read_until(command.stdout, b"\n") == b"second\n"
        assert command.wait(PATIENCE) == 0


def test_a_signal_reaches_the_whole_group(machine: Machine) -> None:
    script = "trap 'echo got it; exit 5' INT; echo ready; sleep 60 & wait"
    command = machine.start(["sh", "-c", script], stdout=subprocess.PIPE)
    assert command.stdout is not None
    with command.stdout:
        read_until(command.stdout, b"ready\n")
        command.send_signal(signal.SIGINT)
        read_until(command.stdout, b"got it\n")
        assert command.wait(PATIENCE) == 5


def test_a_pipe_s_reader_that_ends_ends_its_writer(machine: Machine) -> None:
    """SIGPIPE must have its default action in the guest, which Python changes for itself."""
    assert shell(machine, "yes | head -n 1; exit 0") == (0, b"y\n", b"")


def test_a_terminal_is_a_terminal(machine: Machine) -> None:
    script = "tty >/dev/null && stty size; read line; echo got $line; stty size"
    command = machine.start(
        ["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, tty=True, size=(33, 99)
    )
    assert command.stdin
    assert command.stdout
    with command.stdin, command.stdout:
        assert b"33 99" in read_until(command.stdout, b"\n")
        command.resize(44, 111)
        command.stdin.write(b"hello\n")
        assert b"got hello" in read_until(command.stdout, b"44 111")
        assert command.wait(PATIENCE) == 0


def test_ctrl_c_on_a_terminal_interrupts_and_its_end_of_file_ends(machine: Machine) -> None:
    command = machine.start(
        ["sh", "-c", "trap 'echo interrupted' INT; echo ready; sleep 60; cat; echo over"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        tty=True,
    )
    assert command.stdin
    assert command.stdout
    with command.stdin, command.stdout:
        read_until(command.stdout, b"ready")
        command.stdin.write(b"\x03")
        read_until(command.stdout, b"interrupted")
        command.stdin.close()
        read_until(command.stdout, b"over")
        assert command.wait(PATIENCE) == 0


def test_a_job_left_in_the_background_does_not_hold_up_the_end(machine: Machine) -> None:
    assert shell(machine, "sleep 300 & echo done") == (0, b"done\n", b"")


def test_what_does_not_exist_is_said_with_its_errno(machine: Machine) -> None:
    with pytest.raises(CommandNotStartedError) as caught:
        machine.run(["no-such-program"])
    assert (caught.value.errno, caught.value.filename) == (2, "no-such-program")


def test_a_command_that_takes_too_long_is_ended_and_the_machine_goes_on(machine: Machine) -> None:
    with pytest.raises(VmTimeoutError, match="still runs"):
        machine.run(["sleep", "31415"], timeout=0.5)
    assert shell(machine, "while grep -qs '3141[5]' /proc/[0-9]*/cmdline; do :; done") == (0, b"", b"")


def test_both_sides_see_each_other_s_writes_at_once(machine: Machine, folder: Path) -> None:
    file = folder / "shared"
    for text in ("one", "two, which is longer", "3"):
        file.write_text(text)
        assert shell(machine, "cat shared")[1].decode() == text
        assert shell(machine, f"printf 'guest {text}' >shared")[0] == 0
        assert file.read_text() == f"guest {text}"
    file.unlink()
    assert shell(machine, "test -e shared")[0] == 1


def test_elsewhere_it_can_write_and_the_host_keeps_nothing_of_it(machine: Machine, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    status, out, _ = shell(machine, f"echo theirs >'{outside}'; cat '{outside}'; mkdir /dev/ffs-test /root/x /tmp/y")
    assert (status, out) == (0, b"theirs\n")
    assert outside.read_text() == "mine"


def test_a_folder_and_variables_can_be_chosen(machine: Machine, folder: Path) -> None:
    (folder / "inner").mkdir()
    done = machine.run(
        ["sh", "-c", "pwd; echo $WHAT $GADGET_VM"], cwd=folder / "inner", env={"WHAT": "a b"}, capture=True
    )
    assert done.stdout.decode() == f"{folder}/inner\na b 1\n"


def test_descriptors_of_ended_commands_are_closed(machine: Machine) -> None:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    shell(machine, "true")
    before = count()
    for _ in range(5):
        shell(machine, "echo x; echo y >&2")
    assert count() == before


def test_options_reach_dummy_hcd(tmp_path: Path) -> None:
    with Machine(folder=tmp_path, memory="1G", speed="full", controllers=2) as other:
        status, out, _ = shell(
            other, "cd /sys/module/dummy_hcd/parameters; cat is_super_speed is_high_speed num; nproc"
        )
        assert (status, out.split()) == (0, [b"N", b"N", b"2", b"2"])


def test_a_panic_is_named_with_the_guest_s_last_lines(tmp_path: Path) -> None:
    with Machine(folder=tmp_path, memory="1G") as other:
        waiting = other.start(["sleep", "100"])
        with pytest.raises(VmError, match=r"panicked: Kernel panic - not syncing: sysrq triggered crash") as caught:
            other.run(["sh", "-c", "echo c >/proc/sysrq-trigger; sleep 100"], timeout=PATIENCE)
        assert "\n  | [" in str(caught.value)
        assert "Call Trace:" in str(caught.value)
        with pytest.raises(VmError, match="panicked"):
            waiting.wait(PATIENCE)
        with pytest.raises(VmError, match="panicked"):
            other.run(["true"])


def test_a_guest_that_powers_off_is_said_to_have_done_so(tmp_path: Path) -> None:
    with (
        Machine(folder=tmp_path, memory="1G") as other,
        pytest.raises(VmError, match="the guest powered off"),
    ):
        other.run(["sh", "-c", "echo o >/proc/sysrq-trigger; sleep 100"], timeout=PATIENCE)


def test_a_boot_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    start = time.monotonic()
    before = qemus()
    with (
        pytest.raises(VmTimeoutError, match=r"did not come up within 0.5 s"),
        Machine(folder=tmp_path, boot_timeout=0.5),
    ):
        pytest.fail("half a second is not enough to boot")
    assert time.monotonic() - start < PATIENCE
    assert qemus() == before


def test_a_guest_that_hangs_in_its_boot_is_replaced_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    qemu = architecture().qemu
    hung = tmp_path / "hung"
    script = f'[ -e {hung} ] && exec {shutil.which(qemu)} "$@"; touch {hung}; exec sleep 600'
    (tmp_path / qemu).write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / qemu).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    said: list[str] = []
    with Machine(folder=tmp_path, boot_timeout=40, accelerator="tcg", say=said.append) as other:
        assert other.run(["true"], timeout=PATIENCE).returncode == 0
    assert said[-1] == "the guest did not come up within 20 s; starting another one"


def qemus() -> list[int]:
    """The processes below this one that are QEMU."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and is_our_qemu(entry)]


def is_our_qemu(process: Path) -> bool:
    try:
        fields = (process / "stat").read_text().rpartition(")")[2].split()
        return int(fields[1]) == os.getpid() and "qemu" in (process / "comm").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_closing_ends_qemu_its_threads_and_its_files(tmp_path: Path) -> None:
    before = (qemus(), threading.active_count(), len(list(Path("/proc/self/fd").iterdir())))
    machine = Machine(folder=tmp_path, memory="1G")
    with machine:
        assert len(qemus()) == len(before[0]) + 1
    assert (qemus(), threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))) == before
    with pytest.raises(ClosedError):
        machine.run(["true"])
    machine.close()


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"), Machine(folder=tmp_path / "nothing"):
        pytest.fail("it booted")


def test_a_guest_that_hangs_is_given_up(tmp_path: Path) -> None:
    """A stopped QEMU is as silent as a guest whose kernel has locked up."""
    before = qemus()
    with Machine(folder=tmp_path, memory="1G", hang_timeout=2.0) as other:
        command = other.start(["sleep", "100"])
        (qemu,) = set(qemus()) - set(before)
        os.kill(qemu, signal.SIGSTOP)
        with pytest.raises(VmError, match="has not answered for 2 s: it hangs"):
            command.wait(PATIENCE)
    assert qemus() == before
