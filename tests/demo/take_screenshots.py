# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The images of the demo in docs/images: `python tests/demo/take_screenshots.py CHECKPOINT ENCODER docs/images`.

CHECKPOINT is a model of flowers, as `examples/finetune_flowers.py` makes, ENCODER a DINOv2. Look at what comes out.
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from hf_dynamicvit.demo.page import build


MOST_BYTES = 250_000

# The controls follow the window; an image of the whole page has them all, at its top.
WHOLE = "#controls { position: static !important; max-height: none !important; }"


def shoot(page: Page, file: Path, height: int | None = None) -> None:
    """The whole page, or the upper part of that height, as a PNG of at most `MOST_BYTES`, as large as fits."""
    page.mouse.move(0, 0)
    page.add_style_tag(content=WHOLE)
    page.evaluate("scrollTo(0, 0)")
    page.evaluate("document.activeElement.blur()")
    page.wait_for_timeout(1000)  # colours fade in
    shot = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    shot = shot if height is None else shot.crop((0, 0, shot.width, height))
    for scale in (1.0, 0.9, 0.8, 0.7, 0.6, 0.5):
        size = round(shot.width * scale), round(shot.height * scale)
        small = shot.resize(size, Image.Resampling.LANCZOS)
        small.quantize(256, kmeans=2, dither=Image.Dither.NONE).save(file, optimize=True)
        if file.stat().st_size <= MOST_BYTES:
            break
    print(file, size, f"{file.stat().st_size:,} bytes")


def shoot_retrieval(page: Page, encoder: str, folder: Path) -> None:
    """The tab for encoders, when its answer is there."""
    page.goto(build([encoder]).launch(wait=False))
    expect(page.locator(".dv-found")).to_have_count(2)
    shoot(page, folder / "demo_retrieval.png", height=1070)


def main(checkpoint: str, encoder: str, folder: Path) -> None:
    address = build([checkpoint]).launch(wait=False)
    expect.set_options(timeout=60_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(address)
        expect(page.locator(".dv-summary")).to_have_count(1)  # it opens with an answer
        shoot(page, folder / "demo_desktop.png")
        page.get_by_label("Compare with another method").check()
        expect(page.locator(".dv-summary")).to_have_count(2)
        shoot(page, folder / "demo_compare.png")
        phone = browser.new_page(viewport={"width": 390, "height": 844})
        phone.goto(address)
        expect(phone.locator(".dv-summary")).to_have_count(1)
        shoot(phone, folder / "demo_phone.png")
        shoot_retrieval(browser.new_page(viewport={"width": 1280, "height": 900}), encoder, folder)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
