# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Python programs in processes of their own.

`run_program` and `launch` fork them off a process that has imported torch and Transformers, but nothing of ours, so
that they begin within milliseconds and import `hf_dynamicvit` anew. A test of the import itself, or of what a user
types, starts a new interpreter.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from subprocess import CompletedProcess

from paths import SUPPORT


def environment(**changes: str) -> dict[str, str]:
    """Return the environment of the tests with `changes`, in which programs can import what tests share."""
    path = os.pathsep.join(filter(None, (str(SUPPORT), os.environ.get("PYTHONPATH"))))
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | changes


@dataclass(frozen=True)
class Program:
    """What is to run: the `code`, its `arguments`, its working folder and its environment."""

    code: str
    arguments: list[str]
    folder: Path
    environment: dict[str, str] = field(default_factory=environment)
    file: Path | None = None

    def request(self, output: Path, timeout: float) -> dict:
        file = "-c" if self.file is None else str(self.file)
        return {
            "code": self.code,
            "file": file,
            "path": "" if self.file is None else str(self.file.parent),
            "arguments": [file, *self.arguments],
            "folder": str(self.folder),
            "environment": self.environment,
            "stdout": str(output / "stdout"),
            "stderr": str(output / "stderr"),
            "timeout": timeout,
        }


class ForkServer:
    """The process that `fork_server.py` is, in an environment of which some settings are read at imports."""

    def __init__(self, environment: dict[str, str]) -> None:
        command = [sys.executable, str(SUPPORT / "fork_server.py")]
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env=environment, **streams)

    def run(self, programs: list[Program], timeout: float = 240) -> list[CompletedProcess]:
        """Run `programs` beside each other to their ends."""
        with tempfile.TemporaryDirectory() as folder:
            outputs = [Path(folder) / str(number) for number in range(len(programs))]
            for output in outputs:
                output.mkdir()
            requests = [program.request(output, timeout) for program, output in zip(programs, outputs, strict=True)]
            statuses = self.answer(requests)
            return [
                CompletedProcess(
                    request["arguments"], status, (output / "stdout").read_text(), (output / "stderr").read_text()
                )
                for request, status, output in zip(requests, statuses, outputs, strict=True)
            ]

    def answer(self, requests: list[dict]) -> list[int]:
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None and stdout is not None
        print(json.dumps(requests), file=stdin, flush=True)
        statuses = json.loads(stdout.readline())
        for request, status in zip(requests, statuses, strict=True):
            if status == -signal.SIGALRM:
                raise TimeoutError(f"{request['arguments']} took more than {request['timeout']} seconds")
        return statuses

    def stop(self) -> None:
        """End it, which waits for nothing but its input."""
        self.process.communicate()


@cache
def server() -> ForkServer:
    """Start the process to fork from, once for all tests of this process; it ends as its input does.

    Code that travels with checkpoints is kept in the working folder of each program.
    """
    return ForkServer(environment(HF_MODULES_CACHE="modules"))


def run_program(code: str, *arguments: str, folder: Path, timeout: float = 240, **changes: str) -> CompletedProcess:
    """Run `code` as `python -c` would in `folder`, with `changes` of the environment."""
    (done,) = server().run([Program(code, [*arguments], folder, environment(**changes))], timeout)
    return done


def run_script(file: Path, *arguments: str, folder: Path, timeout: float = 240) -> CompletedProcess:
    """Run `file` as `python FILE` would in `folder`."""
    (done,) = server().run([Program(file.read_text(encoding="utf-8"), [*arguments], folder, file=file)], timeout)
    return done


@contextmanager
def running(*command: str, folder: Path, **changes: str) -> Generator["Running"]:
    """Run `python -m hf_dynamicvit` with the words of `command` beside the tests until `Running.stop` ends it."""
    with ThreadPoolExecutor(1) as pool:
        process = folder / "process"
        ended = pool.submit(run_program, RUN_COMMAND, str(process), *command, folder=folder, **changes)
        program = Running(ended, process)
        try:
            yield program
        finally:
            if not ended.done():  # the test has failed
                program.stop(signal.SIGKILL)


# The command line of this package, which says first of all which process it is.
RUN_COMMAND = """
import os, sys
from pathlib import Path
Path(sys.argv.pop(1)).write_text(str(os.getpid()))
from hf_dynamicvit.commands.cli import main
sys.exit(main())
"""


@dataclass(frozen=True)
class Running:
    """A program that is running: how it `ended`, and the file that says which `process` it is."""

    ended: Future
    process: Path

    def stop(self, number: int) -> CompletedProcess:
        """Send it the signal `number` and wait for its end."""
        os.kill(int(self.process.read_text()), number)
        return self.ended.result()


def free_port() -> int:
    """Return a port of this machine at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def launch(
    code: str, *arguments: str, folder: Path, processes: int = 2, timeout: float = 240
) -> list[CompletedProcess]:
    """Run `code` in `processes` processes that find each other as those of `torchrun` do."""
    folder.mkdir(parents=True, exist_ok=True)
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]
    size = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    found = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    programs = [Program(code, [*arguments], folder, environment(**rank, **size, **found)) for rank in ranks]
    ended = server().run(programs, timeout)
    for done in ended:
        assert done.returncode == 0, done.stderr[-3000:]
    return ended
