from __future__ import annotations

import string
from dataclasses import replace
from pathlib import PurePosixPath as P
from typing import Any

from hypothesis import given, strategies as st

from gadget.configfs.announced import MicrosoftOsString, WebUsb
from gadget.configfs.model import ConfigurationModel, FunctionModel, GadgetModel
from gadget.configfs.plan import plan, tree_undo, undo
from gadget.configfs.steps import (
    Entry,
    MakeDirectory,
    MakeLink,
    RemoveDirectory,
    RemoveLink,
    Step,
    UndoStep,
    WriteAttribute,
)
from gadget.protocol.constants import Speed

WORDS = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=8)
FUNCTIONS = st.lists(st.builds("{}.{}".format, WORDS, WORDS), min_size=1, max_size=4, unique=True).map(tuple)
TEXTS = st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\n\0"), max_size=31)
CONFIGURATIONS = st.builds(
    ConfigurationModel,
    number=st.integers(1, 255),
    label=TEXTS.map(lambda text: text or ""),
    max_power_ma=st.integers(1, 900),
    self_powered=st.booleans(),
    remote_wakeup=st.booleans(),
    functions=FUNCTIONS,
)


@st.composite
def models(draw: st.DrawFn) -> GadgetModel:
    """Of one to three configurations, one of which may have Microsoft OS descriptors."""
    model = draw(PLAIN)
    chosen = draw(st.none() | st.sampled_from([configuration.number for configuration in model.configurations]))
    return replace(model, microsoft_os=None if chosen is None else MicrosoftOsString(configuration=chosen))


PLAIN = st.builds(
    GadgetModel,
    name=WORDS,
    vendor_id=st.integers(0, 0xFFFF),
    product_id=st.integers(0, 0xFFFF),
    manufacturer=TEXTS,
    product=TEXTS,
    serial_number=TEXTS,
    max_speed=st.none() | st.sampled_from(Speed),
    configurations=st.lists(CONFIGURATIONS, min_size=1, max_size=3, unique_by=lambda c: c.number).map(tuple),
)
MODELS = models()

#: The folders that the kernel makes together with their parents.
DEFAULTS = {"functions", "configs", "strings", "os_desc"}


def echo(**changes: Any) -> GadgetModel:
    return replace(GadgetModel("g", configurations=(ConfigurationModel(functions=("ffs.echo",)),)), **changes)


class Tree:
    """What the steps leave behind, with the kernel's rules about what has to be there and what has to be empty."""

    def __init__(self) -> None:
        self.folders: set[P] = {P()}
        self.links: dict[P, P] = {}

    def has_folder(self, path: P) -> bool:
        return path in self.folders or (path.name in DEFAULTS and path.parent in self.folders)

    def do(self, step: Step) -> None:
        assert self.has_folder(step.path.parent)
        match step:
            case MakeDirectory(path):
                assert path not in self.folders
                self.folders.add(path)
            case MakeLink(path, target):
                assert target in self.folders
                assert path not in self.links
                self.links[path] = target

    def take_back(self, step: UndoStep) -> None:
        if isinstance(step, RemoveLink):
            del self.links[step.path]
            return
        assert not any(path in (step.path, target) for link, target in self.links.items() for path in link.parents)
        assert not any(step.path in folder.parents for folder in self.folders)
        self.folders.remove(step.path)

    def listing(self) -> list[Entry]:
        default = {p for f in self.folders for p in f.parents if p not in self.folders}
        gadget = {p for p in self.folders | default if p != P()}
        return [Entry(p) for p in gadget] + [Entry(p, is_link=True) for p in self.links]


def test_the_whole_plan_of_a_gadget() -> None:
    configuration = ConfigurationModel(label="Echo", max_power_ma=100, remote_wakeup=True, functions=("ffs.a", "acm.0"))
    model = echo(product="Écho", serial_number="1", max_speed=Speed.HIGH, configurations=(configuration,))
    config = P("g/configs/c.1")
    assert plan(model) == (
        MakeDirectory(P("g")),
        WriteAttribute(P("g/idVendor"), b"0x1d6b"),
        WriteAttribute(P("g/idProduct"), b"0x0104"),
        WriteAttribute(P("g/bcdDevice"), b"0x0100"),
        WriteAttribute(P("g/bcdUSB"), b"0x0200"),
        WriteAttribute(P("g/bDeviceClass"), b"0x00"),
        WriteAttribute(P("g/bDeviceSubClass"), b"0x00"),
        WriteAttribute(P("g/bDeviceProtocol"), b"0x00"),
        WriteAttribute(P("g/max_speed"), b"high-speed"),
        MakeDirectory(P("g/strings/0x409")),
        WriteAttribute(P("g/strings/0x409/manufacturer"), b"\n"),
        WriteAttribute(P("g/strings/0x409/product"), "Écho".encode()),
        WriteAttribute(P("g/strings/0x409/serialnumber"), b"1"),
        MakeDirectory(P("g/functions/ffs.a")),
        MakeDirectory(P("g/functions/acm.0")),
        MakeDirectory(config),
        WriteAttribute(config / "MaxPower", b"100"),
        WriteAttribute(config / "bmAttributes", b"0xa0"),
        MakeDirectory(config / "strings/0x409"),
        WriteAttribute(config / "strings/0x409/configuration", b"Echo"),
        MakeLink(config / "ffs.a", P("g/functions/ffs.a")),
        MakeLink(config / "acm.0", P("g/functions/acm.0")),
    )


def test_strings_in_two_languages() -> None:
    configuration = ConfigurationModel(label={0x0407: "Echo!", 0x0409: "Echo"}, functions=("ffs.a",))
    model = echo(product={0x0409: "Echo", 0x0407: ""}, serial_number="1", configurations=(configuration,))
    strings, label = P("g/strings"), P("g/configs/c.1/strings")
    assert [step for step in plan(model) if "strings" in step.path.parts] == [
        MakeDirectory(strings / "0x409"),
        WriteAttribute(strings / "0x409/manufacturer", b"\n"),
        WriteAttribute(strings / "0x409/product", b"Echo"),
        WriteAttribute(strings / "0x409/serialnumber", b"1"),
        MakeDirectory(strings / "0x407"),
        WriteAttribute(strings / "0x407/manufacturer", b"\n"),
        WriteAttribute(strings / "0x407/product", b"\n"),
        WriteAttribute(strings / "0x407/serialnumber", b"1"),
        MakeDirectory(label / "0x409"),
        WriteAttribute(label / "0x409/configuration", b"Echo"),
        MakeDirectory(label / "0x407"),
        WriteAttribute(label / "0x407/configuration", b"Echo!"),
    ]


def test_microsoft_os_descriptors_come_last_and_go_first() -> None:
    """The link keeps the configuration from being removed."""
    both = (ConfigurationModel(functions=("ffs.a",)), ConfigurationModel(number=2, name="d", functions=("ffs.a",)))
    string = MicrosoftOsString(vendor_code=0x17, configuration=2)
    steps = plan(echo(configurations=both, microsoft_os=string))
    link = P("g/os_desc/d.2")
    assert steps[-4:] == (
        WriteAttribute(P("g/os_desc/b_vendor_code"), b"0x17"),
        WriteAttribute(P("g/os_desc/qw_sign"), b"MSFT100"),
        WriteAttribute(P("g/os_desc/use"), b"1"),
        MakeLink(link, P("g/configs/d.2")),
    )
    assert undo(steps)[0] == RemoveLink(link)
    found = [Entry(P("g/configs/d.2")), Entry(P("g/os_desc")), Entry(link, is_link=True), Entry(P("g"))]
    assert tree_undo(found) == (RemoveLink(link), RemoveDirectory(P("g/configs/d.2")), RemoveDirectory(P("g")))


def test_a_label_is_there_in_every_language_of_the_gadget_and_alone_in_us_english() -> None:
    labelled = (ConfigurationModel(label="Echo", functions=("ffs.a",)),)
    label = P("g/configs/c.1/strings")
    for product, languages in ((None, ["0x409"]), ({0x0407: "Echo!", 0x0409: "Echo"}, ["0x407", "0x409"])):
        steps = plan(echo(product=product, configurations=labelled))
        made = [step for step in steps if label in step.path.parents]
        assert made == [
            step
            for language in languages
            for step in (
                MakeDirectory(label / language),
                WriteAttribute(label / language / "configuration", b"Echo"),
            )
        ]


def test_a_gadget_without_strings_gets_no_language() -> None:
    assert not any("strings" in step.path.parts for step in plan(echo()))


def test_a_function_of_two_configurations_is_made_once_and_linked_twice() -> None:
    both = (ConfigurationModel(functions=("ffs.a",)), ConfigurationModel(number=2, functions=("ffs.a",)))
    steps = plan(echo(configurations=both))
    assert steps.count(MakeDirectory(P("g/functions/ffs.a"))) == 1
    assert [step.path for step in steps if isinstance(step, MakeLink)] == [
        P("g/configs/c.1/ffs.a"),
        P("g/configs/c.2/ffs.a"),
    ]


@given(MODELS)
def test_the_kernel_accepts_every_step_and_the_undo_leaves_nothing(model: GadgetModel) -> None:
    tree, steps = Tree(), plan(model)
    for step in steps:
        tree.do(step)
    for back in undo(steps):
        tree.take_back(back)
    assert tree.folders == {P()}
    assert not tree.links


@given(MODELS, st.data())
def test_a_tree_left_at_any_point_is_removed_by_its_listing(model: GadgetModel, data: st.DataObject) -> None:
    tree, steps = Tree(), plan(model)
    for step in steps[: data.draw(st.integers(0, len(steps)))]:
        tree.do(step)
    found = data.draw(st.permutations(tree.listing()))
    for back in tree_undo(found):
        tree.take_back(back)
    assert tree.folders == {P()}
    assert not tree.links


def test_what_a_function_is_told_stands_behind_its_folder_in_its_own_order() -> None:
    own = (
        MakeDirectory(P("lun.1")),
        WriteAttribute(P("lun.1/ro"), b"1"),
        MakeLink(P("class/fs/h"), P("header/h")),
    )
    functions = (FunctionModel("uvc.b", own), FunctionModel("acm.a"))
    configuration = ConfigurationModel(functions=("acm.a", "uvc.b", "ffs.c"))
    root = P("g/functions")
    assert [
        step for step in plan(echo(functions=functions, configurations=(configuration,))) if root in step.path.parents
    ] == [
        MakeDirectory(root / "uvc.b"),
        MakeDirectory(root / "uvc.b/lun.1"),
        WriteAttribute(root / "uvc.b/lun.1/ro", b"1"),
        MakeLink(root / "uvc.b/class/fs/h", root / "uvc.b/header/h"),
        MakeDirectory(root / "acm.a"),
        MakeDirectory(root / "ffs.c"),
    ]


def test_links_inside_a_function_go_when_no_configuration_has_it_any_more() -> None:
    inside, outside = P("g/functions/uvc.0/streaming/class/fs/h"), P("g/configs/c.1/uvc.0")
    assert tree_undo([Entry(inside, is_link=True), Entry(outside, is_link=True)]) == (
        RemoveLink(outside),
        RemoveLink(inside),
    )


def test_webusb_and_the_size_of_packets_of_endpoint_0() -> None:
    steps = plan(echo(webusb=WebUsb("https://example.org/", vendor_code=0x17), max_packet_size0=64))
    assert WriteAttribute(P("g/bMaxPacketSize0"), b"0x40") in steps
    assert steps[-4:] == (
        WriteAttribute(P("g/webusb/bcdVersion"), b"0x0100"),
        WriteAttribute(P("g/webusb/bVendorCode"), b"0x17"),
        WriteAttribute(P("g/webusb/landingPage"), b"https://example.org/"),
        WriteAttribute(P("g/webusb/use"), b"1"),
    )


def test_folders_inside_a_function_may_be_the_kernels_own() -> None:
    lun = P("g/functions/mass_storage.0/lun.1")
    found = [Entry(P("g")), Entry(P("g/functions")), Entry(lun.parent), Entry(lun), Entry(P("g/os_desc"))]
    assert tree_undo(found) == (
        RemoveDirectory(lun, perhaps_default=True),
        RemoveDirectory(lun.parent),
        RemoveDirectory(P("g")),
    )
