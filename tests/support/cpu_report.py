# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`pytest --cpu-report FILE`: write the CPU seconds of every test, child processes counted, and print the most.

Unlike the wall clock of `--durations`, they mean the same on a machine that is busy with something else.
"""

import json
import os
import time
from collections import defaultdict
from pathlib import Path

import pytest


TICKS = os.sysconf("SC_CLK_TCK")


def pytest_addoption(parser):
    parser.addoption("--cpu-report", metavar="FILE", help="write the CPU seconds of every test as JSON")


def pytest_configure(config):
    if config.getoption("--cpu-report"):
        config.pluginmanager.register(CPUReport(config), "cpu-report-of-session")


def cpu_seconds() -> float:
    """Sum the CPU time of this process, its reaped children and its living descendants."""
    times = {entry.name: process_times(entry) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    children = defaultdict(list)
    for process, (parent, _) in times.items():
        children[parent].append(process)
    total, waiting = 0.0, [str(os.getpid())]
    while waiting:
        process = waiting.pop()
        total += times[process][1]
        waiting += children[process]
    return total


def process_times(process: Path) -> tuple[str, float]:
    """Return the parent of a `process` of /proc and its CPU seconds, its reaped children counted."""
    try:
        fields = (process / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        return "", 0.0
    return fields[1], sum(map(int, fields[11:15])) / TICKS


def slowest(seconds: dict[str, float], count: int = 20) -> list[str]:
    """Return a line for each folder of tests, then one for each of the `count` tests that take the most `seconds`."""
    folders: dict[str, float] = defaultdict(float)
    for test, taken in seconds.items():
        folders["/".join(test.partition("::")[0].split("/")[:2])] += taken
    tests = dict(sorted(seconds.items(), key=lambda item: -item[1])[:count])
    return [f"{taken:7.1f} {name}" for part in (dict(sorted(folders.items())), tests) for name, taken in part.items()]


class CPUReport:
    """Collect the seconds of the three phases of each test, in this process or in those of pytest-xdist."""

    def __init__(self, config):
        self.file = config.getoption("--cpu-report")
        self.is_worker = hasattr(config, "workerinput")
        self.tests = defaultdict(dict)
        self.started = time.time()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item):
        return (yield from self.measured(item))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item):
        return (yield from self.measured(item))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item):
        return (yield from self.measured(item))

    def measured(self, item):
        before = cpu_seconds()
        try:
            return (yield)
        finally:
            # what ends without a parent that waits for it takes its seconds along
            item.stash[SECONDS] = max(0.0, cpu_seconds() - before)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item):
        report = yield
        report.cpu_seconds = round(item.stash.get(SECONDS, 0.0), 2)  # pytest-xdist carries it to the main process
        return report

    def pytest_runtest_logreport(self, report):
        self.tests[report.nodeid][report.when] = report.cpu_seconds
        if not self.is_worker:
            self.write()

    def write(self) -> None:
        total = sum(sum(phases.values()) for phases in self.tests.values())
        seconds = {"tests": round(total, 1), "wall": round(time.time() - self.started, 1)}
        Path(self.file).write_text(json.dumps({"seconds": seconds, "tests": self.tests}, indent=1))

    def pytest_sessionfinish(self):
        if self.is_worker:
            return
        own = os.times()
        print(f"\nCPU seconds, all processes: {sum(own[:4]):.1f}")
        for line in slowest({test: sum(phases.values()) for test, phases in self.tests.items()}):
            print(line)


SECONDS = pytest.StashKey[float]()
