"""Somebody else's project, with the package installed from its wheel: what pytest tells of it is what happened."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import subprocess
import venv
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "tests/sample_project"
#: Seconds; two more machines have work meanwhile, where the whole suite runs.
PATIENCE = 900.0

PASSED, FAILED, ERROR, SKIPPED = "passed", "failed", "error", "skipped"

#: Every test of the project, and how it ends.
OUTCOMES = {
    "test_it_begins_at_zero": PASSED,
    "test_counts_at_every_speed[full]": PASSED,
    "test_counts_at_every_speed[high]": PASSED,
    "test_counts_at_every_speed[super]": PASSED,
    "test_node_ids_of_all_kinds[a]": PASSED,
    "test_node_ids_of_all_kinds[b::c]": PASSED,
    "test_node_ids_of_all_kinds[\\xfc [x]]": PASSED,
    "test_survives_faults": PASSED,
    "test_the_host_sees_a_stall[usbip-vudc]": PASSED,
    "test_is_killed_and_comes_back": PASSED,
    "test_warns": PASSED,
    "test_is_skipped": SKIPPED,
    "test_is_expected_to_fail": SKIPPED,  # JUnit has no word for xfail
    "test_must_fail": FAILED,
    "test_leaves_a_descriptor_open": ERROR,
    "test_leaves_a_thread_running": ERROR,
    "test_leaves_a_gadget_in_configfs": ERROR,
    "test_the_kernel_complains": ERROR,
    "test_panics_the_guest": FAILED,
    "test_goes_on_after_a_new_boot": PASSED,
    "test_hangs": FAILED,
    "test_is_the_last": PASSED,
}


@dataclass
class Project:
    """A copy of the project, in an environment of its own."""

    folder: Path
    python: Path

    def pytest(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.python, "-m", "pytest", *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env=without_our_own(),
        )


@dataclass
class Run:
    """A whole run of it."""

    project: Project
    status: int
    output: str
    cases: dict[str, ET.Element] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """What was reported as the reason of a failure."""
        return "\n".join(element.text or "" for element in self.cases[name] if element.tag in ("failure", "error"))


def without_our_own() -> dict[str, str]:
    """The environment, without what the pytest that runs this test says of itself."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "GADGET_", "COV_"))}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The wheel, built and installed with its extra into an empty environment; nothing comes from this checkout."""
    base = tmp_path_factory.mktemp("outside")
    venv.create(base / "env", with_pip=True)
    python = base / "env/bin/python"
    pip: list[str | Path] = [python, "-m", "pip", "--disable-pip-version-check"]
    source = base / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "*.so"))
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "-w", base / "wheels", source], check=True, timeout=PATIENCE)
    (wheel,) = (base / "wheels").glob("gadget-*.whl")
    subprocess.run([*pip, "install", "-q", f"{wheel}[test]", "pytest-cov"], check=True, timeout=PATIENCE)
    shutil.copytree(SAMPLE, base / "project", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build"))
    subprocess.run([*pip, "install", "-q", "--no-deps", base / "project"], check=True, timeout=PATIENCE)
    shutil.rmtree(base / "project/build", ignore_errors=True)
    return Project(base / "project", python)


@pytest.fixture(scope="module")
def run(project: Project) -> Run:
    coverage = ("--cov=counter_device", "--cov-branch", "--cov-report=json:coverage.json")
    done = project.pytest("--junitxml=junit.xml", "-v", "--first-byte=3", "--gadget-durations", *coverage)
    found = Run(project, done.returncode, done.stdout + done.stderr)
    assert (project.folder / "junit.xml").exists(), found.output
    for case in ET.parse(project.folder / "junit.xml").iter("testcase"):
        found.cases.setdefault(case.attrib["name"], case).extend([])
        if found.cases[case.attrib["name"]] is not case:
            found.cases[case.attrib["name"]].extend(case)
    return found


def outcome(case: ET.Element) -> str:
    tags = {element.tag for element in case}
    for tag, meaning in (("failure", FAILED), ("error", ERROR), ("skipped", SKIPPED)):
        if tag in tags:
            return meaning
    return PASSED


def test_each_test_ends_as_it_should(run: Run) -> None:
    assert {name: outcome(case) for name, case in run.cases.items()} == OUTCOMES, run.output
    assert run.status == pytest.ExitCode.TESTS_FAILED
    summary = run.output.strip().splitlines()[-1]
    assert re.search(r"3 failed, 17 passed, 1 skipped, 1 xfailed, 1 warning, 4 errors", summary), summary


def test_a_failure_is_told_as_if_it_had_happened_here(run: Run) -> None:
    assert "assert 2 == 3" in run.text("test_must_fail")
    assert "about to fail" in run.output
    assert "test_counter.py" in run.text("test_must_fail")
    assert "of a reason of its own" in run.output
    assert "UserWarning: only a remark" in run.output


def test_what_a_test_leaves_is_named(run: Run) -> None:
    assert re.search(r"descriptor \d+.*/dev/null", run.text("test_leaves_a_descriptor_open"))
    assert "thread" in run.text("test_leaves_a_thread_running")
    assert "left-behind" in run.text("test_leaves_a_gadget_in_configfs")
    assert "which only says so" in run.text("test_the_kernel_complains")


def test_a_panic_fails_the_test_by_name_with_the_last_lines(run: Run) -> None:
    assert "sysrq triggered crash" in run.text("test_panics_the_guest").lower()


def test_a_test_that_hangs_is_ended(run: Run) -> None:
    assert "nothing was heard of this test for 5 s" in run.text("test_hangs")


def test_properties_and_durations_come_back(run: Run) -> None:
    case = run.cases["test_counts_at_every_speed[high]"]
    assert [(p.attrib["name"], p.attrib["value"]) for p in case.iter("property")] == [("speed", "HIGH")]
    assert 0 < float(case.attrib["time"]) < PATIENCE
    for part in ("boot the virtual machine", "from the command to the first test", "from one test to the next, median"):
        assert part in run.output


def test_coverage_is_of_both_sides(run: Run) -> None:
    """__init__ ran here, the rest only in a guest; one of them panicked, another one was given up."""
    totals = json.loads((run.project.folder / "coverage.json").read_text())["totals"]
    assert totals["percent_covered"] == 100
    assert totals["num_branches"] > 0


def test_a_failing_test_keeps_what_was_observed(run: Run) -> None:
    (folder,) = (run.project.folder / "gadget-artifacts").glob("*test_must_fail*")
    assert (folder / "usb.pcapng").read_bytes()[:4] == b"\x0a\x0d\x0d\x0a"
    assert (folder / "kernel.log").read_text().strip()
    assert not list((run.project.folder / "gadget-artifacts").glob("*test_survives_faults*"))


def test_a_selection_of_the_last_failures(project: Project, run: Run) -> None:
    done = project.pytest("--lf", "-q", "-x", "-k", "must_fail or leaves_a_thread", "--gadget-bus=vm")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "1 failed" in done.stdout
    assert "passed" not in done.stdout, "-x stops at the first failure"


def test_output_is_live_where_it_is_not_captured(project: Project) -> None:
    nodeid = "tests/test_counter.py::test_node_ids_of_all_kinds[b::c]"
    done = project.pytest("-q", "-s", nodeid)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "printed in the guest: b::c 1" in done.stdout
    assert "1 passed" in done.stdout


def test_a_debugger_in_the_guest(project: Project) -> None:
    """On a terminal: the prompt comes, a question is answered there, and the failure is reported here."""
    said = converse(
        [str(project.python), "-m", "pytest", "--pdb", "-q", "tests/test_counter.py::test_must_fail"],
        project.folder,
        [("(Pdb) ", "p 'guest ' + __import__('os').uname().nodename\n"), ("guest gadget-vm", "q\n")],
    )
    assert "guest gadget-vm" in said
    assert "1 failed" in said


def test_a_debugger_without_a_terminal_is_refused(project: Project) -> None:
    done = project.pytest("--pdb", "-q", "tests/test_counter.py::test_must_fail")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "a debugger there needs a terminal" in done.stderr


def test_what_makes_no_sense_is_refused_before_a_boot(project: Project) -> None:
    bad = project.folder / "tests/test_bad.py"
    bad.write_text("import pytest\n\n@pytest.mark.usb(speed='low')\ndef test_it(): pass\n")
    try:
        done = project.pytest("-q", "tests/test_bad.py")
    finally:
        bad.unlink()
    assert done.returncode == pytest.ExitCode.INTERRUPTED
    assert "speed='low': there are full, high, super" in done.stdout
    assert "boot" not in done.stdout


def converse(command: list[str], folder: Path, dialogue: list[tuple[str, str]]) -> str:
    """Runs a command on a terminal, and answers what it says; returns all of it."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execve(command[0], command, without_our_own())
    said = b""
    seen = 0
    waiting = list(dialogue)
    while select.select([terminal], [], [], PATIENCE)[0]:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # EIO: it has ended.
            break
        said += data
        if waiting and waiting[0][0].encode() in said[seen:]:
            seen = len(said)
            os.write(terminal, waiting.pop(0)[1].encode())
    os.close(terminal)
    os.waitpid(child, 0)
    assert not waiting, said.decode(errors="replace")
    return said.decode(errors="replace")
