"""Reads what the kernel says in files."""

from __future__ import annotations

from pathlib import Path


def read_text(path: Path) -> str:
    """Reads an attribute of configfs or sysfs; what is not there, or has just gone, reads as empty."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
