"""Builds kernel modules for the guest's kernel: on this machine, outside their folder, once for the same sources."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from gadget.errors import UsageError
from gadget.vm.errors import VmError
from gadget.vm.headers import find_headers
from gadget.vm.kernel import Kernel, cache_folder, locked

#: What a build leaves in a folder (Documentation/kbuild/modules.rst): no sources, wherever they are.
_BUILT = re.compile(r".*\.(o|ko|a|mod|mod\.c|order|symvers|pyc)")
_NO_SOURCES = re.compile(r"\..*|__pycache__|.*\.py")
#: Variables that tell Kbuild to build for another machine, elsewhere, or as a part of the make that we run in.
_LEFT_OUT = re.compile(r"ARCH|CROSS_COMPILE|LLVM|KBUILD_.*|MAKEFLAGS|MFLAGS|MAKELEVEL|MAKEOVERRIDES|O|M")


def build_module(folder: Path, kernel: Kernel, say: Callable[[str], None] = lambda line: None) -> Path:
    """Builds the kernel module in a folder; returns the ``.ko``.

    The sources are copied to the cache folder and built there, so that nothing is written beside them and a
    second call with the same sources finds the module made. Hidden files and Python files are no part of them.

    Args:
        folder: The folder, with a ``Kbuild`` or ``Makefile`` that says ``obj-m += NAME.o``.
        kernel: The kernel that it is for.
        say: Told what takes long, and the compiler's warnings.

    Raises:
        UsageError: It is no folder of a module.
        VmError: It cannot be built; the message has what the compiler said.
    """
    sources = read_sources(folder)
    headers = find_headers(kernel, say)
    compiler = _find_compiler(headers, say)
    store = cache_folder() / "modules"
    store.mkdir(exist_ok=True)
    target = store / _key(sources, kernel, headers, compiler)
    with locked(store):
        if not target.is_dir():
            say(f"Building the kernel module in {folder} ...")
            _build(sources, folder, headers, compiler, target, say)
    return next(target.glob("*.ko"))


def read_sources(folder: Path) -> dict[str, bytes]:
    """The files that a module is made of, by their path inside the folder.

    Raises:
        UsageError: There is no such folder, or nothing in it says what to build, or a file cannot be read.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder with a kernel module to build")
    if not any((folder / name).is_file() for name in ("Kbuild", "Makefile")):
        raise UsageError(f"{folder}: no Kbuild says what to build here; for NAME.c it is one line: obj-m += NAME.o")
    sources = {}
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not _NO_SOURCES.fullmatch(name)]
        for path in (Path(parent, name) for name in names):
            if not _NO_SOURCES.fullmatch(path.name) and not _BUILT.fullmatch(path.name):
                sources[str(path.relative_to(folder))] = _read(path)
    return sources


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: this file of a kernel module cannot be read: {error.strerror}") from error


def compiler_names(configuration: str) -> list[str]:
    """The compilers to try, the one that built the kernel first: another one may refuse its options.

    Args:
        configuration: ``include/config/auto.conf`` of the kernel.
    """
    match = re.search(r'^CONFIG_CC_VERSION_TEXT="?([^\s"]+)', configuration, re.MULTILINE)
    named = [match[1], re.sub(r"^.*-linux-gnu-", "", match[1])] if match else []
    return list(dict.fromkeys([*named, "gcc", "cc"]))


def _find_compiler(headers: Path, say: Callable[[str], None]) -> str:
    configuration = headers / "include/config/auto.conf"
    names = compiler_names(configuration.read_text() if configuration.is_file() else "")
    found = next((name for name in names if shutil.which(name)), None)
    if found is None or shutil.which("make") is None:
        raise VmError("a kernel module takes make and a compiler to build: apt-get install make gcc libelf1")
    if found in ("gcc", "cc") and names[0] not in ("gcc", "cc"):
        say(f"The kernel was built with {names[0]}, which is not installed here: building its module with {found}.")
    return found


def _key(sources: Mapping[str, bytes], kernel: Kernel, headers: Path, compiler: str) -> str:
    """A name that changes with whatever goes into a module."""
    digest = hashlib.sha256()
    stamps = [(headers / name).stat() for name in ("Makefile", "include/generated/autoconf.h")]
    about = [kernel.release, str(headers), compiler, *(f"{stat.st_size} {stat.st_mtime_ns}" for stat in stamps)]
    parts = [os.fsencode(text) for text in about]
    parts += [part for name in sorted(sources) for part in (os.fsencode(name), sources[name])]
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:20]


def _build(
    sources: Mapping[str, bytes],
    folder: Path,
    headers: Path,
    compiler: str,
    target: Path,
    say: Callable[[str], None],
) -> None:
    """Builds in a hidden folder, of which only the module is kept, under a name that it gets last."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as name:
        work = Path(name) / "build"
        for path, data in sources.items():
            (work / path).parent.mkdir(parents=True, exist_ok=True)
            (work / path).write_bytes(data)
        said = _make(work, folder, headers, compiler)
        for line in said.splitlines():
            if "warning:" in line:
                say(line)
        made = Path(name) / "made"
        made.mkdir()
        module = _made_module(work, folder)
        module.rename(made / module.name)
        made.rename(target)


def _make(work: Path, folder: Path, headers: Path, compiler: str) -> str:
    """Runs make, and returns what it complained about, with the paths of the sources as the user has them."""
    for path in (work, headers):
        if re.search(r"[\s:]", str(path)):
            raise VmError(f"{path}: the kernel's build takes no path with a space or colon: set XDG_CACHE_HOME")
    result = subprocess.run(
        ["make", "-C", str(headers), f"M={work}", f"CC={compiler}", f"-j{os.cpu_count() or 1}", "modules"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env={name: value for name, value in os.environ.items() if not _LEFT_OUT.fullmatch(name)},
        check=False,
    )
    said = result.stderr.replace(str(work), str(folder))
    if result.returncode != 0:
        raise VmError(f"the kernel module in {folder} does not build:\n{said.strip()}{_hint(said)}")
    return said


def _hint(said: str) -> str:
    if "libelf.so" in said:
        return "\nThe kernel's objtool needs libelf: apt-get install libelf1 (libelf1t64 on newer systems)"
    if "No such file or directory" in said:
        return "\nOnly the folder itself is copied and built: what it includes must be in it."
    return ""


def _made_module(work: Path, folder: Path) -> Path:
    modules = sorted(work.rglob("*.ko"))
    if len(modules) != 1:
        names = ", ".join(module.name for module in modules) or "none; its Kbuild needs a line: obj-m += NAME.o"
        raise UsageError(f"{folder}: a folder has to build one kernel module, and this one builds {names}")
    return modules[0]
