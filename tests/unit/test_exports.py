from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import gadget

NAMES = [
    "PACKET",
    "Access",
    "Association",
    "BulkIn",
    "BulkOut",
    "CcidDescriptor",
    "ClassCode",
    "ClosedError",
    "Configuration",
    "ConfigurationError",
    "ControllerBusyError",
    "DescriptorError",
    "DisabledError",
    "DisconnectedError",
    "EndpointBusyError",
    "EventType",
    "Function",
    "Gadget",
    "GadgetBusyError",
    "GadgetError",
    "HidDescriptor",
    "HostNotReadingError",
    "InEndpoint",
    "Interface",
    "InterruptIn",
    "InterruptOut",
    "IsochronousIn",
    "IsochronousOut",
    "KernelError",
    "LanguageId",
    "LinkReport",
    "LinkState",
    "MessageTooLongError",
    "MicrosoftOs",
    "MissingModuleError",
    "NoControllerError",
    "NotDrainedError",
    "NotPermittedError",
    "NotUndoneError",
    "OutEndpoint",
    "OutOfEndpointsError",
    "Property",
    "ProtocolError",
    "Recipient",
    "Setup",
    "Speed",
    "Splice",
    "Stall",
    "StandardRequest",
    "SupersededError",
    "TransferError",
    "UnboundError",
    "UnsupportedError",
    "UsageError",
    "WebUsb",
    "class_in",
    "class_out",
    "serve_mounted",
    "splice",
    "standard_in",
    "standard_out",
    "vendor_in",
    "vendor_out",
]


def test_the_list_is_this_one() -> None:
    assert sorted(gadget.__all__) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_can_be_imported(name: str) -> None:
    # In a fresh interpreter each would load alone; here it is enough that it is there, and is what it says.
    value = getattr(gadget, name)
    assert getattr(value, "__name__", name) == name


def test_type_checkers_know_the_same_names() -> None:
    (guarded,) = (node for node in ast.parse(Path(gadget.__file__).read_text()).body if isinstance(node, ast.If))
    imports = [node for node in guarded.body if isinstance(node, ast.ImportFrom)]
    assert sorted(str(alias.asname) for node in imports for alias in node.names) == sorted(NAMES)


def test_dir_lists_them_before_they_are_loaded() -> None:
    script = "import gadget, sys; print(*dir(gadget)); assert 'gadget.device' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set(NAMES) <= set(done.stdout.split())


def test_all_at_once() -> None:
    script = "from gadget import *; print(Gadget.__module__, BulkIn.__module__)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["gadget.device", "gadget.functionfs.declared_endpoints"]


def test_any_other_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'gadget' has no attribute 'Nothing'"):
        _ = gadget.Nothing
