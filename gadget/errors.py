"""The errors of this package: one root, and each leaf is also the builtin that it refines.

Six situations are told apart, because a program reacts differently to each:

* what was declared or asked for cannot be: :class:`DescriptorError`, :class:`UsageError`;
* you closed it, and it is used again: :class:`ClosedError`;
* the host left, reset the device or chose another configuration: :class:`DisconnectedError`;
* the host is there, and does not read: :class:`HostNotReadingError`;
* the host broke the protocol: :class:`ProtocolError`;
* the kernel refused: :class:`KernelError` and its leaves, which are ``OSError`` with their ``errno``.

:class:`Stall` is no error. It is how a control request is refused.
"""

from __future__ import annotations

import errno
import os


class GadgetError(Exception):
    """The root of every error that this package raises on purpose."""


class UsageError(GadgetError, ValueError):
    """What was asked for cannot be done, whatever the kernel or the host do."""


class DescriptorError(UsageError):
    """A declaration breaks a rule of USB or of FunctionFS; the kernel was not given it.

    Args:
        field: The field as its specification names it (``wMaxPacketSize``).
        value: What was given for it.
        rule: The rule that it breaks, as a clause ("must be at most 64 for bulk at full speed").
        source: Where the rule stands ("USB 2.0, 5.8.3").
    """

    def __init__(self, field: str, value: object, rule: str, source: str) -> None:
        super().__init__(f"{field} = {value!r}: {rule} ({source})")
        self.field = field
        self.value = value
        self.rule = rule
        self.source = source


class ConfigurationError(UsageError):
    """A gadget as a whole cannot be: no function, a name twice, a value configfs cannot hold."""


class EndpointBusyError(GadgetError, RuntimeError):
    """Two tasks use one direction of one endpoint at the same time, so data could interleave."""


class ClosedError(GadgetError, ValueError):
    """What is used was closed before, by this program."""


class DisconnectedError(GadgetError, ConnectionError):
    """The connection that this transfer belonged to has ended; its subclasses say how.

    The next generation starts with fresh endpoints; transfers of the old one never reach it.
    """


class DisabledError(DisconnectedError):
    """The host reset or unplugged the device, or took the configuration away."""


class SupersededError(DisconnectedError):
    """The host selected the configuration or the interface anew: the next generation has begun."""


class UnboundError(DisconnectedError):
    """The gadget has left its controller."""


class ProtocolError(GadgetError):
    """The host broke the rules of the protocol that this function speaks."""


class MessageTooLongError(ProtocolError):
    """The host sends a message longer than the limit that was set for it."""


class Stall(Exception):  # noqa: N818 - raised to say something, as StopIteration is; not a failure
    """Raise it in a control request handler to refuse the request (a protocol STALL, USB 2.0, 8.5.3.4)."""


class HostNotReadingError(GadgetError, TimeoutError):
    """The host has not taken data in the time given for it: no program has the port open there, or it does not read."""


class KernelError(GadgetError, OSError):
    """The kernel refused. ``errno`` is the kernel's own; the message says what to do next."""

    def __init__(self, code: int, message: str, filename: str | None = None) -> None:
        if filename is None:
            super().__init__(code, message)
        else:
            super().__init__(code, message, filename)


class NotPermittedError(KernelError, PermissionError):
    """It needs root, or a file that was handed to this user first."""


class NoControllerError(KernelError):
    """There is no USB device controller (UDC), or none of the name asked for."""


class ControllerBusyError(KernelError):
    """The USB device controller already serves another gadget."""


class OutOfEndpointsError(KernelError):
    """The controller has fewer endpoints than the gadget declares, or of other kinds."""


class MissingModuleError(KernelError):
    """A part of the kernel is not there: libcomposite, usb_f_fs, configfs, dummy_hcd."""


class GadgetBusyError(KernelError):
    """Another living process serves a gadget of this name."""


class NotUndoneError(KernelError):
    """A part of a gadget could not be taken down; its ownership record stays, and the next start tries again."""


class TransferError(KernelError):
    """The controller ended a transfer with an error that is not the host leaving."""


class UnsupportedError(KernelError):
    """The controller, or its driver, does not offer this."""


class NotDrainedError(KernelError):
    """A close gave up waiting for transfers that the kernel still holds; their buffers stay alive."""


#: How the kernel says, in a completion or from a call on an endpoint, that the host is gone:
#: ESHUTDOWN when an endpoint is disabled, ENODEV after unbind, ECONNRESET when a request is dequeued, and EAGAIN
#: while the endpoint is not enabled.
DISCONNECTED = frozenset({errno.ESHUTDOWN, errno.ENODEV, errno.ECONNRESET, errno.EAGAIN})


def transfer_error(code: int, what: str) -> TransferError:
    """Turns the errno of a transfer that failed, while its endpoint lives on, into the error to raise.

    Args:
        code: The positive errno out of the completion's ``res``.
        what: The endpoint, for the message.
    """
    return TransferError(code, f"{what}: {os.strerror(code)}")
