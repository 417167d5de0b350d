from __future__ import annotations

from pathlib import Path

import pytest

from gadget.errors import UsageError
from gadget.vm.module_build import compiler_names, read_sources


@pytest.mark.parametrize(
    ("configuration", "names"),
    [
        ("CONFIG_CC_VERSION_TEXT=gcc-12 (Debian 12.2.0-14) 12.2.0\n", ["gcc-12", "gcc", "cc"]),
        ('CONFIG_X=y\nCONFIG_CC_VERSION_TEXT="gcc (GCC) 13.1"\n', ["gcc", "cc"]),
        (
            'CONFIG_CC_VERSION_TEXT="x86_64-linux-gnu-gcc-12 (Debian)"\n',
            ["x86_64-linux-gnu-gcc-12", "gcc-12", "gcc", "cc"],
        ),
        ("", ["gcc", "cc"]),
    ],
)
def test_the_compiler_that_built_the_kernel_is_tried_first(configuration: str, names: list[str]) -> None:
    assert compiler_names(configuration) == names


def test_sources_are_the_files_that_no_build_leaves_behind(tmp_path: Path) -> None:
    sources = {"Kbuild": b"obj-m += a.o", "a.c": b"", "sub/b.h": b"b", "firmware.bin": b"\0"}
    others = ["a.o", "a.ko", "a.mod", "a.mod.c", ".a.o.cmd", "Module.symvers", "modules.order", "test_a.py", "sub/b.o"]
    for name in (*sources, *others, ".git/config", "__pycache__/x.c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(sources.get(name, b"other"))
    assert read_sources(tmp_path) == sources


@pytest.mark.parametrize(
    ("names", "message"),
    [([], "no such folder"), (["x/a.c"], r"one line: obj-m \+= NAME\.o"), (["x/Kbuild", "x/gone.h"], "cannot be read")],
)
def test_what_is_no_module_s_folder_is_refused(tmp_path: Path, names: list[str], message: str) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to("/no/such/file") if "gone" in name else (tmp_path / name).touch()
    with pytest.raises(UsageError, match=message):
        read_sources(tmp_path / "x")
