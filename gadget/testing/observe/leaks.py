"""What a test has left behind, in its process and in the kernel.

Python in the guest is emulated, so a :func:`snapshot` reads little and imports nothing. That is also why pending tasks
are only looked for in the loops that :func:`watch_loop` was told of: to find all there are, the garbage collector's
list of every object would have to be gone through, which alone costs more than all the rest.
"""

# A snapshot looks at a hundred files, and pathlib would take most of its time.
# ruff: noqa: PTH115, PTH123, PTH208

from __future__ import annotations

import errno
import gc
import os
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gadget.configfs.apply import USB_GADGET_ROOT
from gadget.configfs.record import default_folder
from gadget.errors import NotPermittedError

if TYPE_CHECKING:
    import asyncio

    from gadget.aio import Context

_PROCESS = "/proc/self"
_CONTROLLERS = "/sys/class/udc"
#: What the kernel appends to the name of a file that was unlinked meanwhile (proc(5), ``/proc/pid/fd``).
_DELETED = " (deleted)"

_loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
#: Descriptors and child processes that are not looked at.
_exceptions: tuple[set[int], set[int]] = (set(), set())


def watch_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Has snapshots look at the tasks of an event loop that outlives tests, until it is closed."""
    _loops.add(loop)


def except_for(start: Callable[[], object]) -> None:
    """Starts what stays for the whole session, whichever test needs it first: snapshots leave out what that opens."""
    before = _descriptors(), _children()
    start()
    for kept, earlier, now in zip(_exceptions, before, (_descriptors(), _children()), strict=True):
        kept |= now.keys() - earlier.keys()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What there is at one moment.

    Attributes:
        descriptors: This process's open file descriptors, with what they are.
        threads: Its threads by native id, with their names, those that Python does not know of included.
        children: Its child processes by id, with their names; none where the kernel has no CONFIG_PROC_CHILDREN.
        tasks: Tasks that are not done in watched loops, by identity and name, with what they run.
        mounts: The folders where a FunctionFS is mounted.
        gadgets: The gadgets in configfs.
        records: The files in the folder of ownership records.
        served: The gadget of each controller that has one, by the controller's name.
        aio_rings: The completion rings of AIO contexts that this process has mapped.
        aio_slots: The slots of all AIO contexts of the virtual machine; 0 elsewhere.
        undrained: AIO contexts of this process whose buffers the kernel still holds.
    """

    descriptors: Mapping[int, str]
    threads: Mapping[int, str]
    children: Mapping[int, str]
    tasks: Mapping[tuple[int, str], str]
    mounts: frozenset[str]
    gadgets: frozenset[str]
    records: frozenset[str]
    served: Mapping[str, str]
    aio_rings: int
    aio_slots: int
    undrained: int

    def leaks_since(self, before: Snapshot) -> list[str]:
        """What there is now and was not before, a sentence each; empty when there is nothing."""
        return [*self._of_gadgets(before), *self._of_process(before), *self._of_aio(before)]

    def _of_gadgets(self, before: Snapshot) -> list[str]:
        served = [(udc, name) for udc, name in sorted(self.served.items()) if before.served.get(udc) != name]
        return [
            *(f"controller {udc}: it serves {name}, since the test" for udc, name in served),
            *(f"gadget {name}: in configfs, made during the test" for name in sorted(self.gadgets - before.gadgets)),
            *(f"FunctionFS at {path}: mounted during the test" for path in sorted(self.mounts - before.mounts)),
            *(f"ownership record {name}: made during the test" for name in sorted(self.records - before.records)),
        ]

    def _of_process(self, before: Snapshot) -> list[str]:
        descriptors = _more(self.descriptors, before.descriptors)
        threads = _more(self.threads, before.threads)
        children = _new(self.children, before.children)
        tasks = _new(self.tasks, before.tasks)
        return [
            *(f"child process {number}: {name}, started during the test" for number, name in children),
            *(f"thread {number}: {name}, started during the test" for number, name in threads),
            *(f"task {name}: {what}, not done" for (_, name), what in tasks),
            *(f"file descriptor {number}: {target}, opened during the test" for number, target in descriptors),
        ]

    def _of_aio(self, before: Snapshot) -> list[str]:
        found = []
        if self.undrained > before.undrained:
            found.append(f"AIO: the kernel still holds buffers of {_count(self.undrained - before.undrained)}")
        if self.aio_rings > before.aio_rings:
            found.append(f"AIO: {_count(self.aio_rings - before.aio_rings)} of this process not closed")
        if self.aio_slots > before.aio_slots and self.aio_rings <= before.aio_rings:
            found.append(f"AIO: {self.aio_slots - before.aio_slots} more slots in use, by another process's contexts")
        return found


def snapshot() -> Snapshot:
    """Looks at everything that a test could leave behind."""
    return Snapshot(
        descriptors=_descriptors(),
        threads=_threads(),
        children=_children(),
        tasks=_tasks(),
        mounts=_mounts(),
        gadgets=frozenset(_names(USB_GADGET_ROOT)),
        records=_records(),
        served=_served(),
        aio_rings=_read(f"{_PROCESS}/maps").count("[aio]"),
        # Outside of a machine of our own, anybody may be using them.
        aio_slots=int(_read("/proc/sys/fs/aio-nr") or 0) if "GADGET_VM" in os.environ else 0,
        undrained=_undrained(),
    )


def settle(before: Snapshot, timeout: float) -> list[str]:
    """Waits until nothing is left that was not there before; returns what is left when the time is up.

    What the kernel and other threads have been told to end may take a moment. Garbage is collected only if something
    is left at first sight, and once more before that is taken for a leak.

    Args:
        before: How it was.
        timeout: Seconds.
    """
    deadline = time.monotonic() + timeout
    if not snapshot().leaks_since(before):
        return []
    gc.collect()
    pause = 0.005
    while (left := snapshot().leaks_since(before)) and time.monotonic() < deadline:
        # A thread's own end, a process's, the kernel's: nothing tells of all of them.
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
        pause = min(2 * pause, 0.1)
    if left:
        gc.collect()
        left = snapshot().leaks_since(before)
    return left


def _new(now: Mapping[Any, str], before: Mapping[Any, str]) -> list[tuple[Any, str]]:
    return [(key, now[key]) for key in sorted(now) if key not in before]


def _more(now: Mapping[int, str], before: Mapping[int, str]) -> list[tuple[int, str]]:
    """Those that are new, unless one of the same name has gone instead: opening or starting it again is no leak."""
    more = Counter(now.values()) - Counter(before.values())
    found = []
    for number, target in sorted(now.items(), key=lambda item: (before.get(item[0]) == item[1], item)):
        if more[target] > 0:
            more[target] -= 1
            found.append((number, target))
    return sorted(found)


def _count(number: int) -> str:
    return "1 context" if number == 1 else f"{number} contexts"


def _read(path: str) -> str:
    """A file's text; empty where it is not, or goes while it is read: what the kernel has no file for is not there."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESRCH, errno.ENODEV):
            return ""
        raise


def _names(folder: str | os.PathLike[str]) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _readlink(path: str) -> str | None:
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return None


def _descriptors() -> dict[int, str]:
    # The one that listed the folder is closed when its link is read, so that it drops out by itself.
    found = {int(name): _readlink(f"{_PROCESS}/fd/{name}") for name in os.listdir(f"{_PROCESS}/fd")}
    # A file that is deleted while it is open is still the same, and so is a cable that is plugged in again.
    names = {number: target.removesuffix(_DELETED) for number, target in found.items() if target is not None}
    ends = _cable_ends()
    return {number: ends.get(number, name) for number, name in names.items() if number not in _exceptions[0]}


def _cable_ends() -> dict[int, str]:
    module = sys.modules.get("gadget.testing.usbip.cable")
    if module is None:
        return {}
    open_ends: Callable[[], dict[int, str]] = module.open_ends
    return open_ends()


def _threads() -> dict[int, str]:
    known = {thread.native_id: thread.name for thread in threading.enumerate()}
    return {
        number: f"{known[number]!r}" if number in known else f"{name!r}, not made by Python"
        for number, name in _commands(f"{_PROCESS}/task", os.listdir(f"{_PROCESS}/task"))
    }


def _children() -> dict[int, str]:
    numbers: list[str] = []
    for thread in os.listdir(f"{_PROCESS}/task"):
        numbers += _read(f"{_PROCESS}/task/{thread}/children").split()
    return {number: repr(name) for number, name in _commands("/proc", numbers) if number not in _exceptions[1]}


def _commands(folder: str, numbers: Iterable[str]) -> Iterable[tuple[int, str]]:
    """The names of processes or threads; those that have ended meanwhile have none."""
    for number in numbers:
        if name := _read(f"{folder}/{number}/comm"):
            yield int(number), name.rstrip("\n")


def _tasks() -> dict[tuple[int, str], str]:
    if not _loops:
        return {}
    import asyncio

    return {
        # The name as well: a new task may get the memory, and so the identity, of one that has ended.
        (id(task), task.get_name()): repr(task.get_coro())
        for loop in list(_loops)
        if not loop.is_closed()
        for task in asyncio.all_tasks(loop)
    }


def _mounts() -> frozenset[str]:
    mounts = (line.split(" ") for line in _read(f"{_PROCESS}/mounts").splitlines())
    return frozenset(fields[1] for fields in mounts if fields[2] == "functionfs")


def _records() -> frozenset[str]:
    try:
        folder = default_folder()
    except NotPermittedError:
        return frozenset()  # Who may write no record has made none.
    return frozenset(f"{folder}/{name}" for name in _names(folder))


def _served() -> dict[str, str]:
    functions = {udc: _read(f"{_CONTROLLERS}/{udc}/function").strip() for udc in _names(_CONTROLLERS)}
    return {udc: name for udc, name in functions.items() if name}


def _undrained() -> int:
    # Without the module there is no context; importing it for that would load the extension.
    module = sys.modules.get("gadget.aio.context")
    if module is None:
        return 0
    undrained: Callable[[], tuple[Context, ...]] = module.undrained_contexts
    return len(undrained())
