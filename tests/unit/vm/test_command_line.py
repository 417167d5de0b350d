from __future__ import annotations

import argparse

import pytest

from gadget.cli import vm
from gadget.errors import UsageError


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="gadget")
    vm.add_parser(parser.add_subparsers())
    return parser.parse_args(["vm", *words])


def test_options_after_the_command_are_the_command_s() -> None:
    args = parse("--speed", "high", "--controllers", "2", "ls", "--speed", "-l", "--timeout")
    assert (args.speed, args.controllers, args.argv) == ("high", 2, ["ls", "--speed", "-l", "--timeout"])
    assert args.timeout is None


def test_two_dashes_end_the_options() -> None:
    args = parse("--timeout", "2.5", "--", "--odd", "--", "x")
    assert args.timeout == 2.5
    assert vm.command_of(args) == ["--odd", "--", "x"]


@pytest.mark.parametrize(
    "words",
    [("--controllers", "0"), ("--controllers", "33"), ("--timeout", "0"), ("--timeout", "inf"), ("--speed", "low")],
)
def test_values_out_of_range_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(*words, "true")
    assert caught.value.code == 2


@pytest.mark.parametrize(
    "words",
    [("--stop",), ("--here", "--session", "x", "true"), ("--here", "--prepare"), ("--prepare", "true")],
)
def test_what_goes_not_together_is_refused(words: tuple[str, ...]) -> None:
    args = parse(*words)
    with pytest.raises(UsageError):
        args.handler(args)
