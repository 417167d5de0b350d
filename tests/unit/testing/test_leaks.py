from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gadget.testing.observe.leaks import Snapshot, settle, snapshot, watch_loop
from gadget.testing.waiting import wait_for

#: Seconds for what should take no time.
PATIENCE = 20.0


def leaks_while(before: Snapshot) -> list[str]:
    return snapshot().leaks_since(before)


def test_nothing_changes_nothing() -> None:
    before = snapshot()
    assert leaks_while(before) == []
    assert settle(before, 0) == []


def test_a_file(tmp_path: Path) -> None:
    before = snapshot()
    with (tmp_path / "left").open("w") as file:
        assert leaks_while(before) == [f"file descriptor {file.fileno()}: {tmp_path}/left, opened during the test"]
    assert leaks_while(before) == []


def test_a_file_without_a_name() -> None:
    before = snapshot()
    descriptor = os.eventfd(0)
    try:
        assert leaks_while(before) == [f"file descriptor {descriptor}: anon_inode:[eventfd], opened during the test"]
    finally:
        os.close(descriptor)
    assert leaks_while(before) == []


def test_each_of_several_files_of_one_name(tmp_path: Path) -> None:
    with (tmp_path / "left").open("w"):
        before = snapshot()
        with (tmp_path / "left").open() as second, (tmp_path / "left").open() as third:
            assert [leak.split(":")[0] for leak in leaks_while(before)] == [
                f"file descriptor {file.fileno()}" for file in (second, third)
            ]


def test_a_file_opened_again_elsewhere_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "session"
    first = path.open("w")
    before = snapshot()
    with path.open() as second:
        first.close()
        assert second.fileno() not in before.descriptors
        assert leaks_while(before) == []


def test_a_file_that_is_deleted_is_the_same(tmp_path: Path) -> None:
    with (tmp_path / "session").open("w"):
        before = snapshot()
        (tmp_path / "session").unlink()
        assert leaks_while(before) == []


def test_a_thread() -> None:
    before = snapshot()
    over = threading.Event()
    thread = threading.Thread(target=over.wait, name="left-behind")
    thread.start()
    assert leaks_while(before) == [f"thread {thread.native_id}: 'left-behind', started during the test"]
    over.set()
    thread.join()
    assert settle(before, PATIENCE) == []


def test_a_thread_that_is_started_again() -> None:
    """One of the same name has ended instead: there are no more of them than before."""
    overs = [threading.Event() for _ in range(2)]
    threads = [threading.Thread(target=over.wait, name="again", daemon=True) for over in overs]
    threads[0].start()
    before = snapshot()
    threads[1].start()
    assert leaks_while(before) == [f"thread {threads[1].native_id}: 'again', started during the test"]
    overs[0].set()
    threads[0].join()
    assert settle(before, PATIENCE) == []
    overs[1].set()
    threads[1].join()


@contextmanager
def thread_of_c() -> Iterator[None]:
    """A thread that Python knows nothing of: it runs sem_wait(3), which takes one argument and blocks."""
    library = ctypes.CDLL(None)
    semaphore, thread = ctypes.create_string_buffer(64), ctypes.c_ulong()
    library.sem_init(semaphore, 0, 0)
    assert library.pthread_create(ctypes.byref(thread), None, library.sem_wait, semaphore) == 0
    try:
        yield
    finally:
        library.sem_post(semaphore)
        library.pthread_join(thread, None)


def test_a_thread_that_python_does_not_know() -> None:
    # One of a test before this, just ending while the snapshot is taken, would make up for this one.
    wait_for(lambda: len([*Path("/proc/self/task").iterdir()]) == threading.active_count(), "other such threads to end")
    before = snapshot()
    with thread_of_c():
        (leak,) = leaks_while(before)
        assert leak.startswith("thread ")
        assert leak.endswith(", not made by Python, started during the test")
    assert settle(before, PATIENCE) == []


def start_child() -> subprocess.Popen[bytes]:
    """A child that has its name: the kernel closes the pipe that Popen waits for shortly before it gives it one."""
    child = subprocess.Popen(["sleep", "1000"])
    wait_for(lambda: Path(f"/proc/{child.pid}/comm").read_text() == "sleep\n", "the child to run")
    return child


def test_a_child_process() -> None:
    before = snapshot()
    child = start_child()
    try:
        assert leaks_while(before) == [f"child process {child.pid}: 'sleep', started during the test"]
    finally:
        child.kill()
        child.wait()
    assert leaks_while(before) == []


def test_a_child_process_of_another_thread() -> None:
    started, over = threading.Event(), threading.Event()
    before = snapshot()

    def run() -> None:
        with start_child() as child:
            started.set()
            over.wait()
            child.kill()

    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(PATIENCE)
    assert any("child process" in leak and "'sleep'" in leak for leak in leaks_while(before))
    over.set()
    thread.join()
    assert settle(before, PATIENCE) == []


def test_a_child_that_nobody_waited_for() -> None:
    """Its exit status is left, and so is its place in the table of processes."""
    before = snapshot()
    child = start_child()
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert leaks_while(before) == [f"child process {child.pid}: 'sleep', started during the test"]
    child.wait()
    assert leaks_while(before) == []


def test_a_task_of_a_watched_loop() -> None:
    async def left_behind() -> None:
        await asyncio.Event().wait()

    with closing(asyncio.new_event_loop()) as loop:
        watch_loop(loop)
        before = snapshot()
        task = loop.create_task(left_behind(), name="Task-of-test")
        (leak,) = leaks_while(before)
        assert leak.startswith("task Task-of-test: <coroutine object")
        assert "left_behind" in leak
        assert leak.endswith("not done")
        task.cancel()
        loop.run_until_complete(asyncio.wait([task]))
        assert leaks_while(before) == []


def test_a_task_of_a_loop_that_nobody_watches_is_not_seen() -> None:
    with closing(asyncio.new_event_loop()) as loop:
        before = snapshot()
        task = loop.create_task(asyncio.sleep(0))
        assert leaks_while(before) == []
        loop.run_until_complete(task)


def test_a_task_of_a_loop_in_another_thread() -> None:
    loop = asyncio.new_event_loop()
    watch_loop(loop)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    before = snapshot()
    future = asyncio.run_coroutine_threadsafe(asyncio.Event().wait(), loop)
    # The loop makes the task when it comes to it.
    found = wait_for(lambda: leaks_while(before), "the task to be made")
    assert [leak.split()[0] for leak in found] == ["task"]
    future.cancel()
    assert settle(before, PATIENCE) == []
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def nothing() -> Snapshot:
    return Snapshot({}, {}, {}, {}, frozenset(), frozenset(), frozenset(), {}, 0, 0, 0)


@pytest.mark.parametrize(
    ("change", "leak"),
    [
        ({"mounts": {"/run/gadget/ffs"}}, "FunctionFS at /run/gadget/ffs: mounted during the test"),
        ({"gadgets": {"g1"}}, "gadget g1: in configfs, made during the test"),
        ({"records": {"/run/gadget/g1"}}, "ownership record /run/gadget/g1: made during the test"),
        ({"served": {"dummy_udc.0": "g1"}}, "controller dummy_udc.0: it serves g1, since the test"),
        ({"aio_rings": 1, "aio_slots": 8}, "AIO: 1 context of this process not closed"),
        ({"aio_slots": 8}, "AIO: 8 more slots in use, by another process's contexts"),
        ({"undrained": 2}, "AIO: the kernel still holds buffers of 2 contexts"),
    ],
)
def test_what_the_kernel_is_left_with(change: dict[str, Any], leak: str) -> None:
    assert replace(nothing(), **change).leaks_since(nothing()) == [leak]
    assert nothing().leaks_since(replace(nothing(), **change)) == []


def test_a_controller_that_serves_another_gadget() -> None:
    before = replace(nothing(), served={"dummy_udc.0": "g1"})
    assert replace(nothing(), served={"dummy_udc.0": "g2"}).leaks_since(before) == [
        "controller dummy_udc.0: it serves g2, since the test"
    ]


def test_settling_waits_for_what_is_ending() -> None:
    before = snapshot()
    looked = threading.Event()
    thread = threading.Thread(target=looked.wait, args=(PATIENCE,))
    thread.start()
    assert leaks_while(before)
    # The alarm is handled by this thread, so the other one ends only while this one waits.
    with on_alarm(looked.set):
        assert settle(before, PATIENCE) == []
    thread.join()


@contextmanager
def on_alarm(call: Callable[[], object], seconds: float = 0.1) -> Iterator[None]:
    handler = signal.signal(signal.SIGALRM, lambda *_: call())
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)


def test_settling_tells_what_is_left_when_the_time_is_up() -> None:
    before = snapshot()
    descriptor = os.open("/dev/null", os.O_RDONLY)
    try:
        assert settle(before, 0.05) == [f"file descriptor {descriptor}: /dev/null, opened during the test"]
    finally:
        os.close(descriptor)


class Cycle:
    """Garbage that only the collector finds, and that closes its descriptor then."""

    def __init__(self) -> None:
        self.me = self
        self.descriptor = os.open("/dev/null", os.O_RDONLY)

    def __del__(self) -> None:
        os.close(self.descriptor)


def test_settling_collects_garbage() -> None:
    before = snapshot()
    Cycle()
    assert leaks_while(before)
    assert settle(before, 0) == []


def test_it_loads_neither_asyncio_nor_the_extension() -> None:
    script = """
import sys
from gadget.testing.observe.leaks import snapshot
snapshot()
print(*(name for name in ("asyncio", "gadget.aio", "pytest", "usb1") if name in sys.modules))
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.split() == []
