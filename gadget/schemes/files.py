"""A gadget out of a file, of whatever kind that is."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from gadget.configfs.model import GadgetModel
from gadget.errors import UsageError
from gadget.schemes.own import load_own
from gadget.schemes.rust import load_rust, looks_like_rust

#: The kinds of files.
FORMATS = ("toml", "rust", "gt")


def is_scheme(path: Path) -> bool:
    """Whether a file is one of these, by its name."""
    return path.suffix.lower() in (".toml", ".scheme", ".conf", ".cfg", ".gt")


def load_file(path: Path, name: str | None = None, kind: str | None = None) -> GadgetModel:
    """Reads a gadget.

    Args:
        path: The file. One that ends in ``.toml`` is our own, or the Rust command's, as its keys say; any other is a
            scheme of libusbgx.
        name: What the gadget is called, in place of what the file says, or its own name where it says nothing.
        kind: "toml", "rust" or "gt", in place of what the file looks like.

    Raises:
        UsageError: It cannot be read.
        ConfigurationError: It is none.
        DescriptorError: A value breaks a rule.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    default = name or re.sub(r"[^A-Za-z0-9_.-]", "-", path.stem).lstrip("-_.") or "gadget"
    if kind is None:
        kind = "gt" if path.suffix.lower() != ".toml" else "rust" if looks_like_rust(text) else "toml"
    if kind == "gt":
        from gadget.schemes.libusbgx import load_scheme

        return load_scheme(text, default, str(path.parent))
    if kind == "rust":
        found = load_rust(text, default)
        return found if name is None else replace(found, name=name)
    return load_own(text, name)
