"""The recorded sessions of the documentation: their commands are there, and what needs no kernel is as it is said."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest

import record_sessions
from gadget import cli

SESSIONS = sorted(record_sessions.SESSIONS.glob("*.txt"))
#: Those that no kernel is needed for.
ANYWHERE = ("check",)


@pytest.mark.parametrize("path", SESSIONS, ids=lambda path: path.stem)
def test_their_commands_can_be_called(path: Path) -> None:
    called = [shlex.split(line.removesuffix("&")) for line in record_sessions.commands(path.read_text())]
    for words in called:
        if words[0] == "gadget":
            assert cli.parser(words[1]).parse_args(words[1:]).command == words[1]


@pytest.mark.parametrize("name", ANYWHERE)
def test_what_they_say_is_true(name: str, tmp_path: Path) -> None:
    shutil.copytree(record_sessions.DOCS / "samples", tmp_path, dirs_exist_ok=True)
    text = (record_sessions.SESSIONS / f"{name}.txt").read_text()
    assert record_sessions.comparable(record_sessions.record(text, tmp_path)) == record_sessions.comparable(text)
