from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from gadget.errors import ClosedError, KernelError, UsageError
from gadget.testing.observe.kernel_log import REPORT_LINES, KernelLog, Line, find_trouble, parse_record
from gadget.testing.waiting import StillWaitingError


def test_a_record_with_a_dictionary() -> None:
    record = b"6,339,5140900,-;NET: Registered protocol family 10\n SUBSYSTEM=net\n DEVICE=+usb:1-1\n"
    assert parse_record(record) == Line(6, 339, 5.1409, "NET: Registered protocol family 10")


def test_the_level_is_part_of_the_priority() -> None:
    assert parse_record(b"12,419,206186988,-;from a program\n").level == 4


def test_more_fields_may_come() -> None:
    assert parse_record(b"4,1,2,c,caller=T1,more;text, with a comma; and more\n").text == "text, with a comma; and more"


def test_escapes_are_undone() -> None:
    assert (
        parse_record(rb"4,1,2,-;h\xc3\xa9 \x5c tab\x09 two\x0alines \x5cx41" + b"\n").text
        == "h\u00e9 \\ tab\t two\nlines \\x41"
    )


@pytest.mark.parametrize("bad", [b"", b"\n", b"4,1;x\n", b"4,1,2,-\n", b"a,b,c,-;x\n", b"4,-1,2,-;x\n"])
def test_what_is_no_record_is_refused(bad: bytes) -> None:
    with pytest.raises(UsageError):
        parse_record(bad)


def test_a_line_is_checked_when_it_is_made() -> None:
    with pytest.raises(UsageError, match="level = 8"):
        Line(8, 0, 0.0, "")


@given(
    text=st.text(st.characters(blacklist_categories=["Cs"])), level=st.integers(0, 191), sequence=st.integers(0, 2**64)
)
def test_any_text_survives_the_kernel_s_escaping(text: str, level: int, sequence: int) -> None:
    # As the documentation has it: unprintable characters, all that is not ASCII, and the backslash.
    escaped = b"".join(bytes([c]) if 32 <= c < 127 and c != ord("\\") else b"\\x%02x" % c for c in text.encode())
    line = parse_record(b"%d,%d,17,-;%s\n KEY=value\n" % (level, sequence, escaped))
    assert line == Line(level % 8, sequence, 17e-6, text)


def lines(texts: Sequence[str]) -> list[Line]:
    return [Line(4, number, float(number), text) for number, text in enumerate(texts)]


@pytest.mark.parametrize(
    "text",
    [
        "WARNING: CPU: 0 PID: 71 at drivers/usb/gadget/composite.c:1234 composite_setup+0x1/0x2 [libcomposite]",
        "WARNING: drivers/usb/core/urb.c:494 at usb_submit_urb+0x1b/0x5d0, CPU#1: test/310",
        "WARNING: possible circular locking dependency detected",
        "WARNING: possible recursive locking detected",
        "WARNING: inconsistent lock state",
        "WARNING: suspicious RCU usage",
        "WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected",
        "BUG: kernel NULL pointer dereference, address: 0000000000000008",
        "BUG: scheduling while atomic: python/81/0x00000002",
        "BUG: sleeping function called from invalid context at kernel/locking/mutex.c:580",
        "BUG: KASAN: slab-use-after-free in ffs_epfile_io+0x11/0x22 [usb_f_fs]",
        "kernel BUG at lib/list_debug.c:59!",
        "Oops: 0002 [#1] PREEMPT SMP NOPTI",
        "Internal error: Oops: 0000000096000004 [#1] SMP",
        "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000010",
        "general protection fault, probably for non-canonical address 0x6b6b6b6b6b6b6b6b: 0000 [#1]",
        "UBSAN: array-index-out-of-bounds in drivers/usb/gadget/function/f_fs.c:1:2",
        "refcount_t: underflow; use-after-free.",
        "list_del corruption. prev->next should be ffff, but was 0000",
        "INFO: task python:81 blocked for more than 120 seconds.",
        "Kernel panic - not syncing: Fatal exception",
    ],
)
def test_trouble(text: str) -> None:
    assert find_trouble(lines(["fine", text])) == f"[    1.000000] {text}"


@pytest.mark.parametrize(
    "text",
    [
        "watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [python:81]",
        "BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 31s!",
        "rcu: INFO: rcu_preempt self-detected stall on CPU",
        "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
        "clocksource: timekeeping watchdog on CPU0: Marking clocksource 'tsc' as unstable because the skew is too big:",
        "hrtimer: interrupt took 11735452 ns",
        "perf: interrupt took too long (2512 > 2500), lowering kernel.perf_event_max_sample_rate to 79500",
        "INFO: NMI handler (perf_event_nmi_handler) took too long to run: 1.234 msecs",
        "usb 1-1: device descriptor read/64, error -71",
        "WARNING: Running pip as the 'root' user can result in broken permissions",
        "module verification failed: signature and/or required key missing - tainting kernel",
        "DEBUG: all is well",
    ],
)
def test_no_trouble(text: str) -> None:
    assert find_trouble(lines([text])) is None


def test_a_report_is_the_first_one_up_to_its_end() -> None:
    begin = "WARNING: CPU: 0 PID: 1 at a"
    report = [begin, "Call Trace:", "---[ end trace 0000000000000000 ]---"]
    found = find_trouble(lines(["before", *report, "after", "BUG: a second one"]))
    assert found is not None
    assert [line.partition("] ")[2] for line in found.split("\n")] == report


def test_a_report_without_an_end_is_cut() -> None:
    found = find_trouble(lines(["BUG: something", *(["frame"] * 2 * REPORT_LINES)]))
    assert found is not None
    assert len(found.split("\n")) == REPORT_LINES


def test_a_log_that_is_not_there_is_told(tmp_path: Path) -> None:
    path = tmp_path / "kmsg"
    with pytest.raises(KernelError, match=f"in a container, pass /dev/kmsg to it.*{re.escape(str(path))}"):
        KernelLog(path)


def test_a_log_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "kmsg"))
        with pytest.raises(KernelError, match="No such device or address"):
            KernelLog(tmp_path / "kmsg")


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    """A file behaves as the kernel's log does as long as it has at most one record that was not read."""
    (tmp_path / "kmsg").write_bytes(b"6,0,0,-;before\n")
    return tmp_path / "kmsg"


def append(path: Path, record: bytes) -> None:
    with path.open("ab") as file:
        file.write(record)


def test_only_what_comes_after_the_mark_is_told(log_file: Path) -> None:
    with KernelLog(log_file) as log:
        assert (log.lines(), log.text, log.trouble(), log.lost) == ([], "", None, 0)
        append(log_file, b"4,1,2500000,-;first\n")
        assert log.text == "[    2.500000] first"
        append(log_file, b"4,2,3000000,-;BUG: second\n SUBSYSTEM=usb\n")
        assert [line.text for line in log.lines()] == ["first", "BUG: second"]
        assert log.trouble() == "[    3.000000] BUG: second"
        log.mark()
        assert (log.lines(), log.trouble()) == ([], None)


def test_waiting_finds_what_is_there_already(log_file: Path) -> None:
    with KernelLog(log_file) as log:
        append(log_file, b"4,1,2,-;number 17\n")
        assert log.wait_for(r"number \d+", 0).text == "number 17"
        assert log.wait_for(re.compile("NUMBER", re.IGNORECASE), 0).sequence == 1
        with pytest.raises(StillWaitingError, match="waited 0 s for 'no such line'"):
            log.wait_for("no such line", 0)


def test_a_closed_log_says_so(log_file: Path) -> None:
    log = KernelLog(log_file)
    log.close()
    log.close()
    with pytest.raises(ClosedError):
        log.lines()


def test_a_log_that_was_not_closed_is_a_warning(log_file: Path) -> None:
    with pytest.warns(ResourceWarning, match="was not closed"):
        KernelLog(log_file)
