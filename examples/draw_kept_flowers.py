# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The README's figure: four photographs and what a fine-tuned model keeps of them after each stage.

    python examples/draw_kept_flowers.py --model keep07 --data flowers224/test.parquet --output flowers_kept.jpg

`keep07` is the model of docs/recipes.md (DeiT-Tiny, keep ratio 0.7, 4 epochs on 5 flowers), `test.parquet` has columns
`image`, `label` and `attribution`. Prints who took the photographs, as their licence (CC-BY 2.0) asks for.

The rows were chosen by hand, one of each kind of answer: few flowers, one with a guest, many, and one whose dark
middle the model does without. They are dark, so what is dropped is drawn light.
"""

import argparse

from datasets import load_dataset

from hf_dynamicvit.look.drawing import captioned, contact_sheet, prediction_text, stage_images, stage_names
from hf_dynamicvit.look.viewer import Viewer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True, help="parquet file with image, label and attribution")
    parser.add_argument("--rows", type=int, nargs="+", default=[548, 187, 442, 332])
    parser.add_argument("--output", default="flowers_kept.jpg")
    args = parser.parse_args()
    data = load_dataset("parquet", data_files=args.data)["train"].select(args.rows)
    viewer = Viewer.load(args.model)
    rows = []
    for view in viewer.look(data["image"]):
        captions = [prediction_text(view, viewer.labels).rsplit("\n", 1)[0], *stage_names(view)]
        images = zip(stage_images(view, cover="light"), captions, strict=True)
        rows.append([captioned(image, caption) for image, caption in images])
    contact_sheet(rows).save(args.output, quality=85)
    print("\n".join(data["attribution"]))


if __name__ == "__main__":
    main()
