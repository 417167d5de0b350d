"""What a run ran on, in words."""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path


def processor() -> str:
    """What the kernel calls the processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model", "Hardware"):
            return value.strip()
    return platform.machine()


def version(package: str) -> str:
    """The version of an installed package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def describe_machine() -> dict[str, str]:
    """The machine that runs the benchmark, or the virtual machine that does."""
    return {
        "processor": f"{os.cpu_count()} x {processor()}",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "gadget": version("gadget"),
        "python-functionfs": version("functionfs"),
        "Python": platform.python_version(),
    }


def describe_host() -> dict[str, str]:
    """This machine and its kernel, for what is measured without any controller."""
    words = {**describe_machine(), "kernel": f"Linux {platform.release()} {platform.machine()}"}
    del words["python-functionfs"]
    return words


def _build() -> str:
    """How the interpreter was compiled: by how much that matters, few expect."""
    optimized = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    return f"{platform.python_compiler()}, {'with' if optimized else 'without'} profile-guided optimization"


def describe_kernel() -> dict[str, str]:
    """The kernel that has the devices, and the processor that it sees: QEMU's tells whether that is emulated (TCG)."""
    return {
        "kernel": f"Linux {platform.release()} {platform.machine()}",
        "processor seen by it": f"{os.cpu_count()} x {processor()}",
        "controllers": ", ".join(sorted(path.name for path in Path("/sys/class/udc").glob("*"))),
        "interpreter": f"{platform.python_implementation()} {sys.version.split()[0]}, {_build()}",
    }
