# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The server over loopback: its answers are the model's, and broken, huge, slow and too many requests are refused."""

import asyncio
import http.client
import io
import json
import re
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import httpx
import pytest
import uvicorn
from PIL import Image
from programs import free_port, running
from toys import toy_model
from viewers import make_images, processor_of

from hf_dynamicvit.commands.cli import main
from hf_dynamicvit.prediction import Classifier
from hf_dynamicvit.serve import bodies
from hf_dynamicvit.serve.app import build_app
from hf_dynamicvit.serve.batching import Batcher, Full
from hf_dynamicvit.serve.limits import Limits


LIMITS = Limits(megabytes=1, pixels=10_000, images=4, reading=8, waiting=16, patience=0.5)


def wait_until(condition, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@contextmanager
def serving(classifier, limits=LIMITS, **options):
    """A server on a free port of loopback, in a thread; its address, port and application."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        app = build_app(classifier, limits, **options)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        port = listening.getsockname()[1]
        found = SimpleNamespace(url=f"http://127.0.0.1:{port}", port=port)
        try:
            wait_until(lambda: server.started)
            yield found
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def classifier():
    return Classifier(toy_model(), processor_of())


@pytest.fixture(scope="module")
def server(classifier):
    with serving(classifier) as found:
        yield found


def png(size=(40, 30), seed=0) -> bytes:
    file = io.BytesIO()
    make_images(size, seed=seed)[0].save(file, "PNG")
    return file.getvalue()


def post(server, content: bytes, kind="image/png", **query) -> httpx.Response:
    return httpx.post(
        f"{server.url}/predict", content=content, headers={"content-type": kind}, params=query, trust_env=False
    )


def post_form(server, *contents: bytes) -> httpx.Response:
    files = [("images", (f"{place}.png", content)) for place, content in enumerate(contents)]
    return httpx.post(f"{server.url}/predict", files=files, trust_env=False)


def get(server, path: str) -> httpx.Response:
    return httpx.get(f"{server.url}/{path}", trust_env=False)


def expected(classifier, content: bytes) -> list:
    (classes,) = classifier.classify([classifier.prepare(Image.open(io.BytesIO(content)))], 5)
    return classes


def assert_classes(found: list[dict], classes: list) -> None:
    assert [each["label"] for each in found] == [named.label for named in classes]
    assert [each["probability"] for each in found] == pytest.approx([named.probability for named in classes], abs=1e-5)


def test_answers_are_those_of_the_model(server, classifier):
    (alone,) = post(server, png()).json()["images"]
    assert_classes(alone["classes"], expected(classifier, png()))
    contents = [png(seed=seed) for seed in range(3)]
    answer = post_form(server, *contents).json()
    for place, (image, content) in enumerate(zip(answer["images"], contents, strict=True)):
        assert image["name"] == f"{place}.png"
        assert_classes(image["classes"], expected(classifier, content))
    (few,) = post(server, png(), top_k=2).json()["images"]
    assert_classes(few["classes"], expected(classifier, png())[:2])


def test_a_broken_image_is_named_beside_the_others(server, classifier):
    answer = post_form(server, png(), png()[:100])
    assert answer.status_code == 200
    good, broken = answer.json()["images"]
    assert_classes(good["classes"], expected(classifier, png()))
    assert broken == {"name": "1.png", "error": "1.png cannot be read: " + broken["error"].partition(": ")[2]}
    assert "cut off, damaged" in broken["error"]


@pytest.mark.parametrize(
    ("content", "kind", "status", "reason"),
    [
        (b"no image at all", "image/png", 422, "it is no image that can be read; it can be JPEG, PNG"),
        (png()[:200], "image/png", 422, "it is cut off, damaged"),
        (png((200, 100)), "image/png", 422, "it has 200 x 100 pixels; at most 10000 in all"),
        (png((129, 2)), "image/png", 422, "it has 129 x 2 pixels; one edge may be 64 times the other"),
        (png((2, 129), seed=1), "image/png", 422, "it has 2 x 129 pixels; one edge may be 64 times the other"),
        (b"", "image/png", 400, "There is no image"),
        (b"a=b", "application/x-www-form-urlencoded", 415, "The content type is application/x-www-form-urlencoded"),
        (b"{}", "application/json", 415, "The content type is application/json"),
        (b"--x", "multipart/form-data", 400, "The form cannot be read"),
        (b"nonsense", "multipart/form-data; boundary=x", 400, "The form cannot be read"),
        (b"0" * (1024 * 1024 + 1), "image/png", 413, "The request is too large: at most 1 MB."),
    ],
    ids=lambda value: value[:12].decode("latin-1") if isinstance(value, bytes) else None,
)
def test_refusals_say_why(content, kind, status, reason, server):
    answer = post(server, content, kind)
    assert answer.status_code == status and reason in answer.json()["detail"]


def test_other_refusals(server):
    assert post_form(server, *[png()] * 5).status_code == 400
    assert post(server, png(), top_k="0").status_code == 422 and post(server, png(), top_k="many").status_code == 422
    assert get(server, "predict").status_code == 405 and get(server, "docs").status_code == 404
    deep = io.BytesIO()
    Image.new("I;16", (20, 20)).save(deep, "PNG")
    assert "more than 8 bits a channel" in post(server, deep.getvalue()).json()["detail"]


def test_a_size_that_was_not_announced_is_refused_too(server):
    def parts():
        for _ in range(40):
            yield b"0" * 65536

    answer = httpx.post(
        f"{server.url}/predict", content=parts(), headers={"content-type": "image/png"}, trust_env=False
    )
    assert answer.status_code == 413


def test_a_slow_request_is_refused_and_others_are_not_kept_waiting(server):
    slow = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    slow.putrequest("POST", "/predict")
    slow.putheader("content-type", "image/png")
    slow.putheader("content-length", "1000")
    slow.endheaders(b"\x89PNG")
    start = time.monotonic()
    assert post(server, png()).status_code == 200 and time.monotonic() - start < LIMITS.patience
    answer = slow.getresponse()
    assert answer.status == 408 and "more than 0.5 seconds" in json.loads(answer.read())["detail"]
    slow.close()


def test_who_leaves_in_the_middle_is_counted_and_forgotten(server):
    gone = socket.create_connection(("127.0.0.1", server.port))
    gone.sendall(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: 99\r\n\r\nabc")
    gone.close()
    for _ in range(50):
        if 'requests_total{status="499"} 1' in get(server, "metrics").text:
            break
        time.sleep(0.02)
    assert 'requests_total{status="499"} 1' in get(server, "metrics").text
    assert get(server, "health").json()["reading"] == 0


def test_health_model_and_openapi(server):
    assert get(server, "health").json()["status"] == "ok"
    model = get(server, "model").json()
    assert model["reducer"] == "dynamicvit" and model["labels"] == [f"LABEL_{index}" for index in range(5)]
    schema = get(server, "openapi.json").json()
    assert "multipart/form-data" in schema["paths"]["/predict"]["post"]["requestBody"]["content"]


def test_the_folder_of_a_model_is_not_told(classifier, tmp_path):
    (tmp_path / "flowers").mkdir()
    for place, told in ((str(tmp_path / "flowers"), "flowers"), ("someone/flowers", "someone/flowers")):
        model = toy_model()
        model.config.name_or_path = place
        with serving(Classifier(model, processor_of())) as server:
            assert get(server, "model").json()["model"] == told


class Slow:
    """A classifier that waits for a sign."""

    def __init__(self, classifier):
        self.go, self.classifier = threading.Event(), classifier
        self.mode, self.labels, self.prepare = classifier.mode, classifier.labels, classifier.prepare
        self.config, self.sizes = classifier.config, []
        self.go.set()

    def classify(self, inputs, top_k):
        assert self.go.wait(10)
        self.sizes.append(len(inputs))
        return self.classifier.classify(inputs, top_k)


def test_requests_that_come_together_are_one_batch_and_too_many_are_refused(classifier):
    slow = Slow(classifier)
    limits = Limits(images=4, waiting=4)
    with serving(slow, limits, batch_size=4, window=0) as server, ThreadPoolExecutor(8) as pool:
        slow.go.clear()
        first = pool.submit(post, server, png())
        time.sleep(0.2)  # the model has it, and nothing waits
        assert slow.sizes == [1]  # of the warm-up
        waiting = [pool.submit(post, server, png(seed=seed)) for seed in range(3)]
        wait_until(lambda: get(server, "health").json()["waiting"] == 3)
        refused = post_form(server, png(), png())
        assert refused.status_code == 503 and refused.headers["retry-after"] == "1"
        waiting.append(pool.submit(post, server, png(seed=3)))
        wait_until(lambda: get(server, "health").json()["waiting"] == 4)
        slow.go.set()
        assert first.result().status_code == 200
        for seed, each in enumerate(waiting):
            assert_classes(each.result().json()["images"][0]["classes"], expected(classifier, png(seed=seed)))
        assert slow.sizes == [1, 1, 4]
        text = get(server, "metrics").text
    assert 'hf_dynamicvit_requests_total{status="200"} 5' in text
    assert 'hf_dynamicvit_requests_total{status="503"} 1' in text
    assert 'hf_dynamicvit_images_total{result="classified"} 5' in text
    assert 'hf_dynamicvit_batch_images_bucket{le="2"} 1' in text
    assert "hf_dynamicvit_batch_images_sum 5.0" in text and "hf_dynamicvit_batch_images_count 2" in text
    for line in text.splitlines():
        assert re.fullmatch(r'# (HELP|TYPE) \w+ .+|\w+(\{\w+="[^"]+"\})? [\d.]+', line), line


def test_only_so_many_requests_are_read_at_a_time(classifier, monkeypatch):
    monkeypatch.setattr(bodies, "DRAINED", 0.1)
    limits = Limits(reading=1, patience=10)
    with serving(classifier, limits) as server:
        slow = socket.create_connection(("127.0.0.1", server.port))
        slow.sendall(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: 99\r\n\r\nabc")
        wait_until(lambda: get(server, "health").json()["reading"] == 1)
        assert post(server, png()).status_code == 503
        slow.close()
        wait_until(lambda: get(server, "health").json()["reading"] == 0)
        assert post(server, png()).status_code == 200


def test_a_model_that_fails_is_an_error_of_that_batch_alone(classifier):
    class Failing(Slow):
        def classify(self, inputs, top_k):
            if self.sizes == [1]:  # after the warm-up
                self.sizes.append(0)
                raise FloatingPointError("the logits are not finite")
            return super().classify(inputs, top_k)

    with serving(Failing(classifier)) as server:
        assert post(server, png()).status_code == 500
        assert post(server, png()).status_code == 200
        assert 'requests_total{status="500"} 1' in get(server, "metrics").text


def test_a_batcher_alone():
    async def run() -> None:
        seen = []
        batcher = Batcher(lambda inputs: seen.append(inputs) or [2 * each for each in inputs], 3, 0.05, 5)
        batcher.start()
        found = await asyncio.gather(batcher.put([1]), batcher.put([2, 3]), batcher.put([4]))
        assert found == [[2], [4, 6], [8]] and seen == [[1, 2, 3], [4]]
        with pytest.raises(Full):
            await batcher.put([0] * 6)
        left = asyncio.create_task(batcher.put([7]))
        await asyncio.sleep(0)
        left.cancel()
        assert await batcher.put([8]) == [16] and seen[-1] == [8]  # nobody waits for the other any more
        await batcher.stop()

    asyncio.run(run())


@pytest.fixture
def saved(tmp_path):
    toy_model().save_pretrained(tmp_path / "model")
    processor_of().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def answers(server) -> bool:
    with suppress(httpx.TransportError):
        return get(server, "health").status_code == 200
    time.sleep(0.1)
    return False


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_is_stopped_answers_what_is_under_way(saved, number):
    port = free_port()
    server = SimpleNamespace(url=f"http://127.0.0.1:{port}")
    command = ["serve", "--model", str(saved), "--port", str(port), "--window", "800"]
    with running(*command, folder=saved.parent) as program:
        wait_until(lambda: answers(server), seconds=60)
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(post, server, png())
            time.sleep(0.3)  # it waits for others of its batch
            ended = program.stop(number)
            assert answer.result().status_code == 200
        lines = ended.stderr.splitlines()
        assert ended.returncode == 0 and server.url in lines[0] and lines[-1] == "Stopped."


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--port", "70000"], "--port is 70000; it must be 0 or more and at most 65535"),
        (["--window", "-1"], "--window is -1; it must be 0 or more"),
        (["--patience", "0"], "--patience is 0; it must be above 0"),
        (["--images-a-request", "200"], "--images-a-request is 200; at most 128, the images that wait (--waiting)"),
        (["--device", "tpu"], "device is 'tpu'; this machine has"),
        (["--host", "192.0.2.1"], "--host 192.0.2.1 --port 0 cannot be listened on"),
    ],
)
def test_refusals_of_the_command(given, message, saved, capsys):
    assert main(["serve", "--model", str(saved), *([] if "--port" in given else ["--port", "0"]), *given]) == 1
    assert message in capsys.readouterr().err


def test_a_missing_package_is_named(saved, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["serve", "--model", str(saved)]) == 1
    assert 'The server takes uvicorn: pip install "hf-dynamicvit[serve]"' in capsys.readouterr().err
