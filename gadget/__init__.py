"""Write USB devices in Python on Linux.

A device is a :class:`Gadget` made of functions; a :class:`Function` is a class with endpoints, control request handlers
and a ``run`` method. ``gadget.aio`` is Linux AIO on its own, for any file descriptor.

Names are loaded when they are first used, so that importing ``gadget.aio`` loads nothing of USB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gadget.lazy_names import lazy_names

if TYPE_CHECKING:
    from gadget.composition import Configuration as Configuration
    from gadget.configfs.announced import WebUsb as WebUsb
    from gadget.device import Gadget as Gadget
    from gadget.errors import (
        ClosedError as ClosedError,
        ConfigurationError as ConfigurationError,
        ControllerBusyError as ControllerBusyError,
        DescriptorError as DescriptorError,
        DisabledError as DisabledError,
        DisconnectedError as DisconnectedError,
        EndpointBusyError as EndpointBusyError,
        GadgetBusyError as GadgetBusyError,
        GadgetError as GadgetError,
        HostNotReadingError as HostNotReadingError,
        KernelError as KernelError,
        MessageTooLongError as MessageTooLongError,
        MissingModuleError as MissingModuleError,
        NoControllerError as NoControllerError,
        NotDrainedError as NotDrainedError,
        NotPermittedError as NotPermittedError,
        NotUndoneError as NotUndoneError,
        OutOfEndpointsError as OutOfEndpointsError,
        ProtocolError as ProtocolError,
        Stall as Stall,
        SupersededError as SupersededError,
        TransferError as TransferError,
        UnboundError as UnboundError,
        UnsupportedError as UnsupportedError,
        UsageError as UsageError,
    )
    from gadget.functionfs.access import Access as Access
    from gadget.functionfs.declared_endpoints import (
        BulkIn as BulkIn,
        BulkOut as BulkOut,
        InterruptIn as InterruptIn,
        InterruptOut as InterruptOut,
        IsochronousIn as IsochronousIn,
        IsochronousOut as IsochronousOut,
    )
    from gadget.functionfs.declared_interfaces import Interface as Interface
    from gadget.functionfs.endpoint_stream import PACKET as PACKET
    from gadget.functionfs.function import Function as Function
    from gadget.functionfs.handlers import (
        class_in as class_in,
        class_out as class_out,
        standard_in as standard_in,
        standard_out as standard_out,
        vendor_in as vendor_in,
        vendor_out as vendor_out,
    )
    from gadget.functionfs.in_endpoint import InEndpoint as InEndpoint
    from gadget.functionfs.out_endpoint import OutEndpoint as OutEndpoint
    from gadget.functionfs.splice import Splice as Splice, splice as splice
    from gadget.mounted import serve_mounted as serve_mounted
    from gadget.protocol.class_descriptors import CcidDescriptor as CcidDescriptor, HidDescriptor as HidDescriptor
    from gadget.protocol.constants import (
        ClassCode as ClassCode,
        EventType as EventType,
        LanguageId as LanguageId,
        Recipient as Recipient,
        Speed as Speed,
        StandardRequest as StandardRequest,
    )
    from gadget.protocol.declaration import Association as Association
    from gadget.protocol.functionfs_format import Setup as Setup
    from gadget.protocol.lifecycle import LinkState as LinkState
    from gadget.protocol.link_report import LinkReport as LinkReport
    from gadget.protocol.microsoft_os import MicrosoftOs as MicrosoftOs, Property as Property

_HOMES = {
    "composition": "Configuration",
    "configfs.announced": "WebUsb",
    "functionfs.access": "Access",
    "device": "Gadget",
    "errors": (
        "ClosedError ConfigurationError ControllerBusyError DescriptorError DisabledError DisconnectedError "
        "EndpointBusyError GadgetBusyError GadgetError HostNotReadingError KernelError MessageTooLongError "
        "MissingModuleError NoControllerError NotDrainedError NotPermittedError NotUndoneError OutOfEndpointsError "
        "ProtocolError Stall SupersededError TransferError UnboundError UnsupportedError UsageError"
    ),
    "functionfs.declared_endpoints": "BulkIn BulkOut InterruptIn InterruptOut IsochronousIn IsochronousOut",
    "functionfs.declared_interfaces": "Interface",
    "functionfs.endpoint_stream": "PACKET",
    "functionfs.function": "Function",
    "functionfs.handlers": "class_in class_out standard_in standard_out vendor_in vendor_out",
    "functionfs.in_endpoint": "InEndpoint",
    "functionfs.out_endpoint": "OutEndpoint",
    "functionfs.splice": "Splice splice",
    "mounted": "serve_mounted",
    "protocol.class_descriptors": "CcidDescriptor HidDescriptor",
    "protocol.constants": "ClassCode EventType LanguageId Recipient Speed StandardRequest",
    "protocol.declaration": "Association",
    "protocol.functionfs_format": "Setup",
    "protocol.lifecycle": "LinkState",
    "protocol.link_report": "LinkReport",
    "protocol.microsoft_os": "MicrosoftOs Property",
}

__all__ = sorted(name for names in _HOMES.values() for name in names.split())
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
