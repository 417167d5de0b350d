"""What a task of asyncio waits for and steps over: types of the extension, in C for what each wake-up costs."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from typing import TYPE_CHECKING

from gadget.aio import _aio

if TYPE_CHECKING:
    from gadget.aio._steps import Steps, Wakeup
else:
    # A module of its own in the file that cffi makes, since cffi knows no types of Python.
    _spec = spec_from_file_location("gadget.aio._steps", _aio.__file__)
    _module = module_from_spec(_spec)
    _spec.loader.exec_module(_module)
    Steps, Wakeup = _module.Steps, _module.Wakeup

__all__ = ["Steps", "Wakeup"]
