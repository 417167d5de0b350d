"""Keeps the two rules of the layout: imports point upward only, and the pure modules touch nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gadget

PACKAGE = Path(gadget.__file__).parent
#: From top to bottom: a group may import those that stand before it.
ORDER = (
    "lazy_names",
    "errors",
    "teardown",
    "protocol",
    "aio",
    "functionfs",
    "configfs",
    "kernel_functions",
    "services",
    "schemes",
    "composition",
    "declared",
    "serving",
    "device",
    "mounted",
    "loader",
    "classes",
    "vm",
    "testing",
    "cli",
)
#: The bench knows nothing of the groups above it.
ONLY = {"vm": {"errors"}}
PURE_GROUPS = {"lazy_names", "errors", "teardown", "protocol", "kernel_functions"}
PURE_MODULES = {
    "composition",
    "classes.cp210x_chip",
    "classes.cp210x_stream",
    "classes.cp210x_parts",
    "classes.cp210x_values",
    "functionfs.access",
    "configfs.announced",
    "configfs.checks",
    "configfs.interfaces",
    "configfs.model",
    "configfs.plan",
    "configfs.steps",
    "configfs.texts",
    "schemes.libusbgx",
    "schemes.own",
    "schemes.plain_function",
    "schemes.rust",
    "schemes.rust_functions",
    "services.boards",
    "services.endpoint_budget",
    "testing.controller_kinds",
    "testing.observe.usbmon_event",
    "testing.usbip.usbip_protocol",
    "testing.usbip.wire",
}
IMPURE = {"asyncio", "ctypes", "fcntl", "mmap", "os", "select", "socket", "subprocess", "threading", "time"}
#: Text of error numbers: os.strerror opens nothing.
EXCEPTIONS = {("errors", "os")}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if not path.name.startswith("build_"))


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: str) -> Iterator[str]:
    """Yields the full name of everything that a module imports, at whatever depth it does so."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the group they lead to"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def wrong_directions(name: str, source: str) -> list[str]:
    """Lists the imports of one module that do not point upward."""
    group = name.partition(".")[0]
    allowed = ONLY.get(group, set(ORDER[: ORDER.index(group)])) | {group}
    own = (imported.split(".") for imported in imports(source))
    return [".".join(parts) for parts in own if parts[0] == "gadget" and parts[1] not in allowed]


def impurities(name: str, source: str) -> list[str]:
    """Lists the imports of one pure module that reach outside it."""
    roots = (imported.partition(".")[0] for imported in imports(source))
    return [root for root in roots if root in IMPURE and (name, root) not in EXCEPTIONS]


def is_pure(name: str) -> bool:
    return name.partition(".")[0] in PURE_GROUPS or name in PURE_MODULES


# The package itself and its __main__ stand outside the order: they hand on to every group.
@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_point_upward(path: Path) -> None:
    name = name_of(path)
    if name not in ("", "__main__"):
        assert not wrong_directions(name, path.read_text())


@pytest.mark.parametrize("path", [path for path in modules() if is_pure(name_of(path))], ids=name_of)
def test_pure_modules_reach_nothing_outside(path: Path) -> None:
    assert not impurities(name_of(path), path.read_text())


@pytest.mark.parametrize(
    ("name", "source", "wrong"),
    [
        ("protocol.control", "from gadget.aio import AsyncContext", ["gadget.aio.AsyncContext"]),
        ("aio.context", "def late():\n    import gadget.device", ["gadget.device"]),
        ("vm.boot", "from gadget.protocol.constants import Speed", ["gadget.protocol.constants.Speed"]),
        ("vm.boot", "from gadget import errors", []),
        ("device", "from gadget.functionfs.mount import functionfs\nimport os", []),
    ],
)
def test_the_rule_of_directions_finds_what_it_should(name: str, source: str, wrong: list[str]) -> None:
    assert wrong_directions(name, source) == wrong


def test_the_rule_of_purity_finds_what_it_should() -> None:
    assert impurities("protocol.control", "import asyncio.events\nfrom os import path\nimport struct") == [
        "asyncio",
        "os",
    ]


def test_the_pure_modules_are_there_to_be_looked_at() -> None:
    names = {name_of(path) for path in modules()}
    assert {"errors", "protocol.constants", "protocol.control", *PURE_MODULES} <= names


def loaded_by(statement: str) -> set[str]:
    """Runs a statement in a fresh interpreter and lists the modules of this package that it loaded."""
    script = f"import sys\n{statement}\nprint(*(name for name in sys.modules if name.startswith('gadget')))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    return set(done.stdout.split())


def test_aio_stands_on_its_own() -> None:
    loaded = loaded_by("import gadget.aio")
    assert "gadget.aio" in loaded
    assert {name.split(".")[1] for name in loaded if "." in name} <= {"aio", "errors", "lazy_names"}


def test_who_reads_in_threads_does_not_load_asyncio() -> None:
    script = "import sys\nfrom gadget.aio import Context\nContext(1).close()\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    assert "gadget.aio.context" in done.stdout.split()
    assert "asyncio" not in done.stdout.split()


def test_a_device_does_not_wait_for_what_it_does_not_need() -> None:
    loaded = loaded_by("import gadget.aio")
    assert not loaded & {"gadget.aio.batch", "gadget.aio.probing", "gadget.aio.syscalls"}


def test_the_package_loads_nothing_before_it_is_asked_for() -> None:
    assert {name.split(".")[1] for name in loaded_by("import gadget") if "." in name} == {"lazy_names"}


def test_what_the_command_speaks_with_is_loaded_by_it_alone() -> None:
    script = (
        "import sys, gadget.device, gadget.kernel_functions, gadget.cli.run, gadget.schemes.own\nprint(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    roots = {name.partition(".")[0] for name in done.stdout.split()}
    assert not roots & {"rich", "shtab", "tomli_w", "libconf"}
