# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""A running demo of toy checkpoints, and a browser."""

import os
import shutil
from dataclasses import dataclass

import pytest
import torch
from PIL import Image
from programs import free_port
from toys import toy_dense, toy_model
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from hf_dynamicvit import DynamicViTForImageClassification
from hf_dynamicvit.checkpoints.source import read_processor
from hf_dynamicvit.demo.html import DRAWN
from hf_dynamicvit.look.drawing import chosen


# Milliseconds that a browser waits for anything; machines that run tests are busy.
PATIENCE = 60_000

LABELS = ["ant", "bee", "<i>cow</i>", "dog", "elk"]


@dataclass(frozen=True)
class Served:
    """A demo, where it is, and where the checkpoint is that it shows first."""

    demo: object
    address: str
    checkpoint: str

    def expected(self, image: Image.Image, keep_ratio: float | None = None, **changes) -> str:
        """What the page must say in its summary, by the model called directly."""
        model = DynamicViTForImageClassification.from_pretrained(self.checkpoint, **changes).eval()
        processor = read_processor(self.checkpoint)  # with torchvision, where it is installed, as the page
        pixels = processor(image, return_tensors="pt")["pixel_values"]
        if keep_ratio is not None:
            model.set_keep_ratio(keep_ratio, pixels)
        with torch.inference_mode():
            outputs = model(pixels)
        best = outputs.logits.softmax(-1)[0].max(dim=0)
        counts = outputs.kept[0].sum(dim=-1).tolist()
        counts = ", ".join(str(counts[stage]) for stage in chosen(len(counts), DRAWN))
        return f"sparse keeps {counts} of 64 patches and says {LABELS[best.indices]} ({best.values:.1%});"


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """`sparse/` and `dense/`, with five classes and image processors."""
    folder = tmp_path_factory.mktemp("checkpoints")
    names = {"id2label": dict(enumerate(LABELS)), "label2id": {name: index for index, name in enumerate(LABELS)}}
    for name, model in (("sparse", toy_model(keep_ratio=0.7, **names)), ("dense", toy_dense(**names))):
        model.save_pretrained(folder / name)
        ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder / name)
    return folder


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def served(checkpoints):
    """The demo of both checkpoints, running."""
    from hf_dynamicvit.demo.page import build

    before = os.environ.get("GRADIO_TEMP_DIR")
    demo = build([str(checkpoints / "sparse"), str(checkpoints / "dense")])
    address = demo.launch(port=free_port(), wait=False)
    yield Served(demo, address, str(checkpoints / "sparse"))
    demo.blocks.close(verbose=False)
    shutil.rmtree(demo.page.uploads.folder)
    os.environ.pop("GRADIO_TEMP_DIR")
    if before is not None:
        os.environ["GRADIO_TEMP_DIR"] = before


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium")
    if chromium is None and "CI" not in os.environ:
        pytest.skip("the page is tested in Debian's chromium, which is not installed: apt-get install chromium")
    assert chromium is not None, "CI is set and there is no chromium: apt-get install chromium"
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, served):
    """Opens the demo in a window of its own, `open_page(width=390, height=844)`; no other host may be asked."""
    contexts, elsewhere = [], []

    def open_page(width=1280, height=900):
        context = browser.new_context(viewport={"width": width, "height": height})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        own = (served.address, "data:", "blob:")
        page.on("request", lambda request: None if request.url.startswith(own) else elsewhere.append(request.url))
        page.goto(served.address)
        page.get_by_role("button", name="Daisy").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert elsewhere == []
