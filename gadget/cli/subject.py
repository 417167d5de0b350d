"""What ``check``, ``export`` and their like are about: a gadget in a Python file, in a scheme, or in configfs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gadget.composition import AnyFunction, Configuration
from gadget.configfs.model import GadgetModel
from gadget.device import Gadget
from gadget.errors import UsageError
from gadget.loader import load
from gadget.schemes.files import is_scheme, load_file
from gadget.schemes.plain_function import PlainFunction
from gadget.services.existing import ExistingGadget


@dataclass(frozen=True)
class Subject:
    """A gadget that need not be anywhere yet.

    Attributes:
        model: What it is in configfs.
        functions: Its functions by instance, in the order in which they are made.
        gadget: The object, if a Python file made it.
    """

    model: GadgetModel
    functions: Mapping[str, AnyFunction]
    gadget: Gadget | None = None

    @property
    def configurations(self) -> Sequence[Configuration]:
        """Its configurations with their functions."""
        return [
            Configuration(
                [self.functions[name] for name in each.functions],
                each.label,
                each.number,
                each.max_power_ma,
                each.self_powered,
                each.remote_wakeup,
            )
            for each in self.model.configurations
        ]


def of_file(target: str, name: str | None = None, kind: str | None = None) -> Subject:
    """The gadget of ``FILE`` or ``FILE.py:NAME``.

    Raises:
        UsageError: There is no such file, or no gadget in it.
    """
    path = Path(target)
    if kind is not None or is_scheme(path):
        model = load_file(path, name, kind)
        plain = [PlainFunction.of(each.instance, each.steps) for each in model.complete_functions()]
        return Subject(model, {each.instance: each.function() for each in plain})
    gadget = load(target)
    return Subject(gadget.model, dict(zip(gadget.model.instances, gadget.functions, strict=True)), gadget)


def model_of(target: str) -> GadgetModel:
    """The model of a file, or of a gadget in configfs.

    Raises:
        UsageError: There is neither.
    """
    if target.partition(":")[0].endswith(".py"):
        return load(target).model
    if is_scheme(Path(target)):
        return load_file(Path(target))
    if "/" in target:
        raise UsageError(f"{target} ends neither in .py nor as a scheme does (.toml, .scheme, .conf, .cfg, .gt)")
    return ExistingGadget(target).model()
