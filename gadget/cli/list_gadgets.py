"""``gadget list``: the controllers and gadgets of this machine as a tree."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from gadget.cli.output import console, print_json
from gadget.cli.overview import overview

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "list",
        help="show the controllers and gadgets of this machine",
        description="Shows the USB device controllers (UDCs) and gadgets of this machine: who holds what, the link, "
        "functions with their device nodes. Needs no rights.",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Shows them."""
    found = overview()
    if options.json:
        print_json(found)
        return 0
    for tree in trees(found):
        console().print(tree)
    return 0


def trees(found: dict[str, list[dict[str, Any]]]) -> list[Tree | Text]:
    """What :func:`overview` has found, for people: a tree for each controller, and one of what is bound to none."""
    from rich.text import Text
    from rich.tree import Tree

    gadgets = {gadget["name"]: gadget for gadget in found["gadgets"]}
    shown: list[Tree | Text] = []
    for controller in found["controllers"]:
        tree = Tree(_controller(controller), guide_style="dim")
        if controller["gadget"] in gadgets:
            _add_gadget(tree, gadgets.pop(controller["gadget"]))
        shown.append(tree)
    if not found["controllers"]:
        shown.append(Text("no USB device controller here: gadget doctor says more", "yellow"))
    if gadgets:
        tree = Tree(Text("bound to no controller", "dim"), guide_style="dim")
        for gadget in gadgets.values():
            _add_gadget(tree, gadget)
        shown.append(tree)
    return shown


def _controller(controller: dict[str, Any]) -> Text:
    from rich.text import Text

    text = Text(controller["name"], "bold")
    up_to = f"up to {controller['maximum_speed'] or 'an unknown speed'}"
    if controller["holder"] is None:
        text.append("  free", "green").append(f", {up_to}", "dim")
    else:
        style = "green" if controller["state"] == "configured" else "yellow"
        speed = f" at {controller['speed']}" if controller["speed"] else f", {up_to}"
        text.append(f"  {controller['state']}", style).append(speed, "dim")
        if controller["gadget"] is None:
            text.append(f", held by {controller['holder']}", "red")
    return text.append(f"  [{controller['driver']}]" if controller["driver"] else "", "dim")


def _add_gadget(tree: Tree, gadget: dict[str, Any]) -> None:
    from rich.text import Text

    identity = f"{gadget['vendor_id']}:{gadget['product_id']}".replace("0x", "")
    title = Text(gadget["name"], "bold cyan").append(f"  {identity}")
    if gadget["product"]:
        title.append(f"  {gadget['product']}", "italic")
    branch = tree.add(_with_owner(title, gadget["owner"]))
    known = {function["instance"]: function for function in gadget["functions"]}
    several = len(gadget["configurations"]) > 1
    for configuration in gadget["configurations"]:
        parent = branch
        if several:
            parent = branch.add(Text(f"configuration {configuration['number']}", "dim"))
        for instance in configuration["functions"]:
            parent.add(_function(known.get(instance, {"instance": instance})))
    linked = {instance for configuration in gadget["configurations"] for instance in configuration["functions"]}
    for instance in (each for each in known if each not in linked):
        branch.add(_function(known[instance]).append("  in no configuration", "yellow"))


def _with_owner(title: Text, owner: dict[str, Any] | None) -> Text:
    if owner is None:
        return title
    if owner["alive"]:
        return title.append(f"  served by process {owner['pid']}", "green").append(f" ({owner['command']})", "dim")
    return title.append("  left by a process that has ended: gadget clean", "red")


def _function(function: dict[str, Any]) -> Text:
    from rich.text import Text

    text = Text(function["instance"])
    if function.get("devices"):
        text.append(f"  {' '.join(function['devices'])}", "magenta")
    if function.get("functionfs"):
        text.append(f"  FunctionFS on {function['functionfs']}", "magenta")
    return text
