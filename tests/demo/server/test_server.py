# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What the demo's server gives away, takes and refuses, asked without a browser."""

import json
import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from programs import running

from hf_dynamicvit.demo.input import PHOTOGRAPHS
from hf_dynamicvit.demo.server import guard
from hf_dynamicvit.demo.server.guard import NOTHING, ONE_IMAGE, ONLY_UPLOADS, TOO_MANY
from hf_dynamicvit.demo.server.limits import RateLimit
from hf_dynamicvit.demo.server.uploads import STALE


pytestmark = pytest.mark.slow

# values of the page's controls
SETTINGS = ["sparse", "as trained", 0.7, False, "tome", 0.7, "classify", "daisy, rose"]


@pytest.fixture
def client(served):
    with httpx.Client(base_url=served.address, timeout=60, trust_env=False) as client:
        yield client


def refusal(answer: httpx.Response) -> tuple[int, str]:
    plain = answer.headers["content-type"].startswith("text/plain")
    return answer.status_code, answer.text if plain else answer.json()["detail"]


def sent(client, content: bytes, name: str = "a.jpg") -> httpx.Response:
    return client.post("gradio_api/upload", files={"files": (name, content)})


def test_no_path_of_the_server_is_reachable(served, client):
    here = Path(__file__).resolve()
    wanted = ["/etc/passwd", str(here), str(here.relative_to(Path.cwd())), "../../../etc/passwd", "%2Fetc%2Fpasswd"]
    wanted += [
        f"{served.checkpoint}/config.json",
        f"{served.demo.page.uploads.folder}/../../etc/passwd",
        f"{PHOTOGRAPHS}/daisy.jpg",
    ]
    for path in wanted:
        for route in ("gradio_api/file=", "file=", "gradio_api/file/"):
            assert client.get(f"{route}{path}").status_code in (403, 404), (route, path)


def test_nothing_else_is_offered(served, client):
    elsewhere = [f"{kind}http://example.com/x.png" for kind in ("file=", "file/", "proxy=", "stream/")]
    elsewhere = [f"{api}{route}" for route in elsewhere for api in ("gradio_api/", "")]
    for route in ("monitoring", "gradio_api/deep_link", "docs", "openapi.json", "gradio_api/heartbeat/" + "x" * 65):
        elsewhere.append(route)
    for route in elsewhere:
        assert refusal(client.get(route)) == (404, NOTHING), route  # by the guard, not after Gradio has tried
    assert refusal(client.get("gradio_api/queue/data", params={"session_hash": "x" * 65})) == (404, NOTHING)
    for route in ("gradio_api/run/predict", "gradio_api/call/look", "gradio_api/process_recording", "login", ""):
        assert client.post(route, json={"data": []}).status_code == 405, route
    assert client.put("gradio_api/upload", content=b"").status_code == 405
    info = client.get("gradio_api/info").json()
    assert info["named_endpoints"] == {} and info["unnamed_endpoints"] == {}
    for text in (client.get("config").text, client.get("").text):
        for secret in (served.checkpoint, str(served.demo.page.uploads.folder), str(Path.cwd()), str(Path.home())):
            assert secret not in text


def test_headers_keep_the_browser_here(client):
    headers = client.get("").headers
    assert headers["content-security-policy"].startswith("default-src 'self' ")
    assert "http" not in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"


def on_disk(served) -> list[Path]:
    return [file for file in served.demo.page.uploads.folder.rglob("*") if file.is_file()]


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
    assert on_disk(served) == []


def test_few_uploads_lie_on_the_disk(served, client):
    """Of more the oldest goes, and of those that nobody reads all."""
    most, known = served.demo.page.limits.uploads, served.demo.blocks.upload_file_set
    paths = []
    for index in range(most + 2):
        answer = sent(client, b"%d" % index)
        assert answer.status_code == 200
        paths += answer.json()
        os.utime(paths[-1], (time.time() - STALE / 2 + index,) * 2)
    assert sorted(map(str, on_disk(served))) == sorted(paths[2:]) == sorted(known)
    for file in on_disk(served):
        os.utime(file, (time.time() - STALE - 1,) * 2)
    assert sent(client, b"now there is room").status_code == 200
    (left,) = on_disk(served)
    assert left.read_bytes() == b"now there is room" and known == {str(left)}
    served.demo.page.uploads.delete(left)


def test_one_request_brings_one_file(served, client):
    files = [("files", (f"{index}.jpg", b"%d" % index)) for index in range(30)]
    assert refusal(client.post("gradio_api/upload", files=files)) == (413, ONE_IMAGE)
    assert on_disk(served) == []


def half_uploads(address: str, number: int) -> list[socket.socket]:
    """Connections, each in the middle of an upload."""
    place, found = urlsplit(address), []
    head = (
        f"POST /gradio_api/upload HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: 900000\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        '--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\nsome of it'
    )
    for _ in range(number):
        connection = socket.create_connection((place.hostname, place.port), timeout=60)
        connection.sendall(head.encode())
        found.append(connection)
    return found


def soon(condition) -> None:
    """Wait until something is so."""
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("it never came about")


def test_uploads_under_way_are_few_and_leave_nothing(served, client):
    connections = half_uploads(served.address, 3)
    soon(lambda: refusal_of_upload(served, client) == (429, TOO_MANY))
    assert on_disk(served) == []
    for connection in connections:
        connection.close()
    soon(lambda: refusal_of_upload(served, client) is None)
    assert on_disk(served) == []


def refusal_of_upload(served, client) -> tuple[int, str] | None:
    """Why a small upload is refused; one that is not is deleted."""
    answer = sent(client, b"small")
    if answer.status_code != 200:
        return refusal(answer)
    served.demo.page.uploads.delete(Path(answer.json()[0]))
    return None


def test_slow_uploads_are_broken_off(served, monkeypatch):
    monkeypatch.setattr(guard, "PATIENCE", 0.1)
    (connection,) = half_uploads(served.address, 1)
    assert connection.recv(4096).startswith(b"HTTP/1.1 408 ")
    connection.close()
    assert on_disk(served) == []


def read(client, path: str) -> str:
    """The answer for an uploaded image."""
    assert join(client, path).status_code == 200
    with client.stream("GET", "gradio_api/queue/data", params={"session_hash": "stranger"}) as events:
        for line in events.iter_lines():
            event = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
            if event.get("msg") == "process_completed":
                assert event["success"], event
                return event["output"]["data"][3]
    raise AssertionError("no answer came")


def join(client, path: str) -> httpx.Response:
    """Have the file or address `path` read, as the page has an uploaded one read."""
    dependencies = client.get("config").json()["dependencies"]
    upload = next(entry for entry in dependencies if any(target[1] == "upload" for target in entry["targets"]))
    file = {"path": path, "meta": {"_type": "gradio.FileData"}, "orig_name": "a.jpg"}
    data = [file, *SETTINGS]
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
        "{folder}/a/\x00.jpg",
        "{folder}/a/" + "a" * 5000,
    ],
)
def test_only_uploads_are_read(served, client, path):
    answer = join(client, path.format(folder=served.demo.page.uploads.folder))
    assert refusal(answer) == (403, ONLY_UPLOADS)


@pytest.mark.parametrize("nested", [40, 900, 20_000])
def test_what_nests_deep_is_refused(client, nested):
    body = f'{{"data": {"[" * nested}{"]" * nested}, "fn_index": 1, "session_hash": "stranger"}}'
    assert refusal(client.post("gradio_api/queue/join", content=body)) == (403, ONLY_UPLOADS)


def test_the_name_of_a_window_is_short(client):
    body = {"data": [], "fn_index": 1, "session_hash": "x" * 65}
    assert refusal(client.post("gradio_api/queue/join", json=body)) == (403, NOTHING)


def test_few_requests_of_one_address_wait(served, client):
    """Whatever it calls itself; somebody else is still served."""
    body = {"data": SETTINGS, "fn_index": pick_index(client)}
    with served.demo.page.models._lock:  # one is being computed, all others wait
        answers = [client.post("gradio_api/queue/join", json=body | {"session_hash": f"s{n}"}) for n in range(8)]
        assert refusal(answers[-1]) == (429, TOO_MANY)
        assert 2 <= [answer.status_code for answer in answers].count(200) <= 5
        waiting = len(served.demo.queued())
        assert waiting <= 3
    soon(lambda: not served.demo.queued())


def pick_index(client) -> int:
    """The event of the first image's button."""
    config = client.get("config").json()
    (button,) = (entry["id"] for entry in config["components"] if entry["props"].get("elem_id") == "pick-0")
    return next(entry["id"] for entry in config["dependencies"] if [button, "click"] in entry["targets"])


def test_uploaded_image_is_read_and_deleted(served, client):
    path = sent(client, (PHOTOGRAPHS / "daisy.jpg").read_bytes()).json()[0]
    assert Path(path).is_file()
    assert "patches and says" in read(client, path)
    assert on_disk(served) == []
    assert served.demo.blocks.upload_file_set == set()


def test_requests_of_one_address_have_a_rate(served, client, monkeypatch):
    monkeypatch.setattr(RateLimit, "allows", lambda self, visitor: False)
    said = "That was more than 120 requests in a minute. Wait a little."
    assert refusal(join(client, "a.jpg")) == (429, said) == refusal(sent(client, b"small"))


def test_first_request_and_the_end(served, port, tmp_path):
    """An image that is sent the moment the page is there is answered, and SIGTERM leaves nothing behind."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    command = ["demo", "--model", served.checkpoint, "--port", str(port)]
    with running(*command, folder=tmp_path, TMPDIR=str(temporary)) as program:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, trust_env=False) as client:
            soon(lambda: answers(client))
            path = sent(client, (PHOTOGRAPHS / "daisy.jpg").read_bytes()).json()[0]
            assert "patches and says" in read(client, path)
        ours = [entry.name for entry in temporary.iterdir() if entry.name.startswith(("hf-dynamicvit", "gradio"))]
        assert len(ours) == 1 and ours[0].startswith("hf-dynamicvit-demo-")
        ended = program.stop(signal.SIGTERM)
    assert not (temporary / ours[0]).exists()
    said = ended.stderr + ended.stdout
    assert "Traceback" not in said and "Keyboard" not in said and said.endswith("The demo has ended.\n")


def answers(client) -> bool:
    with suppress(httpx.TransportError):
        return client.get("").status_code == 200
    return False


def test_long_requests_are_refused(client):
    assert client.post("gradio_api/queue/join", json={"data": ["x" * 100_000]}).status_code == 413
