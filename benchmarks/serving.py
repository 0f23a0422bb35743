# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""A server under load on loopback: requests a second and their times, dense and reduced, and among bad requests.

    python benchmarks/serving.py --model facebook/deit-tiny-patch16-224 --output benchmarks/serving.json

The reduced model has the same weights, with `--reducer` at `--budget` of the multiply-adds. Each is served by
`hf-dynamicvit serve` in a process of its own, and the two take turns. `--clients` send one photograph after the other,
each with a connection that stays, for `--seconds`. In a last turn bad clients ask the dense server beside them: files
that are cut off, bodies that are too large, and bodies that arrive a byte at a time. Where others use the machine
too, the processor time that a server takes for a request says more than the clock.
"""

import argparse
import contextlib
import http.client
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_dynamicvit import reduce_tokens
from hf_dynamicvit.checkpoints.checkpoint import read_checkpoint
from hf_dynamicvit.demo.input import PHOTOGRAPHS
from hf_dynamicvit.machine import describe_run


HEADERS = {"content-type": "image/jpeg"}
PATIENCE = 3


@dataclass(frozen=True)
class Served:
    """Where a server is ready, and its process."""

    host: str
    port: int
    process: int

    def connect(self) -> contextlib.closing[http.client.HTTPConnection]:
        return contextlib.closing(http.client.HTTPConnection(self.host, self.port, timeout=120))

    def cpu_seconds(self) -> float:
        """The processor time that it has taken so far, of Linux."""
        fields = Path(f"/proc/{self.process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def serving(model: str, args: argparse.Namespace) -> Iterator[Served]:
    """Serve a model."""
    words = ["serve", "--model", model, "--port", "0", "--threads", str(args.threads), "--patience", str(PATIENCE)]
    words += ["--batch-size", str(args.batch_size), "--window", str(args.window)]
    command = [sys.executable, "-m", "hf_dynamicvit", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as program:
        reader = threading.Thread(target=lambda: [*program.stderr])  # a full pipe would stop the server
        try:
            told = itertools.takewhile(bool, iter(program.stderr.readline, ""))
            found = next(filter(None, (re.search(r"http://([\d.]+):(\d+)", line) for line in told)))
            reader.start()
            served = Served(found[1], int(found[2]), program.pid)
            with served.connect() as connection:
                connection.request("GET", "/health")  # it is answered when the model is there
                assert connection.getresponse().status == 200
            yield served
        finally:
            program.terminate()
            if reader.ident is not None:
                reader.join()


def ask(connection: http.client.HTTPConnection, body: bytes) -> int:
    """Post an image; the status of the answer."""
    connection.request("POST", "/predict", body, HEADERS)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def send_good(served: Served, end: float, seconds: list[float], statuses: Counter[str]) -> None:
    photographs = itertools.cycle([file.read_bytes() for file in sorted(PHOTOGRAPHS.glob("*.jpg"))])
    with served.connect() as connection:
        while time.monotonic() < end:
            start = time.monotonic()
            status = ask(connection, next(photographs))
            statuses[str(status)] += 1
            if status == 200:
                seconds.append(time.monotonic() - start)


def send_bad(served: Served, end: float, send: Callable[[Any], int | str], statuses: Counter[str]) -> None:
    while time.monotonic() < end:
        with served.connect() as connection:
            try:
                statuses[str(send(connection))] += 1
            except OSError as error:  # the server closed the connection on what it had refused
                statuses[type(error).__name__] += 1


def send_broken(connection: http.client.HTTPConnection) -> int:
    return ask(connection, next(iter(PHOTOGRAPHS.glob("*.jpg"))).read_bytes()[:2000])


def send_huge(connection: http.client.HTTPConnection) -> int:
    return ask(connection, bytes(12 * 1024 * 1024))


def send_slowly(connection: http.client.HTTPConnection) -> int:
    """Announce an image and send a byte of it every tenth of a second until the server has enough."""
    connection.putrequest("POST", "/predict")
    for name, value in (HEADERS | {"content-length": "100000"}).items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.sock.settimeout(PATIENCE + 30)
    for _ in range(int(10 * PATIENCE) - 2):
        connection.send(b"x")
        time.sleep(0.1)
    return connection.getresponse().status


BAD = {"broken": send_broken, "huge": send_huge, "slow": send_slowly}


def load(served: Served, args: argparse.Namespace, bad: bool = False) -> dict[str, Any]:
    """Ask a server for `args.seconds`; requests a second and times in milliseconds of the good ones."""
    seconds: list[float] = []
    statuses: dict[str, Counter[str]] = {name: Counter() for name in ("good", *(BAD if bad else ()))}
    start, before = time.monotonic(), served.cpu_seconds()
    end = start + args.seconds
    good = [(send_good, (served, end, seconds, statuses["good"]))] * args.clients
    others = [(send_bad, (served, end, BAD[name], statuses[name])) for name in statuses if name != "good"]
    threads = [threading.Thread(target=target, args=given) for target, given in good + others]
    for thread in threads:
        thread.start()
    for thread in threads[: args.clients]:
        thread.join()
    took, cpu = time.monotonic() - start, served.cpu_seconds() - before
    for thread in threads:
        thread.join()
    at = statistics.quantiles(seconds, n=100)
    times = {f"p{each}_ms": round(1000 * at[each - 1], 1) for each in (50, 90, 99)}
    rate = {
        "requests_per_second": round(len(seconds) / took, 2),
        "cpu_ms_per_request": round(1000 * cpu / len(seconds), 2),
    }
    return {**rate, **times, "statuses": statuses}


def reduce(args: argparse.Namespace, folder: Path) -> None:
    """Save the model with its tokens reduced."""
    checkpoint = read_checkpoint(args.model)
    model = checkpoint.load()
    reduce_tokens(model, args.reducer)
    model.set_budget(fraction=args.budget)
    model.save_pretrained(folder)
    checkpoint.processor.save_pretrained(folder)


def median(runs: list[dict[str, Any]]) -> dict[str, float]:
    names = ("requests_per_second", "cpu_ms_per_request", "p50_ms", "p90_ms", "p99_ms")
    return {name: round(statistics.median(run[name] for run in runs), 2) for name in names}


def measure(args: argparse.Namespace, reduced: Path) -> dict[str, Any]:
    """Load both servers in turns, then the dense one with bad clients beside the good ones."""
    runs: dict[str, list[dict[str, Any]]] = {"dense": [], "reduced": []}
    with serving(args.model, args) as dense, serving(str(reduced), args) as sparse:
        for _ in range(args.turns):
            for name, served in (("dense", dense), ("reduced", sparse)):
                runs[name].append(load(served, args))
        among_bad = load(dense, args, bad=True)
    found = {name: median(each) for name, each in runs.items()}
    ratios = [b["requests_per_second"] / a["requests_per_second"] for a, b in zip(*runs.values(), strict=True)]
    settings = {name: value for name, value in vars(args).items() if name != "output"} | {
        "model": Path(args.model).name
    }
    return {
        **describe_run(),
        "settings": settings,
        **found,
        "reduced_over_dense": round(statistics.median(ratios), 3),
        "dense_among_bad": among_bad,
        "turns": runs,
    }


def table(found: dict[str, Any]) -> str:
    """The medians as a table of Markdown."""
    rows = [
        "| server | requests a second | processor ms a request | p50 ms | p90 ms | p99 ms |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    names = ("requests_per_second", "cpu_ms_per_request", "p50_ms", "p90_ms", "p99_ms")
    titles = {"dense": "dense", "reduced": "reduced", "dense_among_bad": "dense, among bad requests"}
    for key, title in titles.items():
        rows.append(f"| {title} | {' | '.join(f'{found[key][name]:.4g}' for name in names)} |")
    return "\n".join(rows)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--reducer", default="evit")
    parser.add_argument("--budget", type=float, default=0.6)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--window", type=float, default=5)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        reduce(args, Path(folder))
        found = measure(args, Path(folder))
    text = json.dumps(found, indent=1)
    print(text)
    if args.output is not None:
        args.output.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
