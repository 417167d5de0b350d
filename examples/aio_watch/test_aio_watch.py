import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parent / "watch.py"


def run(*commands: str) -> tuple[int, list[str]]:
    done = subprocess.run([sys.executable, PROGRAM, *commands], capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def test_a_hundred_pipes_at_once() -> None:
    commands = [f"echo {number}; echo again {number}" for number in range(100)]
    status, lines = run(*commands)
    assert status == 0
    assert sorted(lines) == sorted(
        line for n, command in enumerate(commands) for line in (f"{command}: {n}", f"{command}: again {n}")
    )


def test_lines_come_as_they_are_said(tmp_path: Path) -> None:
    """One waits for the other: that both end shows that both are heard."""
    flag = tmp_path / "flag"
    status, lines = run(f"echo a; until [ -e {flag} ]; do :; done; echo c", f"echo b; touch {flag}")
    assert (status, sorted(line[-1] for line in lines)) == (0, ["a", "b", "c"])


def test_the_worst_status_is_its_own() -> None:
    assert run("exit 3", "true", "printf half") == (3, ["printf half: half"])
