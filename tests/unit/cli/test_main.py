"""The command as a user meets it, in a process of its own, and what main makes of errors."""

from __future__ import annotations

import argparse
import errno
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

import gadget.cli
from gadget.errors import ClosedError, ConfigurationError, ControllerBusyError, UsageError


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gadget", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_the_version() -> None:
    done = command("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"gadget {version('gadget')}\n", "")


def test_help_names_the_subcommands() -> None:
    done = command("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for name in gadget.cli.COMMANDS:
        assert f"    {name} " in done.stdout or f"    {name}\n" in done.stdout


@pytest.mark.parametrize("name", gadget.cli.COMMANDS)
def test_each_subcommand_has_help(name: str) -> None:
    done = command(name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"gadget {name}" in done.stdout


def test_no_subcommand_or_an_unknown_one_is_a_usage_error() -> None:
    assert command().returncode == 2
    done = command("fly")
    assert done.returncode == 2
    assert "'fly'" in done.stderr


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    done = command("run", str(tmp_path / "nowhere.py"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("gadget run: there is no file ")
    assert done.stderr.count("\n") == 1


def test_whoever_calls_the_command_calls_one_that_there_is() -> None:
    """Tests and examples that need a USB bus do not run where this does."""
    top = Path(__file__).parents[3]
    files = [path for folder in ("examples", "scripts", "tests") for path in (top / folder).rglob("*.py")]
    called = {name for path in files for name in re.findall(r'"-m", "gadget", "([a-z]+)"', path.read_text())}
    assert {"run", "show"} <= called
    assert called <= set(gadget.cli.COMMANDS)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException | int], int]:
    """Runs main with a subcommand that raises, or returns, what it is given."""

    def run(outcome: BaseException | int) -> int:
        def handle(options: argparse.Namespace) -> int:
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        def parser(command: str | None) -> argparse.ArgumentParser:
            top = argparse.ArgumentParser()
            top.set_defaults(command="do", handler=handle)
            return top

        monkeypatch.setattr(gadget.cli, "parser", parser)
        return gadget.cli.main([])

    return run


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (UsageError("that cannot be"), 2, "that cannot be"),
        (ConfigurationError("nor can that"), 2, "nor can that"),
        (ClosedError("it is closed"), 1, "it is closed"),
        (ControllerBusyError(errno.EBUSY, "it is taken"), 1, "it is taken"),
        (ControllerBusyError(errno.EBUSY, "it is taken", "/sys/a"), 1, "it is taken (/sys/a)"),
    ],
)
def test_errors_are_a_sentence_and_a_status(
    failing: Callable[[BaseException | int], int],
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    status: int,
    sentence: str,
) -> None:
    assert failing(error) == status
    assert capsys.readouterr().err == f"gadget do: {sentence}\n"


def test_other_outcomes(failing: Callable[[BaseException | int], int]) -> None:
    assert failing(0) == 0
    assert failing(77) == 77
    assert failing(KeyboardInterrupt()) == 130
    with pytest.raises(ZeroDivisionError):
        failing(ZeroDivisionError())


def test_how_much_is_said() -> None:
    program = """
import logging, sys
from gadget import cli
sys.argv[1:] = ["create", "g", "acm", "--dry-run", *sys.argv[1:]]
status = cli.main()
logging.getLogger("gadget.configfs").debug("a step")
logging.getLogger("gadget").debug("a request")
logging.getLogger("gadget").warning("a worry")
"""
    for option, said in (((), ""), (("-v",), "a step\n"), (("-vv",), "a step\na request\n")):
        words = [sys.executable, "-c", program, *option]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
        assert done.stderr == f"{said}WARNING: a worry\n"


def test_a_reader_that_has_seen_enough(tmp_path: Path) -> None:
    """Nothing is said of it, and it is no failure."""
    file = tmp_path / "device_for_head.py"
    file.write_text("from gadget import *\nclass Echo(Function):\n    rx = BulkOut()\n")
    pipeline = f"{sys.executable} -m gadget show {file} | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", pipeline], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
