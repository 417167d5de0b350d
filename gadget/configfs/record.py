"""The record of a gadget's ownership: what stands in it, and how it is put on file in one piece."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gadget.errors import ConfigurationError, NotPermittedError

#: Where the records of the system are; a user's own are below $XDG_RUNTIME_DIR.
RECORDS = Path("/run/gadget")

#: The version of the record's form; another one is refused rather than guessed at.
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Record:
    """What a gadget consists of and who serves it.

    Attributes:
        name: The gadget's name.
        tree: Its folder in configfs.
        functions: Its function instances.
        mounts: Mount points of its FunctionFS instances.
        folders: Those of the mount points that were made for it, and go with it.
        udc: The controller that it is bound to, None while it is not.
        pid: The process that serves it, 0 when it gave up with something left.
        started: When that process started, in clock ticks after boot (field 22 of ``/proc/PID/stat``).
        boot_id: ``/proc/sys/kernel/random/boot_id`` at that time.
        created_by: The command line of that process.
    """

    name: str
    tree: Path
    functions: tuple[str, ...] = ()
    mounts: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()
    udc: str | None = None
    pid: int = 0
    started: int = 0
    boot_id: str = ""
    created_by: str = ""

    def to_json(self) -> bytes:
        """Writes the record as JSON, with its format version first."""
        return json.dumps({"format": FORMAT, **asdict(self)}, default=str, indent=1).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes, source: Path) -> Record:
        """Reads what :meth:`to_json` wrote.

        Raises:
            ConfigurationError: It is no record, or of another version; the message names ``source``.
        """
        try:
            fields: dict[str, Any] = json.loads(data)
            if fields.pop("format") != FORMAT:
                raise ValueError("another version wrote it")
            for name, kind in (("functions", str), ("mounts", Path), ("folders", Path)):
                fields[name] = tuple(kind(value) for value in fields[name])
            return cls(**{**fields, "tree": Path(fields["tree"])})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            advice = "remove this file, and the gadget of this name in configfs by hand"
            raise ConfigurationError(f"{source} is no ownership record that can be used ({error}): {advice}") from error

    @classmethod
    def read(cls, descriptor: int, source: Path) -> Record:
        """Reads the record in an open file, which stays open; otherwise as :meth:`from_json`."""
        with open(descriptor, "rb", closefd=False) as file:
            return cls.from_json(file.read(), source)


def default_folder() -> Path:
    """The folder of the records: ``/run/gadget``, or below $XDG_RUNTIME_DIR for a user who may not write there.

    Raises:
        NotPermittedError: There is neither.
    """
    if os.access(RECORDS if RECORDS.exists() else RECORDS.parent, os.W_OK):
        return RECORDS
    if own := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(own, "gadget")
    raise NotPermittedError(
        errno.EACCES, f"cannot write {RECORDS}, and XDG_RUNTIME_DIR is not set; run it as root (sudo)"
    )


def boot_id() -> str:
    """What tells this boot of the machine from any other."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks after boot; None where it has ended or never was (proc(5), stat)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is a name in parentheses that may itself hold blanks and parentheses.
    fields = stat.rpartition(")")[2].split()
    # A zombie serves nothing, and its parent may take its time to collect it.
    return None if fields[0] in "ZX" else int(fields[19])


def is_alive(record: Record) -> bool:
    """Whether the process that wrote a record lives."""
    return record.pid != 0 and record.boot_id == boot_id() and start_time(record.pid) == record.started


def discard_unpublished(path: Path) -> None:
    """Removes what a killed process was about to publish under this name."""
    for temporary in path.parent.glob(f".{path.name}.*-*"):
        with contextlib.suppress(OSError):  # gone meanwhile; or locked, by a process of another container
            if start_time(int(temporary.name.rpartition(".")[2].partition("-")[0])) is None:
                with temporary.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    temporary.unlink()


def publish(path: Path, record: Record, *, exclusive: bool = False) -> int | None:
    """Writes a record under its name, locked; returns the descriptor that holds the lock.

    With ``exclusive``, None says that somebody else's is there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(8).hex()}")
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with open(descriptor, "wb", closefd=False) as file:
            file.write(record.to_json())
        if exclusive:
            path.hardlink_to(temporary)
            temporary.unlink()
        else:
            temporary.rename(path)
    except BaseException as error:
        os.close(descriptor)
        temporary.unlink(missing_ok=True)
        if exclusive and isinstance(error, FileExistsError):
            return None
        raise
    return descriptor
