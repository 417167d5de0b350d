from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from gadget import kernel_functions


def test_type_checkers_know_the_same_names() -> None:
    (guarded,) = (
        node for node in ast.parse(Path(kernel_functions.__file__).read_text()).body if isinstance(node, ast.If)
    )
    imports = [node for node in guarded.body if isinstance(node, ast.ImportFrom)]
    assert sorted(str(alias.asname) for node in imports for alias in node.names) == sorted(kernel_functions.__all__)


@pytest.mark.parametrize("name", kernel_functions.__all__)
def test_each_can_be_imported(name: str) -> None:
    value = getattr(kernel_functions, name)
    assert getattr(value, "__name__", name) == name
    assert name in dir(kernel_functions)


def test_any_other_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = kernel_functions.Nothing


def test_a_gadget_without_them_loads_none_of_them() -> None:
    script = "import sys, gadget.device; print(*(name for name in sys.modules if '.kernel_functions.' in name))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert {name.rpartition(".")[2] for name in done.stdout.split()} <= {"attributes", "kernel_function", "other"}
