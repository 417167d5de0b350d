from __future__ import annotations

import errno
import inspect

import pytest

from gadget import errors
from gadget.errors import (
    DISCONNECTED,
    ClosedError,
    ConfigurationError,
    DescriptorError,
    DisabledError,
    DisconnectedError,
    EndpointBusyError,
    GadgetError,
    KernelError,
    NotPermittedError,
    Stall,
    SupersededError,
    UnboundError,
    UsageError,
    transfer_error,
)

LEAVES = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception) and kind is not Stall
]


@pytest.mark.parametrize("kind", LEAVES)
def test_one_root(kind: type[Exception]) -> None:
    assert issubclass(kind, GadgetError)


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (UsageError, ValueError),
        (DescriptorError, ValueError),
        (ConfigurationError, ValueError),
        (ClosedError, ValueError),
        (EndpointBusyError, RuntimeError),
        (DisconnectedError, ConnectionError),
        (errors.HostNotReadingError, TimeoutError),
        (NotPermittedError, PermissionError),
        *((kind, OSError) for kind in LEAVES if issubclass(kind, KernelError)),
    ],
)
def test_each_is_also_the_builtin_that_it_refines(kind: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(kind, builtin)


def test_the_situations_are_told_apart() -> None:
    situations: tuple[type[GadgetError], ...] = (UsageError, ClosedError, DisconnectedError)
    situations += (errors.HostNotReadingError, errors.ProtocolError, KernelError, EndpointBusyError)
    for kind in LEAVES:
        assert sum(issubclass(kind, situation) for situation in situations) == (kind is not GadgetError)


@pytest.mark.parametrize("kind", [kind for kind in LEAVES if issubclass(kind, KernelError)])
def test_the_errno_survives(kind: type[KernelError]) -> None:
    # Python turns OSError(EACCES) into a PermissionError by itself; of a subclass it must not.
    error = kind(errno.EACCES, "what to do", "/a/file")
    assert type(error) is kind
    assert (error.errno, error.strerror, error.filename) == (errno.EACCES, "what to do", "/a/file")
    bare = kind(errno.EBUSY, "what to do")
    assert (bare.errno, bare.strerror, bare.filename) == (errno.EBUSY, "what to do", None)


def test_a_refusal_is_no_error() -> None:
    assert not issubclass(Stall, GadgetError)


def test_a_descriptor_error_names_field_value_rule_and_source() -> None:
    error = DescriptorError("wMaxPacketSize", 65, "must be at most 64", "USB 2.0, 5.8.3")
    assert str(error) == "wMaxPacketSize = 65: must be at most 64 (USB 2.0, 5.8.3)"
    assert (error.field, error.value, error.rule, error.source) == (
        "wMaxPacketSize",
        65,
        "must be at most 64",
        "USB 2.0, 5.8.3",
    )


@pytest.mark.parametrize("ending", [DisabledError, SupersededError, UnboundError])
def test_every_way_in_which_a_connection_ends_is_a_disconnect(ending: type[DisconnectedError]) -> None:
    assert issubclass(ending, DisconnectedError)
    assert issubclass(ending, ConnectionError)


@pytest.mark.parametrize("code", [errno.EIO, errno.EOVERFLOW, errno.EPROTO, errno.EBADF])
def test_transfers_that_the_controller_ended(code: int) -> None:
    error = transfer_error(code, "Echo.rx")
    assert code not in DISCONNECTED
    assert error.errno == code
    assert "Echo.rx: " in str(error)
