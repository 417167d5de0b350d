"""What works here, and why the rest does not. Containers refuse calls with a seccomp filter: so does a child here."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gadget.aio import may_block, probe

from .conftest import HeldFile

#: Installs a filter that answers with an errno to some system calls of this architecture (linux/seccomp.h, bpf(2)).
REFUSE = """
import ctypes, os, platform, struct, sys
code, *numbers = map(int, sys.argv[1:])
def step(code, true, false, k): return struct.pack("HBBI", code, true, false, k)
program = step(0x20, 0, 0, 0)                                       # load the number of the call
for number in numbers:
    program += step(0x15, 0, 1, number) + step(0x06, 0, 0, 0x00050000 | code)   # equal: return the errno
program += step(0x06, 0, 0, 0x7fff0000)                             # allow
memory = ctypes.create_string_buffer(program)
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
filter = Program(len(program) // 8, ctypes.addressof(memory))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0                              # PR_SET_NO_NEW_PRIVS
assert libc.prctl(22, 2, ctypes.byref(filter), 0, 0) == 0           # PR_SET_SECCOMP, a filter
"""
#: asm/unistd_64.h of x86-64, and asm-generic/unistd.h.
NUMBERS = {
    "x86_64": {"io_setup": 206, "io_getevents": 208, "io_submit": 209, "io_cancel": 210, "io_pgetevents": 333},
    "aarch64": {"io_setup": 0, "io_submit": 2, "io_cancel": 3, "io_getevents": 4, "io_pgetevents": 292},
}


def refusing(code: int, calls: list[str], script: str) -> str:
    numbers = NUMBERS.get(os.uname().machine)
    if numbers is None:
        pytest.skip(f"the numbers of the system calls of {os.uname().machine} are not known here")
    arguments = [str(code), *(str(numbers[call]) for call in calls)]
    done = subprocess.run(
        [sys.executable, "-c", REFUSE + script, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_everything_works_here() -> None:
    found = probe()
    assert [ability for ability in found.abilities if not ability.works] == []
    assert found.limit == int(Path("/proc/sys/fs/aio-max-nr").read_text())
    assert found.kernel == os.uname().release
    assert str(found).startswith(f"Linux {found.kernel}, ")
    assert "io_pgetevents: works" in str(found)


def test_what_a_file_can_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"data")
    with (tmp_path / "file").open("rb") as file:
        found = probe(file)
        names = [ability.name for ability in found.abilities]
        assert names[-2:] == ["RWF_NOWAIT", "O_DIRECT"]
        assert may_block(file)
    descriptor = os.open(tmp_path / "file", os.O_RDONLY | os.O_DIRECT)
    assert not may_block(descriptor)
    os.close(descriptor)


def test_what_waits_for_somebody_else_may_block(pipe: tuple[int, int]) -> None:
    ours, theirs = socket.socketpair()
    master, slave = os.openpty()
    with ours, theirs:
        for file in (pipe[0], ours.fileno(), slave):
            assert may_block(file)
            os.set_blocking(file, False)
            assert not may_block(file)
    os.close(master)
    os.close(slave)
    eventfd = os.eventfd(0, os.EFD_NONBLOCK)
    assert not may_block(eventfd)
    os.close(eventfd)


def test_a_file_that_knows_no_nowait_is_told_with_a_cure() -> None:
    descriptor = os.memfd_create("gadget")
    ability = probe(descriptor)["RWF_NOWAIT"]
    os.close(descriptor)
    assert ability.works or "use a thread" in ability.why


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS])
def test_a_container_that_refuses_io_pgetevents(code: int) -> None:
    script = "from gadget import aio; print(aio.probe()); print(aio.probe()['io_pgetevents'].why)"
    told = refusing(code, ["io_pgetevents"], script)
    assert "io_getevents: works" in told
    assert "io_pgetevents: no: io_pgetevents: " in told
    assert "seccomp" in told


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS])
@pytest.mark.parametrize(
    ("call", "cure", "others"),
    [("io_submit", "nothing can be started", ["poll", "fsync", "fdsync"]), ("io_cancel", "nothing is given back", [])],
)
def test_a_container_that_refuses_what_contexts_need(code: int, call: str, cure: str, others: list[str]) -> None:
    told = refusing(code, [call], "from gadget import aio; print(aio.probe())")
    refused = dict(line.split(": no: ", 1) for line in told.splitlines() if ": no: " in line)
    assert list(refused) == [call, *others]
    assert refused[call].startswith(f"{call}: ")
    assert cure in refused[call]
    assert all("io_submit, see there" in refused[other] for other in others)


def test_an_ability_that_was_not_tried() -> None:
    with pytest.raises(KeyError, match="O_DIRECT"):
        probe()["O_DIRECT"]


def test_too_many_open_files_are_no_matter_of_io_setup() -> None:
    script = """
import resource
from gadget.aio import Context
from gadget.errors import KernelError
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
try:
    Context(1)
except KernelError as error:
    print(error)
"""
    assert "eventfd: Too many open files: close some, or raise RLIMIT_NOFILE" in refusing(errno.EPERM, [], script)


SLEEP = """
import os, select, threading
from gadget.aio import Batch, Context
reader, writer = os.pipe()
# A read of an empty pipe would sleep in io_submit; what sleeps in io_getevents is a wait with a time-out.
with Batch(reader, [bytearray(4)]) as batch:
    os.write(writer, b"data")
    print(batch.run(0), batch.turn((), 1, 0.01))
with Context(1) as context:
    poll = context.poll(reader, select.POLLIN)
    context.submit()
    print(context.wait_all([poll], 0.01))
    os.write(writer, b"x")
    print(context.wait_all([poll], 20.0))
"""


@pytest.mark.parametrize("calls", [["io_getevents"], ["io_pgetevents"], ["io_getevents", "io_pgetevents"]])
@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS])
def test_either_call_will_do(code: int, calls: list[str]) -> None:
    """Contexts need none of them, and batches only where they have to sleep."""
    assert refusing(code, calls, SLEEP) == "4 0\nFalse\nTrue\n"


FUSE = """
import os, sys
from gadget.aio import Batch, allocate
file = os.open(os.environ["HELD"], os.O_RDONLY | os.O_DIRECT)
memory = allocate(4096)
with Batch(file, [memory]) as batch:
    print(batch.run(0))
"""


@pytest.mark.parametrize("call", ["io_getevents", "io_pgetevents"])
def test_a_batch_sleeps_in_the_call_that_is_left(
    call: str, held_file: HeldFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELD", str(held_file.path))
    held_file.answer()
    assert refusing(errno.EPERM, [call], FUSE) == "4096\n"


CANNOT_SLEEP = """
import os, sys
from gadget.aio import Batch, allocate
from gadget.errors import UnsupportedError
file = os.open(os.environ["HELD"], os.O_RDONLY | os.O_DIRECT)
with Batch(file, [allocate(4096)]) as batch:
    try:
        batch.run(0)
    except UnsupportedError as error:
        print(error)
    open(os.environ["READY"], "w").close()
    while batch.in_flight:
        batch.turn((), 0)       # what needs no sleep goes on as ever
"""


def test_a_batch_that_cannot_sleep_names_the_cure(
    held_file: HeldFile, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    monkeypatch.setenv("HELD", str(held_file.path))
    monkeypatch.setenv("READY", str(ready))

    def answer() -> None:
        ready.open().close()  # waits for the child to come so far
        held_file.answer()

    thread = threading.Thread(target=answer)
    thread.start()
    told = refusing(errno.EPERM, ["io_getevents", "io_pgetevents"], CANNOT_SLEEP)
    thread.join()
    assert "a Context needs neither" in told


@pytest.mark.parametrize(("code", "cure"), [(errno.ENOSYS, "CONFIG_AIO"), (errno.EPERM, "seccomp")])
def test_a_container_without_aio_is_told_with_a_cure(code: int, cure: str) -> None:
    script = """
from gadget.aio import Batch, Context, probe
from gadget.errors import UnsupportedError
for make in (lambda: Context(1), lambda: Batch(0, [bytearray(1)])):
    try:
        make()
    except UnsupportedError as error:
        print(error)
print(probe()["context"].why)
"""
    told = refusing(code, ["io_setup"], script).splitlines()
    assert len(told) == 3
    assert all(cure in line for line in told)
