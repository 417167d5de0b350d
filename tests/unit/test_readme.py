"""The device in the README is a device."""

from __future__ import annotations

import textwrap
from pathlib import Path

from gadget import Function, Gadget
from gadget.protocol.constants import Direction

README = Path(__file__).parents[2] / "README.rst"


def test_the_device_of_the_readme_can_be_built() -> None:
    _, _, rest = README.read_text().partition(".. code-block:: python\n")
    lines = []
    for line in rest.splitlines():
        if line and not line.startswith("    "):
            break
        lines.append(line)
    namespace: dict[str, object] = {}
    exec(compile(textwrap.dedent("\n".join(lines)), str(README), "exec"), namespace)
    echo = namespace["echo"]
    assert isinstance(echo, Gadget)
    (function,) = echo.own_functions
    declared = type(function).declared_endpoints()
    assert [endpoint.direction for endpoint in declared.values()] == [Direction.OUT, Direction.IN]
    assert len(function._handlers()) == 1 + len(Function()._handlers())
