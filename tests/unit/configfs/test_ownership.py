"""With real processes and real locks; ordinary folders stand in for configfs, without the attributes it removes."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gadget.configfs.ownership import Ownership
from gadget.configfs.record import boot_id, start_time
from gadget.errors import ClosedError, ConfigurationError, GadgetBusyError, KernelError, NotUndoneError

REPOSITORY = Path(__file__).parents[3]

#: Acquires gadget g, makes a part of its tree, says so, and waits for its input to end.
OWNER = """
import sys
from pathlib import Path
from gadget.configfs.ownership import Ownership
root, folder = Path(sys.argv[1]), Path(sys.argv[2])
ownership = Ownership.acquire("g", functions=("ffs.g",), root=root, folder=folder)
(root / "g/functions/ffs.g").mkdir(parents=True)
(root / "g/configs/c.1").mkdir(parents=True)
(root / "g/configs/c.1/ffs.g").symlink_to(root / "g/functions/ffs.g")
print("ready", flush=True)
sys.stdin.read()
"""


class Places:
    """The folders that stand in for configfs and ``/run/gadget``."""

    def __init__(self, top: Path) -> None:
        self.root = top / "usb_gadget"
        self.folder = top / "run"
        self.root.mkdir()

    @property
    def file(self) -> Path:
        return self.folder / "g.json"

    def acquire(self, **resources: Any) -> Ownership:
        return Ownership.acquire("g", root=self.root, folder=self.folder, **resources)

    @contextmanager
    def owner(self) -> Iterator[subprocess.Popen[bytes]]:
        """Another process that owns gadget g."""
        arguments = [sys.executable, "-c", OWNER, str(self.root), str(self.folder)]
        with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY) as process:
            assert process.stdout is not None
            try:
                assert process.stdout.readline() == b"ready\n"
                yield process
            finally:
                process.kill()

    def kill_an_owner(self) -> int:
        with self.owner() as process:
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
            return process.pid


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


def on_file(places: Places) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(places.file.read_text())
    return content


def test_the_record_says_who_and_what(places: Places) -> None:
    mounts = [Path("/dev/ffs-g")]
    with places.acquire(functions=("ffs.g",), mounts=mounts, folders=mounts) as ownership:
        assert ownership.stale is None
        record = on_file(places)
        assert record.pop("created_by")
        assert record == {
            "format": 1,
            "name": "g",
            "tree": str(places.root / "g"),
            "functions": ["ffs.g"],
            "mounts": ["/dev/ffs-g"],
            "folders": ["/dev/ffs-g"],
            "udc": None,
            "pid": os.getpid(),
            "started": start_time(os.getpid()),
            "boot_id": boot_id(),
        }
        assert places.file.stat().st_mode & 0o777 == 0o644
        assert places.folder.stat().st_mode & 0o777 == 0o755
    assert list(places.folder.iterdir()) == []


def test_releasing_twice_and_using_it_afterwards(places: Places) -> None:
    ownership = places.acquire()
    ownership.release()
    ownership.release()
    with pytest.raises(ClosedError, match="gadget g was released"):
        ownership.update(udc="a")


def test_a_living_owner_is_named(places: Places) -> None:
    with places.owner() as process:
        with pytest.raises(GadgetBusyError, match=rf"process {process.pid} \({sys.executable} -c") as caught:
            places.acquire()
        assert caught.value.errno == errno.EBUSY
        assert on_file(places)["pid"] == process.pid


def test_the_same_process_twice(places: Places) -> None:
    with places.acquire(), pytest.raises(GadgetBusyError, match=f"process {os.getpid()} "):
        places.acquire()


def test_another_gadget_is_no_conflict(places: Places) -> None:
    with places.owner(), Ownership.acquire("h", root=places.root, folder=places.folder) as ownership:
        assert ownership.stale is None


def test_an_update_keeps_the_lock_and_leaves_one_file(places: Places) -> None:
    with places.acquire(functions=("ffs.g",)) as ownership:
        ownership.update(udc="dummy_udc.0")
        assert on_file(places)["udc"] == "dummy_udc.0"
        assert on_file(places)["functions"] == ["ffs.g"]
        assert list(places.folder.iterdir()) == [places.file]
        with places.file.open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_killed_owner_is_reclaimed(places: Places) -> None:
    pid = places.kill_an_owner()
    with places.acquire(functions=("ffs.new",)) as ownership:
        assert ownership.stale is not None
        assert ownership.stale.pid == pid
        assert ownership.stale.functions == ("ffs.g",)
        # Whoever is killed now must leave that behind on file; nothing else has been made yet.
        assert on_file(places)["functions"] == ["ffs.g"]
        (places.root / "g/configs/c.1/ffs.g").unlink()
        (places.root / "g/configs/c.1").rmdir()
        (places.root / "g/configs").rmdir()
        (places.root / "g/functions/ffs.g").rmdir()
        (places.root / "g/functions").rmdir()
        ownership.reclaim()
        assert ownership.stale is None
        assert on_file(places)["functions"] == ["ffs.new"]
    assert list(places.root.iterdir()) == []
    assert list(places.folder.iterdir()) == []


def test_links_functions_and_configurations_go_in_their_order(places: Places) -> None:
    places.kill_an_owner()
    with pytest.raises(NotUndoneError, match="usb_gadget/g: Directory not empty"), places.acquire() as ownership:
        ownership.reclaim()
    # Only what configfs makes and removes by itself is left, and the record of it.
    left = {str(path.relative_to(places.root)) for path in places.root.rglob("*")}
    assert left == {"g", "g/configs", "g/functions"}
    assert on_file(places)["functions"] == ["ffs.g"]


def test_what_could_not_be_reclaimed_is_reclaimed_by_the_next(places: Places) -> None:
    places.kill_an_owner()
    with pytest.raises(NotUndoneError), places.acquire() as ownership:
        ownership.reclaim()
    for name in ("functions", "configs"):
        (places.root / "g" / name).rmdir()
    with places.acquire() as ownership:
        assert ownership.stale is not None
        assert ownership.stale.pid == 0
        ownership.reclaim()
    assert list(places.root.iterdir()) == []
    assert list(places.folder.iterdir()) == []


def test_leaving_without_reclaiming_keeps_the_stale_record(places: Places) -> None:
    places.kill_an_owner()
    with places.acquire():
        pass
    assert on_file(places)["functions"] == ["ffs.g"]
    assert on_file(places)["pid"] == 0
    with places.acquire() as ownership:
        assert ownership.stale is not None


def test_a_teardown_that_failed_keeps_the_record(places: Places) -> None:
    with pytest.raises(NotUndoneError), places.acquire(functions=("ffs.g",)):
        raise NotUndoneError(errno.EBUSY, "still there")
    with places.acquire() as ownership:
        assert ownership.stale is not None
        assert ownership.stale.functions == ("ffs.g",)


def test_any_other_error_removes_the_record(places: Places) -> None:
    with pytest.raises(ZeroDivisionError), places.acquire():
        raise ZeroDivisionError
    assert not places.file.exists()


def test_a_gadget_without_a_record_is_never_touched(places: Places) -> None:
    (places.root / "g").mkdir()
    with pytest.raises(KernelError, match="no record says that this program made it") as caught:
        places.acquire()
    assert caught.value.errno == errno.EEXIST
    assert (places.root / "g").is_dir()
    assert list(places.folder.iterdir()) == []


def rewrite(places: Places, **changes: Any) -> None:
    places.file.write_text(json.dumps({**on_file(places), **changes}))


def test_a_record_of_another_boot_claims_nothing(places: Places) -> None:
    places.kill_an_owner()
    rewrite(places, boot_id="another")
    with pytest.raises(KernelError, match="no record says") as caught:
        places.acquire()
    assert caught.value.errno == errno.EEXIST
    assert (places.root / "g/functions/ffs.g").is_dir()


def test_after_another_boot_without_a_tree_it_is_a_fresh_start(places: Places) -> None:
    places.kill_an_owner()
    rewrite(places, boot_id="another")
    (places.root / "g").rename(places.root / "elsewhere")
    with places.acquire() as ownership:
        assert ownership.stale is None
        assert on_file(places)["functions"] == []


def test_a_process_id_that_was_given_away_again_counts_as_dead(places: Places) -> None:
    places.kill_an_owner()
    parent = os.getppid()
    rewrite(places, pid=parent, started=(start_time(parent) or 0) - 1)
    with places.acquire() as ownership:
        assert ownership.stale is not None


def test_a_living_process_that_lost_its_lock_is_left_alone(places: Places) -> None:
    places.kill_an_owner()
    parent = os.getppid()
    rewrite(places, pid=parent, started=start_time(parent))
    with pytest.raises(GadgetBusyError, match=f"process {parent} "):
        places.acquire()


def test_a_zombie_counts_as_dead(places: Places) -> None:
    with places.owner() as process:
        process.send_signal(signal.SIGKILL)
        # It ends and stays uncollected.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert start_time(process.pid) is None
        with places.acquire() as ownership:
            assert ownership.stale is not None
            assert ownership.stale.pid == process.pid


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 2}', '{"format": 1}', '{"format": 1, "name": 3}'])
def test_a_file_that_is_no_record_is_named(places: Places, content: str) -> None:
    places.folder.mkdir()
    places.file.write_text(content)
    with pytest.raises(ConfigurationError, match=rf"{places.file} is no ownership record.*remove this file"):
        places.acquire()
    assert places.file.read_text() == content


def test_a_tree_with_other_functions_is_somebody_elses(places: Places) -> None:
    places.kill_an_owner()
    (places.root / "g/functions/acm.0").mkdir()
    with pytest.raises(KernelError, match="left alone") as caught, places.acquire() as ownership:
        ownership.reclaim()
    assert caught.value.errno == errno.EEXIST
    assert (places.root / "g/configs/c.1/ffs.g").is_symlink()


def test_what_a_start_wanted_to_make_does_not_become_its_own_by_that(places: Places) -> None:
    """Somebody else's gadget has the name, and the functions that the next version of the killed program wants."""
    places.kill_an_owner()
    (places.root / "g").rename(places.root / "gone")
    (places.root / "g/functions/acm.0").mkdir(parents=True)
    for _ in range(2):
        with pytest.raises(KernelError, match="left alone"), places.acquire(functions=("acm.0",)) as ownership:
            ownership.reclaim()
        assert on_file(places)["functions"] == ["ffs.g"]
    assert (places.root / "g/functions/acm.0").is_dir()


FORK = """
import os
if os.fork() == 0:
    print("ready", flush=True)
    os.read(0, 1)
    os._exit(0)
"""

PROGRAM = """
import subprocess
child = subprocess.Popen(["sh", "-c", "echo ready; exec cat"], close_fds=False)
"""


@pytest.mark.parametrize("start_child", [FORK, PROGRAM])
def test_a_child_that_outlives_its_owner_does_not_keep_the_lock(places: Places, start_child: str) -> None:
    script = f"""
import signal, sys
from pathlib import Path
from gadget.configfs.ownership import Ownership
ownership = Ownership.acquire("g", root=Path(sys.argv[1]), folder=Path(sys.argv[2]))
{start_child}
signal.pause()
"""
    arguments = [sys.executable, "-c", script, str(places.root), str(places.folder)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.kill()
        process.wait()
        with places.acquire() as ownership:
            assert ownership.stale is not None
            assert ownership.stale.pid == process.pid
            # The child still waits for its input to end; only its own end closes this pipe.
            os.set_blocking(process.stdout.fileno(), False)
            assert process.stdout.read() is None


@pytest.mark.parametrize("meanwhile", ["release()", "update(udc='a')", "abandon()"])
def test_a_record_that_changes_between_opening_and_locking(places: Places, meanwhile: str) -> None:
    script = f"""
import sys
from pathlib import Path
from gadget.configfs.ownership import Ownership
from gadget.errors import GadgetBusyError

root, folder = Path(sys.argv[1]), Path(sys.argv[2])
first = Ownership.acquire("g", root=root, folder=folder)
armed = True

def before_locking(event, arguments):
    global armed
    if event == "fcntl.flock" and armed:
        armed = False
        first.{meanwhile}

sys.addaudithook(before_locking)
try:
    with Ownership.acquire("g", root=root, folder=folder) as second:
        print("stale" if second.stale else "fresh")
except GadgetBusyError:
    print("busy")
    first.release()
"""
    arguments = [sys.executable, "-c", script, str(places.root), str(places.folder)]
    answer = subprocess.run(arguments, cwd=REPOSITORY, stdout=subprocess.PIPE, check=True).stdout
    expected = {"release()": b"fresh\n", "update(udc='a')": b"busy\n", "abandon()": b"stale\n"}
    assert answer == expected[meanwhile]


def test_an_owner_that_forgets_is_warned(places: Places) -> None:
    ownership = places.acquire()
    with pytest.warns(ResourceWarning, match="gadget g was never released"):
        del ownership
    with places.acquire() as next_one:
        assert next_one.stale is not None


def test_many_at_once_one_wins_each_time(places: Places) -> None:
    racer = """
import sys
from pathlib import Path
from gadget.configfs.ownership import Ownership
from gadget.errors import GadgetBusyError
root, folder = Path(sys.argv[1]), Path(sys.argv[2])
won = 0
while won < 50:
    try:
        with Ownership.acquire("g", root=root, folder=folder) as ownership:
            assert ownership.stale is None
            (root / "g").mkdir()
            ownership.update(udc="a")
            (root / "g").rmdir()
            won += 1
    except GadgetBusyError:
        pass
"""
    arguments = [sys.executable, "-c", racer, str(places.root), str(places.folder)]
    racers = [subprocess.Popen(arguments, cwd=REPOSITORY, stderr=subprocess.PIPE) for _ in range(3)]
    assert [(process.communicate()[1], process.returncode) for process in racers] == [(b"", 0)] * 3
    assert list(places.folder.iterdir()) == []


def test_what_a_killed_process_was_about_to_put_on_file_is_removed(places: Places) -> None:
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    places.folder.mkdir()
    left, under_way = (places.folder / f".g.json.{pid}-0123" for pid in (ended.pid, os.getpid()))
    left.touch()
    under_way.touch()
    with places.acquire():
        assert [path.name for path in places.folder.iterdir() if path.name.startswith(".")] == [under_way.name]
        under_way.unlink()
