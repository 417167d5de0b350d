"""Directives that draw from the code what must not be written twice.

``transitions`` shows a table of a state machine, ``state-diagram`` draws it, ``modules`` shows the modules of a group
with the first line of what each says of itself, ``controllers`` what kinds of controller cannot do, ``command-help``
what a command prints for ``--help``, ``boards`` the controllers whose endpoints are known.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import gadget
from gadget.cli import parser
from gadget.protocol.constants import Direction
from gadget.services.boards import BOARDS, Board
from gadget.testing.controller_kinds import ABILITIES, KINDS, SPEEDS, Lack

PACKAGE = Path(gadget.__file__).parent


class _Directive(SphinxDirective):
    required_arguments = 1
    final_argument_whitespace = True

    def _parse(self, lines: Iterable[str]) -> list[nodes.Node]:
        """Turns lines of reStructuredText into nodes."""
        container: nodes.Element = nodes.container()
        self.state.nested_parse(StringList(list(lines), source="from_code"), 0, container)
        return list(container.children)


class Transitions(_Directive):
    """The table in a module, named by its full name: one row for each (state, input)."""

    def run(self) -> list[nodes.Node]:
        """Makes the table."""
        module, _, name = self.arguments[0].rpartition(".")
        table = getattr(import_module(module), name)
        rows = [_row(state, given, outcome) for (state, given), outcome in table.items()]
        outputs = any(len(row) == 4 for row in rows)
        head = ["While", "and this comes", "it becomes", *(["and the function sees"] if outputs else [])]
        return self._parse(_list_table(head, rows))


def _row(state: Enum, given: Enum, outcome: Any) -> list[str]:
    if isinstance(outcome, tuple):
        after, seen = outcome
        names = ", ".join(each.name for each in seen)
        return [state.name, given.name, after.name, names or "nothing"]
    return [state.name, given.name, outcome.name]


class StateDiagram(_Directive):
    """The same table as a picture: an arrow for each step between two states, with all inputs that take it."""

    def run(self) -> list[nodes.Node]:
        """Makes the picture."""
        module, _, name = self.arguments[0].rpartition(".")
        table = getattr(import_module(module), name)
        arrows: dict[tuple[str, str], list[str]] = {}
        for (state, given), outcome in table.items():
            after = outcome[0] if isinstance(outcome, tuple) else outcome
            if after is not state:
                arrows.setdefault((state.name, after.name), []).append(given.name)
        lines = [".. graphviz::", f"   :alt: the states of {self.arguments[0]}", ""]
        lines += [f"   {line}" for line in _dot(arrows)]
        return self._parse(lines)


def _dot(arrows: dict[tuple[str, str], list[str]]) -> Iterator[str]:
    yield "digraph {"
    yield '  rankdir=LR; node [shape=box, style=rounded, fontname="sans-serif"];'
    yield '  edge [fontname="sans-serif", fontsize=10];'
    for (before, after), inputs in arrows.items():
        label = "\\n".join(inputs)
        yield f'  {before} -> {after} [label="{label}"];'
    yield "}"


class Modules(_Directive):
    """The modules of the groups named, in their order."""

    def run(self) -> list[nodes.Node]:
        """Makes the table."""
        rows = [row for group in self.arguments[0].split() for row in _modules(group)]
        return self._parse(_list_table(["Module", "What it is"], rows))


def _modules(group: str) -> Iterator[list[str]]:
    path = PACKAGE / group
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
    for file in files:
        text = ast.get_docstring(ast.parse(file.read_text()))
        if text is None:
            raise ValueError(f"{file}: a module says in its docstring what it is")
        name = ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        first = text.partition("\n\n")[0].replace("\n", " ")
        yield [f"``{name}``", re.sub(r":\w+:`~?([^`]+)`", r"``\1``", first)]


class Controllers(_Directive):
    """What the kinds of controller of the bench that are named cannot do, and why."""

    def run(self) -> list[nodes.Node]:
        """Makes the table."""
        rows = [
            [f"``{kind.name}``", _ability(lack), f"{_sentence(lack.reason)} (``{lack.source}``)"]
            for kind in map(KINDS.__getitem__, self.arguments[0].split())
            for lack in kind.lacks
        ]
        return self._parse(_list_table(["Controller", "What it does not have", "Why not, or what happens"], rows))


def _ability(lack: Lack) -> str:
    only = f" (at {', '.join(lack.speeds)} speed)" if lack.speeds != SPEEDS else ""
    return f"``{lack.ability}``: {ABILITIES[lack.ability]}{only}"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


class Boards(_Directive):
    """The boards whose endpoints are known, each with its source."""

    required_arguments = 0

    def run(self) -> list[nodes.Node]:
        """Makes the table."""
        rows = [[f"``{board.name}``", board.title, _endpoints(board), _source(board)] for board in BOARDS.values()]
        return self._parse(_list_table(["Board", "What it is", "Endpoints", "Source"], rows))


def _source(board: Board) -> str:
    return ", ".join(f"``{source}``" for source in (board.source, board.fifo_source) if source)


def _endpoints(board: Board) -> str:
    ways = [sum(way in each.directions for each in board.endpoints) for way in (Direction.IN, Direction.OUT)]
    both = sum(len(each.directions) > 1 for each in board.endpoints)
    return f"{ways[0]} IN, {ways[1]} OUT" + (f", {both} of them either" if both else "")


class CommandHelp(_Directive):
    """What ``gadget NAME --help`` prints, in 80 columns."""

    def run(self) -> list[nodes.Node]:
        """Makes the block."""
        command = _subparsers(parser())[self.arguments[0]]
        command.formatter_class = _fixed_width(command.formatter_class)
        text = command.format_help()
        return [nodes.literal_block(text, text, language="text")]


def _subparsers(top: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise ValueError("the command has no subcommands")


def _fixed_width(formatter: Any) -> Any:
    # The terminal that the documentation is built in has no say in how it looks.
    return lambda prog: formatter(prog, width=80)


def _list_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield from (".. list-table::", "   :header-rows: 1", "")
    for row in (head, *rows):
        for number, cell in enumerate(row):
            yield f"   {'* -' if number == 0 else '  -'} {cell}"


def _keep_colons(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Keeps napoleon from taking what stands before a colon in an attribute's first line for its type.

    Types stand in annotations only, here; and it looks at the first line only.
    """
    if what in ("attribute", "data", "property"):
        lines[:0] = ["..", ""]


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the directives."""
    app.connect("autodoc-process-docstring", _keep_colons, priority=400)
    app.add_directive("transitions", Transitions)
    app.add_directive("state-diagram", StateDiagram)
    app.add_directive("modules", Modules)
    app.add_directive("controllers", Controllers)
    app.add_directive("command-help", CommandHelp)
    app.add_directive("boards", Boards)
    return {"parallel_read_safe": True}
