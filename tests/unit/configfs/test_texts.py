from __future__ import annotations

import pytest

from gadget.configfs.texts import checked, common_languages, in_language
from gadget.errors import DescriptorError
from gadget.protocol.declaration import Text


def test_a_plain_string_is_the_same_in_every_language() -> None:
    assert in_language("Echo", 0x0407) == "Echo"
    assert in_language({0x0407: "Echo!", 0x0409: "Echo"}, 0x0407) == "Echo!"
    assert in_language(None, 0x0407) == ""


def test_what_was_checked_can_change_no_more() -> None:
    given = {0x0409: "Echo"}
    kept = checked("product", given)
    given[0x0409] = "two\nlines"
    assert kept == {0x0409: "Echo"}
    assert checked("product", None) is None


@pytest.mark.parametrize("language", [0x0401, 0x0409, 0x0461, 0x04FF, 0xF0FF, 0xFC01])
def test_a_language_that_the_kernel_takes(language: int) -> None:
    checked("product", {language: "x"})


@pytest.mark.parametrize("language", [-1, 0, 0x0009, 0x0400, 0x0462, 0x04FE, 0x0500, 0x07FF, 0x10409])
def test_a_language_that_the_kernel_does_not_take(language: int) -> None:
    with pytest.raises(DescriptorError) as caught:
        checked("product", {language: "x"})
    assert (caught.value.field, caught.value.value) == ("wLANGID", hex(language))


@pytest.mark.parametrize("text", [{}, "a\nb", {0x0409: "a\0b"}, {0x0409: "good", 0x0407: "\udc00"}, "x" * 127])
def test_a_string_that_cannot_be_names_its_field(text: Text) -> None:
    with pytest.raises(DescriptorError) as caught:
        checked("product", text)
    assert caught.value.field == "product"


def test_languages_in_the_order_of_the_first_string() -> None:
    assert common_languages([("a", "x"), ("b", {7: "", 9: ""}), ("c", {9: "", 7: ""})]) == (7, 9)
    assert common_languages([("a", None), ("b", "x")]) == (0x0409,)
    assert common_languages([("a", None)]) == ()


def test_a_language_that_is_missing_is_named() -> None:
    with pytest.raises(DescriptorError, match="must be given in 0x407 too") as caught:
        common_languages([("product", {0x0409: "a", 0x0407: "b"}), ("manufacturer", {0x0409: "c"})])
    assert caught.value.field == "manufacturer"
