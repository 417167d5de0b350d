"""The wheel, outside of the checkout: which Pythons it is for, that newer ones take it, how it is built and tested."""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

import pytest

from gadget.aio._aio import lib

ROOT = Path(__file__).parents[2]
PATIENCE = 240.0
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
#: What a wheel is built from.
SOURCE = ("gadget", "pyproject.toml", "setup.py", "README.rst", "LICENSE")
#: Some seconds of tests/kernel that have contexts, batches, asyncio, threads and collected cycles.
QUICK = "tests/kernel/parity/test_caio.py"

pytestmark = pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="there is no source to build a wheel from")


def newer_pythons() -> dict[str, Path]:
    """Those installed here, by name. pyenv's on PATH are scripts that may lead nowhere, so its own are looked for."""
    folders = chain(Path.home().glob(".pyenv/versions/*/bin"), map(Path, os.get_exec_path()))
    found: dict[str, Path] = {}
    for path in chain.from_iterable(folder.glob("python3.*") for folder in folders):
        version = re.fullmatch(r"python3\.(\d+)", path.name)
        if version and int(version[1]) > 11 and path.read_bytes()[:4] == b"\x7fELF":
            found.setdefault(path.name, path)
    return found


NEWER: Mapping[str, Path | None] = newer_pythons() or {"none": None}


def run(command: Sequence[str | Path], folder: Path) -> str:
    """Without what the pytest that runs this says of itself, and without a way back to the checkout."""
    ours = ("PYTEST_", "GADGET_", "COV_", "PYTHON")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def copy(names: Iterable[str], folder: Path) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def recipe() -> dict[str, str]:
    found: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["cibuildwheel"]
    return found


@pytest.fixture(scope="module")
def outside(recipe: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tests, where the recipe runs them: beside nothing but what it copies."""
    return copy(recipe["test-sources"], tmp_path_factory.mktemp("outside"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = copy(SOURCE, folder / "source")
    run([*PIP, "wheel", "-q", "--no-deps", "-w", folder, source], folder)
    (built,) = folder.glob("*.whl")
    return built


def test_the_recipe_tests_what_it_has_copied(recipe: dict[str, str], outside: Path) -> None:
    python, *command = shlex.split(recipe["test-command"])
    assert python == "python"
    assert "test_context.py" in run([sys.executable, *command, "--collect-only"], outside)


def test_one_wheel_is_for_all_pythons(wheel: Path) -> None:
    assert wheel.stem.endswith(f"-cp311-abi3-linux_{platform.machine()}")


@pytest.mark.parametrize("python", NEWER.values(), ids=NEWER)
def test_a_newer_python_takes_it(python: Path | None, wheel: Path, outside: Path, tmp_path: Path) -> None:
    if python is None:
        pytest.skip("there is no Python newer than 3.11 on PATH or in ~/.pyenv/versions")
    run([python, "-m", "venv", "--without-pip", tmp_path / "env"], tmp_path)
    # By the pip that is here: one of its own takes longer to come than all the rest.
    (packages,) = (tmp_path / "env/lib").glob("python*/site-packages")
    there = ("--target", packages, "--python-version", python.name.removeprefix("python"), "--only-binary", ":all:")
    run([*PIP, "install", "-q", "--no-compile", *there, wheel, "pytest", "hypothesis"], tmp_path)
    own = tmp_path / "env/bin/python"
    where = run([own, "-c", "import gadget.aio._aio as extension; print(extension.__file__)"], outside)
    assert where.startswith(str(packages)), where
    run([own, "-m", "pytest", "-q", QUICK], outside)


@pytest.fixture
def old_headers(tmp_path: Path) -> list[str | Path]:
    """Options of the compiler for this machine's headers, without what they did not have at the time of Linux 4.18."""
    include, folder = Path("/usr/include"), tmp_path / "include"
    (folder / "linux").mkdir(parents=True)
    for header in [*include.iterdir(), *include.glob("linux/*")]:
        if header.name not in ("linux", "ioprio.h", "aio_abi.h"):
            (folder / header.relative_to(include)).symlink_to(header)
    aio_abi = (include / "linux/aio_abi.h").read_text()
    (folder / "linux/aio_abi.h").write_text(aio_abi.replace("IOCB_CMD_POLL = 5,", ""))
    own = run(["gcc", "-print-file-name=include"], tmp_path)
    machine = include / run(["gcc", "-print-multiarch"], tmp_path)
    return ["-nostdinc", "-isystem", folder, "-isystem", own, "-isystem", machine]


def test_the_headers_of_linux_4_18_will_do(old_headers: list[str | Path], tmp_path: Path) -> None:
    """linux/ioprio.h came with 5.15, and polls with 4.19."""
    names = ("IOCB_CMD_POLL", *(name for name in dir(lib) if name.startswith("IOPRIO_")))
    checks = "\n".join(f'_Static_assert({name} == {getattr(lib, name)}, "{name}");' for name in names)
    (tmp_path / "check.c").write_text(f'#include "_abi.h"\n{checks}\n')
    run(["gcc", "-fsyntax-only", *old_headers, "-I", ROOT / "gadget/aio", "check.c"], tmp_path)
