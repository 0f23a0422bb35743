# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""A data set of many classes and few images: emoji in two drawings, their Unicode subcategories as classes.

    npm pack emoji-datasource-google@16.0.0 emoji-datasource-twitter@16.0.0
    for name in google twitter; do
        mkdir $name; tar xzf emoji-datasource-$name-16.0.0.tgz -C $name --strip-components=1
    done
    python benchmarks/emoji_folder.py google twitter --output emoji

87 classes, 2,306 images to train on and 774 to test on, 64 pixels on white; both drawings of an emoji are in the same
split. Noto Emoji is Apache-2.0, Twemoji CC-BY 4.0.
"""

import argparse
import json
import random
from collections import defaultdict
from pathlib import Path

from PIL import Image


# Subcategories of fewer emoji are left out, of more are cut; flags tell nothing of their category.
LEAST, MOST = 6, 45
LEFT_OUT = ("country-flag", "subdivision-flag")


def subcategories(package: Path) -> dict[str, list[str]]:
    """Return the file names of the emoji of each subcategory, by name."""
    found = defaultdict(list)
    for emoji in json.loads((package / "emoji.json").read_text(encoding="utf-8")):
        if emoji["category"] != "Component" and emoji["subcategory"] not in LEFT_OUT:
            found[emoji["subcategory"]].append(emoji["image"])
    return {name: files for name, files in sorted(found.items()) if len(files) >= LEAST}


def on_white(path: Path) -> Image.Image:
    drawing = Image.open(path).convert("RGBA")
    background = Image.new("RGBA", drawing.size, "white")
    background.alpha_composite(drawing)
    return background.convert("RGB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "packages", nargs="+", type=Path, help="unpacked emoji-datasource-NAME, in folders called NAME"
    )
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    draw = random.Random(0)
    for name, files in subcategories(args.packages[0]).items():
        draw.shuffle(files)
        held_out = set(files[: max(2, round(0.25 * min(MOST, len(files))))])
        for file in files[:MOST]:
            folder = args.output / ("test" if file in held_out else "train") / name
            folder.mkdir(parents=True, exist_ok=True)
            for package in args.packages:
                drawn = package / "img" / package.name / "64" / file
                if drawn.exists():
                    on_white(drawn).save(folder / f"{package.name}-{file}")


if __name__ == "__main__":
    main()
