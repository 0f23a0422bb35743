# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Read images that strangers send: few formats, and a size that is known before a pixel is decoded."""

import io

from PIL import Image

from .transforms import check_edges, read_image


# What is read, by the names that Pillow and people use. Few, so that little code meets what strangers send.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
READABLE_FORMATS = "JPEG, PNG, WebP, GIF or BMP"


def decode_untrusted(content: bytes, mode: str, most_pixels: int) -> Image.Image:
    """Decode the image in `content`, upright and in the PIL `mode`; of an animation the first frame.

    Raises:
        ValueError: it is no image of `FORMATS`, is damaged, has more than `most_pixels` or more than 8 bits a channel,
            or is a line rather than an image; the message is for who sent it.
    """
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ValueError(f"it has far too many pixels: at most {most_pixels}") from error
    except Exception as error:  # what Pillow raises for damaged headers is of many kinds
        raise ValueError(f"it is no image that can be read; it can be {READABLE_FORMATS}") from error
    with image:
        width, height = image.size
        if width * height > most_pixels:
            raise ValueError(f"it has {width} x {height} pixels; at most {most_pixels} in all")
        check_edges(image)
        try:
            image.load()
            return read_image(image, mode=mode)
        except Exception as error:
            raise ValueError("it is cut off, damaged, or has more than 8 bits a channel") from error
