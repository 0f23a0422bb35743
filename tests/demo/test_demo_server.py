# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What the demo's server gives away, takes and refuses, asked without a browser."""

import json
import os
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from hf_dynamicvit.demo.input import FOLDER
from hf_dynamicvit.demo.limits import STALE


@pytest.fixture
def client(served):
    with httpx.Client(base_url=served.address, timeout=60, trust_env=False) as client:
        yield client


def sent(client, content: bytes, name: str = "a.jpg") -> httpx.Response:
    return client.post("gradio_api/upload", files={"files": (name, content)})


def test_no_path_of_the_server_is_reachable(served, client):
    here = Path(__file__).resolve()
    wanted = ["/etc/passwd", str(here), str(here.relative_to(Path.cwd())), "../../../etc/passwd", "%2Fetc%2Fpasswd"]
    wanted += [
        f"{served.checkpoint}/config.json",
        f"{served.demo.page.folder}/../../etc/passwd",
        f"{FOLDER}/daisy.jpg",
    ]
    for path in wanted:
        for route in ("gradio_api/file=", "file=", "gradio_api/file/"):
            assert client.get(f"{route}{path}").status_code in (403, 404), (route, path)


def test_nothing_else_is_offered(served, client):
    for route in ("monitoring", "gradio_api/deep_link", "gradio_api/proxy=http://example.com", "docs", "openapi.json"):
        assert client.get(route).status_code in (401, 403, 404), route
    for route in ("gradio_api/run/predict", "gradio_api/call/look", "gradio_api/process_recording", "login", ""):
        assert client.post(route, json={"data": []}).status_code == 405, route
    assert client.put("gradio_api/upload", content=b"").status_code == 405
    info = client.get("gradio_api/info").json()
    assert info["named_endpoints"] == {} and info["unnamed_endpoints"] == {}
    for text in (client.get("config").text, client.get("").text):
        for secret in (served.checkpoint, str(served.demo.page.folder), str(Path.cwd()), str(Path.home())):
            assert secret not in text


def test_headers_keep_the_browser_here(client):
    headers = client.get("").headers
    assert headers["content-security-policy"].startswith("default-src 'self' ")
    assert "http" not in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"


def on_disk(served) -> list[Path]:
    return [file for file in served.demo.page.folder.rglob("*") if file.is_file()]


def test_too_large_uploads_are_broken_off(served, client):
    with suppress(httpx.TransportError):  # the server need not listen to the end
        assert sent(client, bytes(11 * 1024 * 1024)).status_code == 413
    assert on_disk(served) == []

    def unannounced():
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
        for _ in range(12):
            yield bytes(1024 * 1024)

    kind = {"content-type": "multipart/form-data; boundary=x"}
    with suppress(httpx.TransportError):
        assert client.post("gradio_api/upload", content=unannounced(), headers=kind).status_code == 413
    assert sum(file.stat().st_size for file in on_disk(served)) <= 10 * 1024 * 1024 + 64 * 1024
    for file in on_disk(served):
        file.unlink()


def test_few_uploads_lie_on_the_disk(served, client):
    statuses = [sent(client, b"%d" % index).status_code for index in range(served.demo.page.limits.uploads + 1)]
    assert statuses == [200] * served.demo.page.limits.uploads + [503]
    for file in on_disk(served):
        os.utime(file, (time.time() - STALE - 1,) * 2)
    assert sent(client, b"now there is room").status_code == 200
    (left,) = on_disk(served)
    assert left.read_bytes() == b"now there is room"
    left.unlink()


def join(client, path: str) -> httpx.Response:
    """Have the file or address `path` read, as the page has an uploaded one read."""
    dependencies = client.get("config").json()["dependencies"]
    upload = next(entry for entry in dependencies if any(target[1] == "upload" for target in entry["targets"]))
    file = {"path": path, "meta": {"_type": "gradio.FileData"}, "orig_name": "a.jpg"}
    data = [file, "sparse", "as trained", 0.7, False, "tome", 0.7]
    body = {"fn_index": upload["id"], "session_hash": "stranger", "data": data}
    return client.post("gradio_api/queue/join", json=body)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "http://127.0.0.1:1/a.jpg",
        "https://example.com/a.jpg",
        "a.jpg",
        "{folder}",
        "{folder}/a.jpg",
        "{folder}/a/../../a.jpg",
        "{folder}/a/b/../a.jpg",
    ],
)
def test_only_uploads_are_read(served, client, path):
    answer = join(client, path.format(folder=served.demo.page.folder))
    assert (answer.status_code, answer.text) == (403, "Only pictures that were uploaded are read.")


def test_uploaded_picture_is_read_and_deleted(served, client):
    path = sent(client, (FOLDER / "daisy.jpg").read_bytes()).json()[0]
    assert Path(path).is_file()
    assert join(client, path).status_code == 200
    with client.stream("GET", "gradio_api/queue/data", params={"session_hash": "stranger"}) as events:
        for line in events.iter_lines():
            event = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
            if event.get("msg") == "process_completed":
                assert event["success"] and "patches and says" in event["output"]["data"][2]
                break
    assert on_disk(served) == []


def test_long_requests_are_refused(client):
    assert client.post("gradio_api/queue/join", json={"data": ["x" * 100_000]}).status_code == 413
