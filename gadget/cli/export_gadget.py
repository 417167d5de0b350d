"""``gadget export WHAT [FILE]``: writes a gadget to a file, which ``gadget import`` makes it of again."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gadget.cli.arguments import completed
from gadget.cli.subject import model_of
from gadget.errors import UsageError
from gadget.schemes.libusbgx import dump_scheme
from gadget.schemes.own import dump_own


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "export",
        help="write a gadget to a file",
        description="Writes a gadget as TOML, or as a scheme of gt and libusbgx. Of functions that are written in "
        "Python, only their places are written.",
    )
    text = "a gadget in configfs; or FILE.py[:NAME] or a scheme, to convert it"
    completed(parser.add_argument("target", metavar="WHAT", help=text), "gadget")
    parser.add_argument("file", metavar="FILE", type=Path, nargs="?", help="where to; standard output")
    parser.add_argument("--format", choices=("toml", "gt"), help="as FILE ends; toml")
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Writes it."""
    model = model_of(options.target)
    kind = options.format or ("toml" if options.file is None or options.file.suffix == ".toml" else "gt")
    text, lost = dump_scheme(model) if kind == "gt" else (dump_own(model), [])
    if options.file is None:
        sys.stdout.write(text)
    else:
        try:
            options.file.write_text(text)
        except OSError as error:
            raise UsageError(f"cannot write {options.file}: {error.strerror}") from error
    if lost:
        print(f"gadget export: a scheme has no place for {', '.join(lost)}", file=sys.stderr)
    return 0
