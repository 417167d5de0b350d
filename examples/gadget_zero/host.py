"""Runs the kernel's usbtest against the device that it is bound to, and reports each case.

Exit status 0: all passed. It needs root, and the driver: modprobe usbtest.
"""

import argparse
import errno
import sys
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from usbtest import (
    BULK_AND_CONTROL,
    INTERRUPT,
    ZEROS_ONLY,
    Case,
    NoTargetError,
    Parameters,
    Result,
    Target,
    set_pattern,
)
from usbtest_plan import soak, usual

#: Seconds after which a case is said to take long: some wait for the device without a limit of their own.
PATIENCE = 120.0


def perform(target: Target, plan: Iterable[tuple[Case, Parameters]]) -> Iterator[Result]:
    """Runs one after the other, and says so where one does not end."""
    for case, parameters in plan:
        notice = f"case {case} has taken {PATIENCE:g} s; if it hangs, stop the device: that ends it"
        timer = threading.Timer(PATIENCE, print, [notice], {"file": sys.stderr})
        timer.start()
        try:
            result = target.run(case, parameters)
        finally:
            timer.cancel()
        yield result
        if result.error == errno.ENODEV:
            return  # The device has gone, and there is nothing to go on with.


def said(result: Result) -> str:
    """The case and how it went; of a failure also why, in a line of its own."""
    outcome = "FAILED" if result.error else f"{result.seconds:.3f} s"
    text = f"{result.case:4} {outcome:>10}  {result.case.says} ({result.parameters.said_for(result.case)})"
    return f"{text}\n{' ' * 17}{result.reason}" if result.error else text


def report(results: Iterable[Result]) -> int:
    """Prints each; returns how many have failed."""
    failed = 0
    for result in results:
        print(said(result), flush=True)
        failed += bool(result.error)
    return failed


def report_soak(results: Iterable[Result]) -> int:
    """Prints failures as they come, each with the command that repeats it, and at the end a sum for each case."""
    rounds: dict[Case, list[Result]] = defaultdict(list)
    for result in results:
        rounds[result.case].append(result)
        if result.error:
            command = f"host.py --case {result.case} {result.parameters.said_for(result.case)}"
            print(f"{said(result)}\n{' ' * 17}again: {command}", flush=True)
    for case, own in sorted(rounds.items()):
        times, seconds = sum(each.parameters.iterations for each in own), sum(each.seconds for each in own)
        print(f"{case:4} {seconds:8.3f} s  {times} times, {failures(own)} of {len(own)} rounds failed: {case.says}")
    return sum(map(failures, rounds.values()))


def failures(results: Iterable[Result]) -> int:
    return sum(bool(result.error) for result in results)


def parse() -> argparse.Namespace:
    numbers = "\n".join(f"  {case:2}  {case.says}" for case in Case)
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=f"cases:\n{numbers}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="*", help="its name in sysfs, such as 1-1, if usbtest has several")
    parser.add_argument(
        "--case", type=int, action="append", choices=list(Case), metavar="N", help="only case N; may be given again"
    )
    parser.add_argument("--interrupts", action="store_true", help="run the cases of interrupt endpoints as well")
    parser.add_argument("--pattern", choices=("zeros", "mod63"), default="zeros", help="what is sent (%(default)s)")
    parser.add_argument("--iterations", type=int, default=100, help="of each case (%(default)s)")
    parser.add_argument("--length", type=int, help="bytes of a transfer (eight packets)")
    parser.add_argument("--vary", type=int, help="bytes by which lengths differ (three packets)")
    parser.add_argument("--sglen", type=int, help="entries of a list, or transfers in a queue (32)")
    parser.add_argument("--soak", action="store_true", help="draw the parameters, anew every few iterations")
    parser.add_argument("--seed", type=int, default=1, help="with --soak, what is drawn (%(default)s)")
    return parser.parse_args()


def chosen_cases(options: argparse.Namespace) -> list[Case]:
    if options.case:
        return [case for case in Case if case in options.case]
    known = sorted({*BULK_AND_CONTROL, *(INTERRUPT if options.interrupts else ())})
    return [case for case in known if options.pattern == "zeros" or case not in ZEROS_ONLY]


def planned(cases: list[Case], packet_size: int, options: argparse.Namespace) -> Iterator[tuple[Case, Parameters]]:
    asked = {name: getattr(options, name) for name in ("length", "vary", "sglen")}
    given = {name: value for name, value in asked.items() if value is not None}
    for case in cases:
        yield case, replace(usual(case, packet_size, options.iterations), **given)


def main() -> int:
    options = parse()
    cases = chosen_cases(options)
    try:
        with Target.find(options.device) as target:
            set_pattern(options.pattern)
            print(f"{target.interface.name}, {target.speed} Mbit/s, packets of {target.packet_size} bytes", flush=True)
            if options.soak:
                plan = soak(cases, target.packet_size, options.iterations, options.seed)
                failed = report_soak(perform(target, plan))
            else:
                plan = planned(cases, target.packet_size, options)
                failed = report(perform(target, plan))
    except (NoTargetError, ValueError) as error:
        sys.exit(f"host.py: {error}")
    print(f"{failed} failed" if failed else "all passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
