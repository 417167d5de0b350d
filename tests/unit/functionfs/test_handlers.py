from __future__ import annotations

import pytest

from gadget import Function, Recipient, Setup, class_in, class_out, vendor_in, vendor_out
from gadget.errors import UsageError
from gadget.functionfs.handlers import Request, suggestion
from gadget.protocol.constants import Direction, RequestType

VENDOR_IN = Setup(request_type=0xC1, request=1, value=0, index=0, length=8)


class Base(Function):
    @vendor_in(1)
    async def version(self, setup: Setup) -> bytes:
        return b"base"

    @vendor_out(1)
    async def set_mode(self, setup: Setup, data: memoryview) -> None: ...

    @class_in(1, recipient=Recipient.ENDPOINT)
    async def status(self, setup: Setup) -> bytes:
        return b""

    @class_out(255)
    async def reset(self, setup: Setup, data: memoryview) -> None: ...


def request(direction: Direction, kind: RequestType, recipient: Recipient, number: int) -> Request:
    return Request(direction, kind, recipient, number)


def test_what_the_decorators_declare() -> None:
    own = {request: name for request, name in Base._requests.items() if request not in Function._requests}
    assert own == {
        request(Direction.IN, RequestType.VENDOR, Recipient.INTERFACE, 1): "version",
        request(Direction.OUT, RequestType.VENDOR, Recipient.INTERFACE, 1): "set_mode",
        request(Direction.IN, RequestType.CLASS, Recipient.ENDPOINT, 1): "status",
        request(Direction.OUT, RequestType.CLASS, Recipient.INTERFACE, 255): "reset",
    }


def test_handlers_are_bound_to_their_function() -> None:
    function = Base()
    assert function._handlers()[Request.of(VENDOR_IN)] == function.version


@pytest.mark.parametrize("number", [-1, 256])
def test_a_request_is_one_byte(number: int) -> None:
    with pytest.raises(UsageError, match=f"bRequest = {number}"):
        vendor_in(number)


def test_two_methods_for_one_request_are_refused() -> None:
    with pytest.raises(UsageError, match=r"Twice\.first and \.second both answer"):

        class Twice(Function):
            @vendor_in(1)
            async def first(self, setup: Setup) -> bytes:
                return b""

            @vendor_in(1)
            async def second(self, setup: Setup) -> bytes:
                return b""


def test_a_subclass_adds_to_what_it_inherits() -> None:
    class Sub(Base):
        @vendor_in(2)
        async def more(self, setup: Setup) -> bytes:
            return b""

    assert len(Sub._requests) == len(Base._requests) + 1
    assert len(Base._requests) == 4 + len(Function._requests)


def test_a_subclass_takes_a_request_over_with_another_method() -> None:
    class Sub(Base):
        @vendor_in(1)
        async def identity(self, setup: Setup) -> bytes:
            return b""

    assert Sub._requests[Request.of(VENDOR_IN)] == "identity"
    assert len(Sub._requests) == len(Base._requests)


def test_a_method_that_is_overridden_still_answers() -> None:
    class Sub(Base):
        async def version(self, setup: Setup) -> bytes:
            return b"sub"

    function = Sub()
    assert function._handlers()[Request.of(VENDOR_IN)] == function.version


def test_a_method_that_is_marked_anew_answers_only_the_new_request() -> None:
    class Sub(Base):
        @vendor_in(9)
        async def version(self, setup: Setup) -> bytes:
            return b"sub"

    answered = [found.request for found, name in Sub._requests.items() if name == "version"]
    assert answered == [9]


@pytest.mark.parametrize(
    ("setup", "lines"),
    [
        (VENDOR_IN, ["@vendor_in(request=0x01)", "async def request_01(self, setup) -> bytes: ..."]),
        (
            Setup(request_type=0x40, request=0xAB, value=0, index=0, length=0),
            [
                "@vendor_out(request=0xab, recipient=Recipient.DEVICE)",
                "async def request_ab(self, setup, data) -> None: ...",
            ],
        ),
        (Setup(request_type=0xA1, request=2, value=0, index=0, length=1), ["@class_in(request=0x02)"]),
        (
            Setup(request_type=0x22, request=2, value=0, index=0, length=1),
            ["@class_out", "recipient=Recipient.ENDPOINT"],
        ),
    ],
)
def test_an_unhandled_request_is_met_with_the_lines_to_write(setup: Setup, lines: list[str]) -> None:
    text = suggestion(setup)
    assert all(line in text for line in lines), text


def test_the_lines_it_suggests_can_be_pasted() -> None:
    body = suggestion(VENDOR_IN).partition("\n")[2]
    names: dict[str, object] = {"Function": Function, "vendor_in": vendor_in}
    exec(f"class Pasted(Function):\n{body}", names)
    pasted = names["Pasted"]
    assert isinstance(pasted, type)
    assert issubclass(pasted, Function)
    assert Request.of(VENDOR_IN) in pasted._requests


def test_a_standard_request_can_be_answered() -> None:
    text = suggestion(Setup(request_type=0x81, request=6, value=0x2200, index=0, length=64))
    assert "@standard_in(request=0x06)" in text


@pytest.mark.parametrize(("request_type", "what"), [(0xE1, "type"), (0xC5, "recipient")])
def test_nobody_can_answer_what_the_specification_keeps_for_later(request_type: int, what: str) -> None:
    text = suggestion(Setup(request_type=request_type, request=1, value=0, index=0, length=0))
    assert f"its {what} is reserved" in text
    assert "async def" not in text


def test_a_handler_must_be_async() -> None:
    with pytest.raises(UsageError, match="blocking answers control requests, so it must be an async def"):

        @vendor_in(request=1)  # type: ignore[type-var]
        def blocking(self: object, setup: Setup) -> bytes:
            return b""


def test_a_method_answers_one_request() -> None:
    with pytest.raises(UsageError, match="both answers a request already"):

        class Twice(Function):
            @vendor_in(1)
            @vendor_in(2)
            async def both(self, setup: Setup) -> bytes:
                return b""
