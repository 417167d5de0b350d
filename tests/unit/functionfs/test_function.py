from __future__ import annotations

import pytest

from gadget import BulkIn, BulkOut, Function, LinkState, UsageError


class Base(Function):
    interface_class = 3
    interface_string = "Base"
    rx = BulkOut()


class Sub(Base):
    interface_subclass = 1
    interface_protocol = 2
    tx = BulkIn()


class Replaced(Sub):
    rx = BulkOut(depth=1)


def test_the_interface_that_a_class_declares() -> None:
    (interface,) = Sub.interfaces()
    assert (interface.class_code, interface.subclass, interface.protocol, interface.string) == (3, 1, 2, "Base")
    assert interface.endpoints == (Base.rx.declaration, Sub.tx.declaration)


def test_what_is_not_said() -> None:
    (interface,) = Function.interfaces()
    assert (interface.class_code, interface.subclass, interface.protocol, interface.string) == (0xFF, 0, 0, None)
    assert interface.endpoints == ()


def test_an_endpoint_that_a_subclass_replaces_keeps_its_place() -> None:
    assert Replaced.declared_endpoints() == {"rx": Replaced.rx, "tx": Sub.tx}
    assert list(Replaced.declared_endpoints()) == ["rx", "tx"]


def test_a_function_that_is_not_served_is_unbound() -> None:
    assert Sub().link is LinkState.UNBOUND


def test_one_endpoint_under_two_names_is_refused() -> None:
    with pytest.raises(UsageError, match="Twice: one endpoint or interface object is there under two names"):

        class Twice(Function):
            first = second = BulkOut()


def test_an_endpoint_of_another_class_is_refused() -> None:
    class First(Function):
        rx = BulkOut()

    with pytest.raises(UsageError, match="Second: data is rx of another class"):

        class Second(Function):
            data = First.rx


def test_a_subclass_can_drop_an_endpoint() -> None:
    class Both(Function):
        rx = BulkOut()
        tx = BulkIn()

    class OnlyIn(Both):
        rx = None  # type: ignore[assignment]  # a type checker cannot know that None drops it

    assert list(OnlyIn.declared_endpoints()) == ["tx"]
    assert list(Both.declared_endpoints()) == ["rx", "tx"]


def test_run_must_be_async() -> None:
    with pytest.raises(UsageError, match=r"Blocking\.run must be an async def"):

        class Blocking(Function):
            def run(self) -> None:  # type: ignore[override]
                pass
