"""What is written is read again as the same tree."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gadget import Configuration, Gadget
from gadget.configfs.model import GadgetModel
from gadget.configfs.plan import plan
from gadget.configfs.steps import Step
from gadget.errors import ConfigurationError, DescriptorError
from gadget.kernel_functions import Acm, KernelFunction
from gadget.schemes.own import dump_own, load_own
from tests.unit.schemes.gadgets import FUNCTIONS, everything, of


def tree(model: GadgetModel) -> set[Step]:
    return set(plan(model))


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda each: type(each).__name__)
def test_each_function_there_and_back(function: KernelFunction) -> None:
    model = of(function)
    found = load_own(dump_own(model))
    assert tree(found) == tree(model)
    assert tree(load_own(dump_own(found))) == tree(model)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda each: type(each).__name__)
def test_the_order_is_the_same_but_where_the_file_says_otherwise(function: KernelFunction) -> None:
    model = of(function)
    text = dump_own(model)
    assert plan(load_own(text)) == plan(model) or "as_it_is = true" in text


def test_a_gadget_with_everything() -> None:
    model = everything()
    text = dump_own(model)
    assert plan(load_own(text)) == plan(model)
    assert "idVendor = 0x1209\n" in text
    assert "bDeviceClass = 0xef\n" in text


def test_us_english_alone_need_not_be_said() -> None:
    english = {0x0409: "Thing"}
    configuration = Configuration([Acm()], {0x0409: "Only"})
    model = Gadget(configurations=[configuration], name="g", product=english, manufacturer={0x0409: ""}).model
    text = dump_own(model)
    assert 'product = "Thing"\n' in text
    assert plan(load_own(text)) == plan(model)
    assert "0x407" in dump_own(Gadget(Acm(), name="g", product={0x0407: "Ding"}).model)


def test_as_short_as_it_can_be() -> None:
    model = load_own('name = "g"\nfunctions = ["acm.0", "ncm.0"]')
    assert model.configurations[0].functions == ("acm.0", "ncm.0")
    assert model.vendor_id == 0x1D6B


def test_by_hand() -> None:
    model = load_own(
        """
        name = "stick"
        product = { 0x409 = "Stick", 0x407 = "Stecken" }

        [[functions]]
        instance = "mass_storage.0"
        attributes = { "lun.0" = { file = "/a.img", ro = true }, "lun.1/file" = "/b.img" }
        """,
        "other",
    )
    assert model.name == "other"
    made = {str(step.path): getattr(step, "value", None) for step in plan(model)}
    assert made["other/functions/mass_storage.0/lun.1"] is None
    assert made["other/functions/mass_storage.0/lun.0/ro"] == b"1"
    assert made["other/functions/mass_storage.0/lun.1/file"] == b"/b.img"
    assert model.languages == (0x409, 0x407)


def wrong() -> Iterator[tuple[str, type[Exception], str]]:
    yield "name = ", ConfigurationError, "no TOML"
    yield 'functions = ["acm.0"]', ConfigurationError, "no name"
    yield 'name = "g"\nfunctoins = []', ConfigurationError, "functoins is not known here"
    yield 'name = "g"\nfunctions = "acm.0"', ConfigurationError, "must be a list"
    yield 'name = "g"\nfunctions = [{}]', ConfigurationError, "no instance"
    yield 'name = "g"\nfunctions = ["acm"]', ConfigurationError, "FAMILY.NAME"
    yield 'name = "g"\nfunctions = []', ConfigurationError, "has no function"
    yield 'name = "g"\nidVendor = "x"\nfunctions = ["acm.0"]', ConfigurationError, "of the wrong kind"
    yield 'name = "g"\nfunctions = ["uvc.0"]', DescriptorError, "formats = "
    yield (
        'name = "g"\nfunctions = [{ instance = "ncm.0", attributes = { dev_addr = "x" } }]',
        DescriptorError,
        "dev_addr = 'x'",
    )
    yield (
        'name = "g"\nfunctions = [{ instance = "ncm.0", attributes = { qmult = "many" } }]',
        DescriptorError,
        "qmult = 'many': is no value of its kind",
    )
    yield (
        'name = "g"\nfunctions = [{ instance = "ncm.0", attributes = { qmult = 1.5 } }]',
        ConfigurationError,
        "not 1.5",
    )


@pytest.mark.parametrize(("text", "error", "message"), list(wrong()))
def test_what_is_wrong_is_said(text: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load_own(text)
