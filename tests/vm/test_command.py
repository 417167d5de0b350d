"""``gadget vm`` as a user calls it: a process, its streams, its exit status. Real boots, on this machine."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PATIENCE = 60.0


def gadget_vm(*words: str) -> list[str]:
    return [sys.executable, "-m", "gadget", "vm", "--memory", "1G", *words]


def call(folder: Path, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        gadget_vm(*words), cwd=folder, input=given, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE} s for {what}"
        select.select([], [], [], 0.02)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The name of a session and the folder it shares; its first command boots it."""
    folder = tmp_path_factory.mktemp("session")
    name = f"test-{uuid.uuid4().hex[:8]}"
    yield folder, name
    done = call(folder, "--session", name, "--stop")
    assert (done.returncode, done.stderr) == (0, "")


def test_one_boot_for_one_command(tmp_path: Path) -> None:
    """Everything that a user meets first, in an empty folder: streams, folder, status; and Ctrl-C's way."""
    script = "cat; echo to err >&2; ls -A; echo made >here; exit 7"
    done = call(tmp_path, "--quiet", "sh", "-c", script, given="from stdin\n")
    assert (done.returncode, done.stdout, done.stderr) == (7, "from stdin\n", "to err\n")
    assert (tmp_path / "here").read_text() == "made\n"


def test_a_session_s_commands_share_a_boot(session: tuple[Path, str]) -> None:
    folder, name = session
    script = "cat; echo to err >&2; cat /proc/sys/kernel/random/boot_id; exit 3"
    results = [call(folder, "-q", "--session", name, "sh", "-c", script, given="hello\n") for _ in range(2)]
    assert [(done.returncode, done.stderr) for done in results] == [(3, "to err\n")] * 2
    assert results[0].stdout == results[1].stdout
    assert results[0].stdout.startswith("hello\n")


def test_a_session_refuses_what_its_machine_is_not(session: tuple[Path, str], tmp_path: Path) -> None:
    folder, name = session
    assert call(folder, "--session", name, "true").returncode == 0
    for where, words, reason in ((folder, ("--speed", "full"), "has speed super, not full"), (tmp_path, (), "shares")):
        done = call(where, *words, "--session", name, "true")
        assert (done.returncode, done.stdout) == (125, "")
        assert reason in done.stderr


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("no-such-program",), 127, "no-such-program: No such file or directory"),
        (("/etc",), 126, "/etc: Permission denied"),
        (("--timeout", "0.5", "sleep", "100"), 124, "after 0.5 s"),
    ],
)
def test_what_went_wrong_is_said(session: tuple[Path, str], words: tuple[str, ...], status: int, said: str) -> None:
    folder, name = session
    done = call(folder, "--session", name, *words)
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr


def test_ctrl_c_goes_to_the_command_and_a_second_one_ends_it_all(session: tuple[Path, str]) -> None:
    folder, name = session
    script = "trap 'echo caught' INT; echo ready; while :; do sleep 1; done"
    with subprocess.Popen(
        gadget_vm("-q", "--session", name, "sh", "-c", script),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        for expected in (b"ready\n", b"caught\n"):
            assert process.stdout.readline() == expected
            process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 128 + signal.SIGINT
    gone = "while grep -qs 'tra[p] .echo caught' /proc/[0-9]*/cmdline; do sleep 0.1; done"
    done = call(folder, "--session", name, "sh", "-c", gone)
    assert done.returncode == 0


def test_here_uses_the_running_kernel(session: tuple[Path, str]) -> None:
    """In the guest, whose kernel has dummy_hcd; the guest is put back to what it was."""
    folder, name = session
    show = "cat /sys/module/dummy_hcd/parameters/is_super_speed; ls /sys/class/udc"
    here = [sys.executable, "-m", "gadget", "vm", "--here"]
    done = call(folder, "-q", "--session", name, *here, "--speed", "high", "--controllers", "2", "sh", "-c", show)
    assert (done.returncode, done.stdout.split()) == (0, ["N", "dummy_udc.0", "dummy_udc.1"]), done.stderr
    done = call(folder, "-q", "--session", name, *here, "sh", "-c", show + "; exit 9")
    assert (done.returncode, done.stdout.split()) == (9, ["Y", "dummy_udc.0"]), done.stderr


def test_nothing_stays_when_the_caller_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        gadget_vm("-q", "sh", "-c", "echo ready; sleep 100"), cwd=tmp_path, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        children = [int(pid) for task in Path(f"/proc/{process.pid}/task").iterdir() for pid in read_children(task)]
        assert len(children) == 1
        process.kill()
    wait_for(lambda: not Path(f"/proc/{children[0]}").exists() or is_dead(children[0]), "QEMU to end")


def read_children(task: Path) -> list[str]:
    return (task / "children").read_text().split()


def is_dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_terminal_is_passed_on(session: tuple[Path, str]) -> None:
    folder, name = session
    master, slave = os.openpty()
    os.set_blocking(master, False)
    with subprocess.Popen(
        gadget_vm("--session", name, "sh", "-c", "tty >/dev/null && echo terminal; read x; exit $x"),
        cwd=folder,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    ) as process:
        os.close(slave)
        seen = b""
        while b"terminal" not in seen:
            assert select.select([master], [], [], PATIENCE)[0], seen
            seen += os.read(master, 4096)
        os.write(master, b"6\n")
        assert process.wait(PATIENCE) == 6
    os.close(master)


@pytest.mark.parametrize(
    ("variables", "words", "said"),
    [
        ({}, ("--kernel", "/no/kernel"), "/no/kernel: this kernel cannot be read"),
        ({}, ("--memory", "much"), "QEMU ended with status 1"),
        ({"PATH": "/nowhere"}, (), "apt-get install --no-install-recommends qemu-system-x86"),
    ],
)
def test_what_is_missing_is_said_in_a_sentence(
    tmp_path: Path, variables: dict[str, str], words: tuple[str, ...], said: str
) -> None:
    done = subprocess.run(
        gadget_vm(*words, "true"),
        cwd=tmp_path,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (125, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
