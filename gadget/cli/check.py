"""``gadget check FILE``: what a host would see of a gadget, and what is wrong with it, before anything is touched."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gadget.cli.anticipated import anticipated
from gadget.cli.arguments import add_udc, completed
from gadget.cli.checking import ERROR, NOTE, WARNING, Finding, Report, check_subject
from gadget.cli.output import console, print_json
from gadget.cli.subject import Subject, of_file
from gadget.configfs.udc import list_controllers
from gadget.errors import ConfigurationError, DescriptorError
from gadget.services.boards import BOARDS, Board, board_of_driver, find_board

if TYPE_CHECKING:
    from rich.table import Table


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the subcommand."""
    parser = commands.add_parser(
        "check",
        help="show what a host would see of a gadget, and what is wrong with it",
        description="Shows every descriptor of a gadget at every speed, the endpoints that its functions get, and the "
        "rules of USB, of FunctionFS and of the controller that it breaks. Touches nothing; needs no rights.",
        epilog="Exit status: 0, it can be served; 1, it breaks a rule; 2, wrong use.",
    )
    text = "a Python file, and the name of the Gadget or Function in it; or a scheme"
    completed(parser.add_argument("file", metavar="FILE[:NAME]", help=text), "file")
    boards = ", ".join(BOARDS)
    board = parser.add_argument(
        "--board", metavar="NAME", help=f"the board it is to run on; that of this machine, if it is known ({boards})"
    )
    completed(board, "board")
    parser.add_argument("--summary", "-s", action="store_true", help="leave the descriptors out")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument("--try", dest="bind", action="store_true", help="bind it for a moment, and report; needs root")
    add_udc(parser)
    parser.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Checks it."""
    board = find_board(options.board) if options.board else _board_here(options.udc)
    try:
        subject = of_file(options.file)
    except (DescriptorError, ConfigurationError) as error:
        return _show_unmade(error, options.json)
    report = check_subject(subject, board)
    tried: dict[str, Any] | None = None
    if options.bind and not report.is_broken:
        from gadget.cli.trying import bind_for_a_moment

        tried = bind_for_a_moment(subject, options.udc)
    if options.json:
        print_json(_as_json(subject, report, board, tried, summary=options.summary))
    else:
        _show(subject, report, board, options.summary)
        _show_tried(tried)
    return int(report.is_broken)


def _board_here(udc: str | None) -> Board | None:
    """The board of this machine's controller, if there is one in the table."""
    drivers = [each.driver for each in list_controllers() if udc in (None, each.name)]
    return board_of_driver(drivers[0]) if drivers else None


def _show_unmade(error: Exception, as_json: bool) -> int:
    """A declaration that breaks a rule makes no gadget that more could be said of."""
    finding = Finding(ERROR, "the declaration", str(error))
    if as_json:
        print_json({"findings": [asdict(finding)]})
    else:
        _show_findings([finding])
    return 1


def _show(subject: Subject, report: Report, board: Board | None, summary: bool) -> None:
    out = console()
    if not summary:
        for speed in report.speeds:
            for text in anticipated(subject, report, speed):
                out.out(text, highlight=False, end="")
    for number, demands in report.demands.items():
        if demands:
            out.print(_table(report, board, number, several=len(report.demands) > 1))
    if board is None and any(report.demands.values()):
        known = ", ".join(BOARDS)
        out.print(f"no board was named, and this machine's is not known: --board {{{known}}}")
    for note in board.notes if board is not None else ():
        out.print(f"{board.name if board else ''}: {note}", style="dim")
    _show_findings(report.findings)


def _table(report: Report, board: Board | None, number: int, *, several: bool) -> Table:
    """The endpoint budget of a configuration."""
    from rich import box
    from rich.table import Table

    of = f" of configuration {number}" if several else ""
    table = Table(title=f"Endpoints{of}{f' on {board.name}' if board else ''}", box=box.SIMPLE, title_justify="left")
    for head in ("function", "transfers", "direction", "endpoint", "address"):
        table.add_column(head)
    budget, before = report.budgets.get(number), ""
    for demand, grant in report.granted(number):
        address = f"{grant.address:#04x}" if grant and grant.address is not None else ""
        endpoint = "" if grant is None else grant.endpoint or "none left"
        shown = demand.function if demand.function != before else ""
        before = demand.function
        style = "red" if grant and grant.endpoint is None else None
        kind, way = demand.transfer_type.name.lower(), demand.direction.name
        table.add_row(shown, kind, way, endpoint, address, style=style)
    if budget is not None and budget.left:
        table.caption, table.caption_justify = f"left: {' '.join(each.name for each in budget.left)}", "left"
    return table


def _show_findings(findings: list[Finding]) -> None:
    from rich.text import Text

    out, styles = console(), {ERROR: "bold red", WARNING: "yellow", NOTE: "dim"}
    for found in findings:
        source = f" ({found.source})" if found.source else ""
        out.print(Text(f"{found.level}: ", styles[found.level]).append(f"{found.where}: {found.text}{source}", ""))
    broken = sum(found.level == ERROR for found in findings)
    verdict = Text("it breaks no rule", "green")
    out.print(verdict if not broken else Text(f"{broken} rule{'s' * (broken > 1)} broken", "bold red"))


def _show_tried(tried: dict[str, Any] | None) -> None:
    if tried is None:
        return
    out = console()
    out.print(f"bound to {tried['controller']} for a moment: {tried['link']}")
    for line in _tried_lines(tried):
        out.print(f"  {line}")


def _tried_lines(tried: dict[str, Any]) -> Iterator[str]:
    for function, addresses in tried["addresses"].items():
        yield f"{function}: {' '.join(addresses) or 'no endpoint'}"


def _as_json(
    subject: Subject, report: Report, board: Board | None, tried: dict[str, Any] | None, *, summary: bool
) -> dict[str, Any]:
    descriptors = {speed.maximum: "".join(anticipated(subject, report, speed)) for speed in report.speeds}
    return {
        "gadget": subject.model.name,
        "board": board.name if board else None,
        "speeds": [speed.maximum for speed in report.speeds],
        **({} if summary else {"descriptors": descriptors}),
        "endpoints": {number: _endpoints(report, number) for number in report.demands},
        "findings": [asdict(finding) for finding in report.findings],
        "tried": tried,
    }


def _endpoints(report: Report, number: int) -> list[dict[str, Any]]:
    """The endpoint budget of a configuration, with what each is given if the board is known."""
    return [
        {
            "function": demand.function,
            "direction": demand.direction.name,
            "transfers": demand.transfer_type.name.lower(),
            **({"endpoint": grant.endpoint, "address": grant.address} if grant else {}),
        }
        for demand, grant in report.granted(number)
    ]
