from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gadget import Gadget
from gadget.errors import UsageError
from gadget.loader import load

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """Writes a device file; what importing it does to the interpreter is undone afterwards."""
    modules, path = set(sys.modules), list(sys.path)

    def write(source: str) -> str:
        file = tmp_path / "device.py"
        file.write_text("from gadget import Function, Gadget\n" + source)
        return str(file)

    yield write
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


ECHO = "class Echo(Function): pass\n"
OTHER = "class Other(Function): pass\n"


def test_the_only_gadget_of_a_file(write: Write) -> None:
    gadget = load(write(ECHO + OTHER + "device = Gadget(Echo(), product='Mine')"))
    assert isinstance(gadget, Gadget)
    assert gadget.model.product == "Mine"


def test_two_names_of_one_gadget_are_one(write: Write) -> None:
    assert load(write(ECHO + "first = Gadget(Echo(), name='one')\nsecond = first")).name == "one"


def test_the_only_function_of_a_file_becomes_a_gadget(write: Write) -> None:
    gadget = load(write(ECHO))
    assert (gadget.name, type(gadget.functions[0]).__name__) == ("echo", "Echo")


def test_functions_that_were_imported_do_not_count(write: Write, tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("from gadget import Function\n" + OTHER)
    assert load(write("from neighbour import Other\n" + ECHO)).name == "echo"


def test_a_name_chooses(write: Write) -> None:
    file = write(ECHO + OTHER + "one = Gadget(Echo(), name='first')\ntwo = Gadget(Other(), name='second')")
    assert load(f"{file}:two").name == "second"
    assert load(f"{file}:Other").name == "other"


@pytest.mark.parametrize("source", [ECHO + OTHER, ECHO + "one = Gadget(Echo())\ntwo = Gadget(Echo())"])
def test_a_choice_that_is_not_clear_lists_what_there_is(write: Write, source: str) -> None:
    file = write(source)
    with pytest.raises(UsageError) as caught:
        load(file)
    message = str(caught.value)
    assert f"{file}:NAME" in message
    assert "Echo, Other" in message or "Echo, one, two" in message


def test_a_file_without_any(write: Write) -> None:
    with pytest.raises(UsageError, match="gadgets and functions there: none"):
        load(write(""))


@pytest.mark.parametrize("name", ["Missing", "number", "Function_"])
def test_a_name_that_is_no_gadget(write: Write, name: str) -> None:
    with pytest.raises(UsageError, match=f":{name}: there is no Gadget or Function of this name"):
        load(f"{write(ECHO + 'number = 5')}:{name}")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no file .*nowhere\.py"):
        load(str(tmp_path / "nowhere.py"))
    with pytest.raises(UsageError, match="there is no file"):
        load(str(tmp_path))


def test_a_file_that_is_no_python(tmp_path: Path) -> None:
    (tmp_path / "device.txt").write_text(ECHO)
    with pytest.raises(UsageError, match=r"must end in \.py"):
        load(str(tmp_path / "device.txt"))


def test_a_failing_file_fails_as_it_does(write: Write) -> None:
    with pytest.raises(ZeroDivisionError):
        load(write("1 / 0"))


def test_a_syntax_error_is_shown_without_the_way_to_it(write: Write) -> None:
    with pytest.raises(UsageError, match=r'File ".*device.py", line 2\n +class Echo\(:\n(.|\n)*invalid syntax'):
        load(write("class Echo(:\n"))


def test_a_file_with_the_name_of_this_package(tmp_path: Path) -> None:
    (tmp_path / "gadget.py").write_text("from gadget import Function\n")
    with pytest.raises(UsageError, match="would hide it"):
        load(str(tmp_path / "gadget.py"))
