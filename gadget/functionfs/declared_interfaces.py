"""Several interfaces in one function, as a function declares them: attributes of its class, between its endpoints."""

from __future__ import annotations

from collections.abc import Sequence

from gadget.errors import UsageError
from gadget.functionfs.declared_endpoints import DeclaredEndpoint
from gadget.functionfs.endpoint import Endpoint
from gadget.protocol.constants import ClassCode
from gadget.protocol.declaration import InterfaceDeclaration, Text
from gadget.protocol.descriptors import Descriptor


class Interface:
    """Begins an interface of a function: the endpoints that are declared after it, up to the next one, are its own.

    Args:
        class_code: bInterfaceClass (USB 2.0, 9.6.5).
        subclass: bInterfaceSubClass.
        protocol: bInterfaceProtocol.
        string: What iInterface names, the same in every language or by language identifier.
        descriptors: What the interface's class wants behind the interface descriptor; FunctionFS takes those of HID and
            of CCID only.

    Raises:
        DescriptorError: The class is 0, which is reserved.
    """

    def __init__(
        self,
        class_code: int = ClassCode.VENDOR_SPECIFIC,
        subclass: int = 0,
        protocol: int = 0,
        *,
        string: Text | None = None,
        descriptors: Sequence[Descriptor] = (),
    ) -> None:
        self._given = (class_code, subclass, protocol, string)
        self._descriptors = tuple(descriptors)
        self.declaration([])

    def declaration(self, endpoints: Sequence[DeclaredEndpoint[Endpoint]]) -> InterfaceDeclaration:
        """What becomes the descriptors, with these endpoints."""
        declarations = tuple(endpoint.declaration for endpoint in endpoints)
        return InterfaceDeclaration(*self._given, endpoints=declarations, descriptors=self._descriptors)


Declared = dict[str, Interface | DeclaredEndpoint[Endpoint]]


def declared(function: type) -> Declared:
    """The interfaces and endpoints of a class by name, in the order of declaration, those of base classes first.

    A subclass drops one by setting its name to None.
    """
    found: Declared = {}
    for owner in reversed(function.__mro__):
        found |= {name: value for name, value in vars(owner).items() if isinstance(value, Interface | DeclaredEndpoint)}
    return {name: value for name, value in found.items() if getattr(function, name) is value}


def arrange(items: Declared, implicit: Interface) -> list[tuple[Interface, list[DeclaredEndpoint[Endpoint]]]]:
    """Gives each endpoint to the interface above it.

    Args:
        items: As :func:`declared` lists them.
        implicit: The interface of what is declared above the first one, and the only one if none is declared.

    Raises:
        UsageError: One object is there under two names, or in two classes.
    """
    values = list(items.values())
    if len(set(map(id, values))) != len(values):
        raise UsageError("one endpoint or interface object is there under two names: make one for each")
    for name, value in items.items():
        if isinstance(value, DeclaredEndpoint) and value.name != name:
            raise UsageError(f"{name} is {value.name} of another class: make an endpoint for each")
    arranged: list[tuple[Interface, list[DeclaredEndpoint[Endpoint]]]] = []
    if not values or not isinstance(values[0], Interface):
        arranged.append((implicit, []))
    for value in values:
        if isinstance(value, Interface):
            arranged.append((value, []))
        else:
            arranged[-1][1].append(value)
    return arranged
