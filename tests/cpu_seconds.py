"""What each test costs in seconds of processor time, its processes included: `pytest -p cpu_seconds`.

Wall time says little on a machine that others use too. At the end stand the dearest tests; with `--cpu-file FILE`
every test goes into FILE as a line of JSON. With `-n` each worker would count for itself: run it with `-n 0`.
"""

import json
from collections.abc import Generator
from pathlib import Path

import psutil
import pytest

SHOWN = 30
spent: dict[str, float] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cpu-file", type=Path, help="where to write what each test cost, as lines of JSON")


def so_far() -> float:
    """Seconds that this process, its children that are there and those that have ended have used in all."""
    me = psutil.Process()
    seconds = 0.0
    for process in [me, *me.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.Error:  # it has ended by now; whoever waits for it has its time
            continue
        seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """With what it had to set up and to tidy away."""
    before = so_far()
    result = yield
    spent[item.nodeid] = so_far() - before
    return result


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    dearest = sorted(spent.items(), key=lambda each: -each[1])
    terminalreporter.section(f"{sum(spent.values()):.0f} CPU seconds in {len(spent)} tests; the dearest")
    for name, seconds in dearest[:SHOWN]:
        terminalreporter.write_line(f"{seconds:7.1f}  {name}")
    if file := config.getoption("--cpu-file"):
        file.write_text("".join(json.dumps({"test": name, "cpu": round(s, 2)}) + "\n" for name, s in dearest))
