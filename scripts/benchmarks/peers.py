"""An environment of the benchmark's own, with the packages that this one is compared with."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Peers:
    """The environment.

    Attributes:
        python: Its interpreter.
        missing: What could not be installed there, and why, by requirement.
    """

    python: Path
    missing: dict[str, str] = field(default_factory=dict)


def install(folder: Path, requirements: Sequence[str]) -> Peers:
    """Makes the environment, and installs there what is not installed yet.

    Each package by itself, so that one that is not to be had does not keep the others away.

    Args:
        folder: Where it is, or is to be.
        requirements: What is to be there, with versions.
    """
    python = folder / "bin/python"
    if not requirements:
        return Peers(python)
    stamp = folder / "interpreter"
    made_by = f"{sys.version}\n"
    if not stamp.exists() or stamp.read_text() != made_by:
        venv.create(folder, clear=True, with_pip=True)
        stamp.write_text(made_by)
    missing = {each: why for each in requirements if (why := _install(python, each))}
    return Peers(python, missing)


def _install(python: Path, requirement: str) -> str:
    """Installs one package; returns why that can't be done, or nothing."""
    name, _, version = requirement.partition("==")
    code = f"from importlib.metadata import version; raise SystemExit(version({name!r}) != {version!r})"
    if subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0:
        return ""
    print(f"installing {requirement} into {python.parent.parent}", flush=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    return reason(done.stderr) if done.returncode else ""


def reason(said: str) -> str:
    """The last thing that pip calls an error."""
    errors = [line for line in said.splitlines() if line.startswith("ERROR:")]
    return errors[-1].removeprefix("ERROR:").strip() if errors else "pip failed"
