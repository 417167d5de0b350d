"""What a boot needs beside the kernel, made once and kept: virtme-ng's initramfs, the verdict about KVM."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from gadget.vm import kernel_image
from gadget.vm.boot import ARCHITECTURES, Architecture
from gadget.vm.errors import VmError
from gadget.vm.kernel import Kernel, cache_folder

#: Seconds until the probe's first output, and until its kernel has come up; an emulated one needs four.
PROBE_SILENCE, PROBE_LIMIT = 5.0, 10.0
_PACKAGES = {
    "qemu": "qemu-system-x86 (on arm64: qemu-system-arm)",
    "busybox": "busybox-static",
    "modprobe": "kmod",
    "file": "file",
}


def architecture() -> Architecture:
    """How QEMU and the kernel name the parts of this machine.

    Raises:
        VmError: It is a kind of machine that the bench has not learned.
    """
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        raise VmError(f"gadget vm runs on {' and '.join(ARCHITECTURES)}, and this machine is {machine}")
    return ARCHITECTURES[machine]


def find_program(name: str, package: str) -> Path:
    """The path of a program.

    Raises:
        VmError: It is not installed; the message names Debian's package.
    """
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None:
        raise VmError(f"{name} is not installed: apt-get install --no-install-recommends {_PACKAGES[package]}")
    return Path(path)


def make_initramfs(kernel: Kernel) -> Path:
    """The initramfs that mounts this machine's root in the guest, as virtme-ng makes it for a kernel.

    It is kept in the cache folder, under a name that changes with whatever goes into it.
    """
    busybox = find_program("busybox", "busybox")
    for name, package in (("file", "file"), ("modprobe", "modprobe")):
        find_program(name, package)  # virtme-ng calls them.
    if importlib.util.find_spec("virtme") is None:
        raise VmError(f"virtme-ng is not installed in this environment: {sys.executable} -m pip install virtme-ng")
    parts = [_fingerprint(kernel.image), _fingerprint(kernel.modules), _fingerprint(busybox)]
    key = hashlib.sha256("\n".join([*parts, metadata.version("virtme-ng")]).encode()).hexdigest()[:20]
    target = cache_folder() / f"initramfs-{key}"
    if not target.exists():
        _build_initramfs(kernel, target)
    return target


def unpack_kernel(kernel: Kernel) -> Path:
    """The image to boot: unpacked if it can be, which saves seconds of every emulated boot; kept in the cache."""
    key = hashlib.sha256(_fingerprint(kernel.image).encode()).hexdigest()[:20]
    target = cache_folder() / f"vmlinux-{key}"
    if target.exists():
        return target
    unpacked = kernel_image.unpacked(kernel.image.read_bytes())
    if unpacked is None:
        return kernel.image
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".vmlinux-", delete=False) as file:
        file.write(unpacked)
    return Path(file.name).rename(target)


def _fingerprint(path: Path) -> str:
    status = path.stat()
    return f"{path} {status.st_size} {status.st_mtime_ns}"


def _build_initramfs(kernel: Kernel, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".initramfs-") as folder:
        made = Path(folder) / "image"
        command = [
            *(sys.executable, "-m", "virtme.commands.run"),
            *("--kimg", str(kernel.image), "--mods", "auto", "--disable-kvm", "--force-9p"),
            *("--force-initramfs", "--dry-run", "--script-sh", "true", "--save-initramfs", str(made)),
        ]
        result = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={**os.environ, "PATH": os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"},
            check=False,
        )
        if result.returncode != 0 or not made.exists():
            raise VmError(f"virtme-ng cannot prepare {kernel.image}: {(result.stderr or result.stdout).strip()}")
        made.rename(target)


def choose_accelerator(kernel: Kernel, named: str | None = None, say: Callable[[str], None] = lambda line: None) -> str:
    """Whether the guest runs on KVM or is emulated (TCG).

    /dev/kvm may be there and still let a guest hang for ever, so KVM is used only after a kernel has really
    come up on it once. The verdict holds for this boot of this machine, this QEMU and this kernel.

    Args:
        kernel: The kernel to probe with.
        named: ``kvm`` or ``tcg`` to decide it without a probe; else ``GADGET_VM_ACCELERATOR`` does.
        say: Told what takes long.
    """
    chosen = named or os.environ.get("GADGET_VM_ACCELERATOR")
    if chosen:
        if chosen not in ("kvm", "tcg"):
            raise VmError(f"accelerator {chosen!r}: choose kvm or tcg")
        return chosen
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    qemu = find_program(architecture().qemu, "qemu")
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    key = f"{boot_id} {_fingerprint(qemu)} {_fingerprint(kernel.image)}"
    store = cache_folder() / "kvm.json"
    try:
        verdict = json.loads(store.read_text())
    except (OSError, ValueError):
        verdict = {}
    if verdict.get("key") != key:
        say(f"Probing whether KVM works here (once, at most {PROBE_LIMIT:.0f} s) ...")
        verdict = {"key": key, "works": probe_kvm(qemu, kernel.image)}
        scratch = store.with_suffix(f".{os.getpid()}")
        scratch.write_text(json.dumps(verdict))
        scratch.rename(store)
        say("KVM works." if verdict["works"] else "KVM does not boot a guest here: the guest will be emulated.")
    return "kvm" if verdict["works"] else "tcg"


def probe_kvm(qemu: Path, image: Path) -> bool:
    """Boots the kernel alone on KVM. It works if the kernel gets as far as missing its root, in time."""
    console = architecture().console
    command = [
        *(str(qemu), "-machine", architecture().machine, "-accel", "kvm", "-cpu", "host", "-m", "256M"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio"),
        *("-kernel", str(image), "-append", f"console={console} earlyprintk=serial panic=-1"),
    ]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            return _comes_up(process)
        finally:
            process.kill()


def _comes_up(process: subprocess.Popen[bytes]) -> bool:
    assert process.stdout is not None
    start = time.monotonic()
    seen = b""
    while True:
        limit = PROBE_LIMIT if seen else PROBE_SILENCE
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, start + limit - time.monotonic()))
        data = os.read(process.stdout.fileno(), 65536) if ready else b""
        if not data:
            return False  # Silence for too long, or QEMU refused.
        seen += data
        if b"Kernel panic" in seen:
            return b"VFS:" in seen or b"root" in seen
