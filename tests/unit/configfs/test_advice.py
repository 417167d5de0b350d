"""What the kernel answered, turned into an error; ordinary folders stand in for configfs."""

from __future__ import annotations

import errno
from pathlib import Path, PurePosixPath as P

import pytest

from gadget.configfs.advice import refused_step
from gadget.configfs.steps import MakeDirectory, Step, WriteAttribute
from gadget.errors import KernelError, MissingModuleError, UnsupportedError

LUN_FILE = P("g/functions/mass_storage.0/lun.0/file")


@pytest.mark.parametrize(
    ("code", "step", "kind", "said"),
    [
        (errno.ENOENT, MakeDirectory(P("g/functions/acm.0")), MissingModuleError, "modprobe usbfunc:acm"),
        (errno.ENOENT, WriteAttribute(LUN_FILE, b"/no/disk"), KernelError, "what the value names is not there"),
        (errno.EOVERFLOW, MakeDirectory(P("g/strings/0x40c")), UnsupportedError, "Linux 6.1 takes two"),
        (errno.EBUSY, MakeDirectory(P("g/functions/acm.8")), KernelError, "no more instances of this kind"),
        (errno.EBUSY, MakeDirectory(P("g/functions/ffs.a")), KernelError, "g_ffs"),
        (errno.EBUSY, MakeDirectory(P("g/functions/ffs.b")), KernelError, "gadget other has an instance"),
        (errno.EINVAL, MakeDirectory(LUN_FILE.parent), KernelError, "dmesg"),
    ],
)
def test_the_advice_fits_the_step(tmp_path: Path, code: int, step: Step, kind: type[KernelError], said: str) -> None:
    (tmp_path / LUN_FILE.parent).mkdir(parents=True)
    (tmp_path / LUN_FILE).write_bytes(b"")
    (tmp_path / "other/functions/ffs.b").mkdir(parents=True)
    error = refused_step(OSError(code, ""), step, tmp_path)
    assert type(error) is kind
    assert error.errno == code
    assert said in str(error)
    assert str(tmp_path / step.path) in str(error)
