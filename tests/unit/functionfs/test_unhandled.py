from __future__ import annotations

import logging

import pytest

from gadget.functionfs.unhandled import MOST_KINDS, Unhandled
from gadget.protocol.functionfs_format import Setup


def setup_of(request: int, value: int = 0, request_type: int = 0xC1) -> Setup:
    return Setup(request_type=request_type, request=request, value=value, index=0, length=0)


def test_each_kind_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    unhandled = Unhandled()
    with caplog.at_level(logging.WARNING, "gadget"):
        for value in range(1000):
            unhandled.tell(setup_of(1, value))
        unhandled.tell(setup_of(2))
        unhandled.tell(setup_of(1, request_type=0xC0))
    assert [record.message.partition("\n")[0] for record in caplog.records] == [
        "unhandled request, stalled: Setup(request_type=193, request=1, value=0, index=0, length=0)",
        "unhandled request, stalled: Setup(request_type=193, request=2, value=0, index=0, length=0)",
        "unhandled request, stalled: Setup(request_type=192, request=1, value=0, index=0, length=0)",
    ]
    assert "request_02(self, setup) -> bytes" in caplog.text


def test_a_host_cannot_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    unhandled = Unhandled()
    with caplog.at_level(logging.WARNING, "gadget"):
        for number in range(1 << 16):
            unhandled.tell(setup_of(number & 0xFF, request_type=number >> 8))
    assert len(caplog.records) == MOST_KINDS + 1
    assert "others are told as debugging messages" in caplog.records[-1].message


def test_the_rest_is_there_for_debugging(caplog: pytest.LogCaptureFixture) -> None:
    unhandled = Unhandled()
    with caplog.at_level(logging.DEBUG, "gadget"):
        for value in range(3):
            unhandled.tell(setup_of(1, value))
    assert [record.levelname for record in caplog.records] == ["WARNING", "DEBUG", "DEBUG"]
