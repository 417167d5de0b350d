from __future__ import annotations

import pytest

from gadget import (
    Association,
    BulkIn,
    BulkOut,
    ClassCode,
    Function,
    Interface,
    InterruptIn,
    Setup,
    class_out,
    vendor_in,
)
from gadget.errors import DescriptorError, UsageError
from gadget.protocol.constants import Recipient
from gadget.protocol.descriptors import InterfaceAssociation, InterfaceDescriptor


class Modem(Function):
    """Two interfaces, as CDC ACM has them."""

    association = Association(ClassCode.COMMUNICATIONS, 2, 1, "modem")

    control = Interface(ClassCode.COMMUNICATIONS, 2, 1, string="control")
    notify = InterruptIn(interval=0.032)
    data = Interface(ClassCode.CDC_DATA)
    rx = BulkOut()
    tx = BulkIn()

    @class_out(0x20, interface=control)
    async def set_line_coding(self, setup: Setup, data: memoryview) -> None: ...

    @class_out(0x20, interface=data)
    async def nonsense(self, setup: Setup, data: memoryview) -> None: ...


class Follower(Modem):
    """Endpoints of its own go to the last interface, its own interface comes after."""

    more = BulkIn()
    extra = Interface(string="extra")
    last = BulkIn()


def test_endpoints_belong_to_the_interface_above_them() -> None:
    assert [(one.class_code, len(one.endpoints), one.string) for one in Modem.interfaces()] == [
        (ClassCode.COMMUNICATIONS, 1, "control"),
        (ClassCode.CDC_DATA, 2, None),
    ]
    assert list(Modem.declared_endpoints()) == ["notify", "rx", "tx"]
    assert [(one.class_code, len(one.endpoints)) for one in Follower.interfaces()] == [(2, 1), (10, 3), (255, 1)]


def test_what_stands_above_the_first_interface_has_one_of_its_own() -> None:
    class Mixed(Function):
        interface_class = 0xFE
        tx = BulkIn()
        second = Interface(0x01)

    assert [(one.class_code, len(one.endpoints)) for one in Mixed.interfaces()] == [(0xFE, 1), (0x01, 0)]


def test_a_function_with_nothing_has_one_interface() -> None:
    class Empty(Function): ...

    assert [len(one.endpoints) for one in Empty.interfaces()] == [0]


def test_the_descriptors_number_them_behind_the_association() -> None:
    for of_speed in Modem().descriptors(3).values():
        first, *rest = of_speed
        assert first == InterfaceAssociation(3, 2, ClassCode.COMMUNICATIONS, 2, 1, string=2)
        assert [(one.number, one.string) for one in rest if isinstance(one, InterfaceDescriptor)] == [(3, 1), (4, 0)]
    assert Modem().strings() == {0x409: ("control", "modem")}


def test_a_request_can_be_for_one_of_them() -> None:
    handlers = {request.interface: name for request, name in Modem._requests.items() if request.request == 0x20}
    assert handlers == {0: "set_line_coding", 1: "nonsense"}


def test_a_request_for_an_interface_of_somebody_else_is_refused() -> None:
    elsewhere = Interface()
    with pytest.raises(UsageError, match=r"Lost\.ask is for an interface that is not declared"):

        class Lost(Function):
            @vendor_in(1, interface=elsewhere)
            async def ask(self, setup: Setup) -> bytes:
                return b""


def test_only_a_request_to_an_interface_can_be_for_one() -> None:
    with pytest.raises(UsageError, match="not for recipient DEVICE"):
        vendor_in(1, recipient=Recipient.DEVICE, interface=Interface())


def test_one_interface_under_two_names_is_refused() -> None:
    with pytest.raises(UsageError, match="Twice: one endpoint or interface object"):

        class Twice(Function):
            first = second = Interface()


def test_a_subclass_can_drop_an_interface_and_its_endpoints_go_to_the_one_above() -> None:
    class One(Modem):
        data = None  # type: ignore[assignment]  # this is how it is dropped
        nonsense = None  # type: ignore[assignment]

    assert [len(one.endpoints) for one in One.interfaces()] == [3]
    assert "nonsense" not in One._requests.values()


def test_class_zero_is_refused() -> None:
    with pytest.raises(DescriptorError, match="bInterfaceClass = 0"):
        Interface(0)
