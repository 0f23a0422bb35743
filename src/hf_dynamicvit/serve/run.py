# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Run the server until it is told to stop; then what is under way is answered, and nothing new is taken."""

import signal
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import uvicorn

from .limits import Limits


# Connections beside those that are read and those that wait for the model, and seconds for them all to end.
MORE_CONNECTIONS, SECONDS_TO_END = 64, 30


def open_socket(host: str, port: int) -> socket.socket:
    """Open the socket on which the server listens; port 0 is any that is free.

    Raises:
        ValueError: the address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise ValueError(f"--host {host} --port {port} cannot be listened on: {error.strerror}.") from error


@contextmanager
def ending_in_peace() -> Generator[None]:
    """Let the signals that stop the server end nothing else: it raises them again when all is answered."""
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def serve(app: Any, listening: socket.socket, limits: Limits) -> None:
    """Serve `app` on the socket until SIGINT or SIGTERM."""
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=limits.reading + limits.waiting + MORE_CONNECTIONS,
        timeout_graceful_shutdown=SECONDS_TO_END,
    )
    print(f"Serving on http://{shown}:{port}: POST /predict, GET /health, /model, /metrics.", file=sys.stderr)
    with ending_in_peace():
        uvicorn.Server(config).run(sockets=[listening])
    print("Stopped.", file=sys.stderr)
