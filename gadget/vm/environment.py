"""The environment of a command in the guest. Pure: a mapping in, a mapping out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

#: Variables that name something of this machine or of this login that the guest doesn't have.
_LEFT_OUT = frozenset(
    {"_", "PWD", "OLDPWD", "SHLVL", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "LD_PRELOAD", "MAIL", "LS_COLORS"}
)
_LEFT_OUT_PREFIXES = ("SSH_", "DBUS_", "XDG_RUNTIME_", "XDG_SESSION_", "SUDO_", "GPG_", "INVOCATION_", "JOURNAL_")
_SYSTEM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


def guest_environment(ours: Mapping[str, str], python_folder: Path) -> dict[str, str]:
    """What a command in the guest gets of our environment.

    Everything passes that means the same on the other side; PATH begins with the Python environment that the
    bench runs from, and also has the folders of the programs for administration.

    Args:
        ours: Our environment.
        python_folder: The folder of the interpreter.
    """
    result = {
        name: value for name, value in ours.items() if name not in _LEFT_OUT and not name.startswith(_LEFT_OUT_PREFIXES)
    }
    folders = [str(python_folder), *ours.get("PATH", "").split(":"), *_SYSTEM_PATH]
    result["PATH"] = ":".join(dict.fromkeys(folder for folder in folders if folder))
    if (python_folder.parent / "pyvenv.cfg").exists():
        result["VIRTUAL_ENV"] = str(python_folder.parent)
    result.update(USER="root", LOGNAME="root", GADGET_VM="1")
    result.setdefault("HOME", "/root")
    result.setdefault("TERM", "dumb")
    return result
