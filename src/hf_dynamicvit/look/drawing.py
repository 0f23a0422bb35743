# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Draw what a model keeps, scores, merges and predicts, as PIL images.

`cover_dropped`, `stages_row` and `contact_sheet` draw tensors of a model's outputs; the others draw a `View`, as
`viewer.Viewer` makes it.
"""

import colorsys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor

from .._moved import renamed
from ..fonts import draw_line, make_drawable, measure_line
from ..names import COVERS
from .boxes import Box
from .maps import PixelMap
from .viewer import View


__getattr__ = renamed("look.drawing")  # names that it had before


# Dark blue to yellow, ever lighter, so that it reads without colour too.
RAMP = np.array([[36, 16, 84], [58, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]], dtype=float)

BLUE, ORANGE = (30, 110, 255), (255, 140, 0)

# The line around what is kept, by the cover of what is not.
LINES = dict(zip(COVERS, ((255, 214, 10), (36, 16, 84)), strict=True))

WEBP_EDGE = 16383  # pixels; the longest that the format has

LINE = 18  # pixels from one line of text to the next
NARROWEST = 140  # pixels of an image with a caption

# Decisions on a card and on a contact sheet; of more, as many are chosen evenly, the last among them.
COLUMNS = 4


def cover_dropped(
    image: Image.Image, kept: Tensor, grid: tuple[int, int], colour: str | None = None, cover: str = "dark"
) -> Image.Image:
    """Cover the dropped patches of `image` and draw a line around the kept ones, which stay as they are.

    Args:
        image: the image as the model saw it (resized and cropped), at any scale.
        kept: `[num_patches]` bool, one slice of `outputs.kept`.
        grid: patches down and across; their product is `num_patches`.
        colour: a veil of this colour in place of `cover`, without a line: 0.2 of the pixel, 0.8 of the colour.
        cover: `"dark"` takes the colour and most of the light away, for images of bright subjects; `"light"` is a
            white veil, for dark ones and for paper.

    Raises:
        ValueError: `kept` does not fill the grid, or there is no such cover.
    """
    if kept.numel() != grid[0] * grid[1]:
        raise ValueError(f"kept has {kept.numel()} patches, a grid of {grid[0]} x {grid[1]} has {grid[0] * grid[1]}.")
    check_cover(cover)
    mask = kept.cpu().numpy().astype(bool)[patch_of_pixel(image.size, grid)]
    image = image.convert("RGB")
    covered = darken(image) if colour is None and cover == "dark" else veil(image, colour or "white")
    drawn = Image.composite(image, covered, Image.fromarray(mask.astype(np.uint8) * 255))
    return drawn if colour is not None else outline_kept(drawn, mask, LINES[cover])


def check_cover(cover: str) -> None:
    """Refuse a cover that there is not."""
    if cover not in LINES:
        raise ValueError(f"cover is {cover!r}; it must be one of {', '.join(LINES)}.")


def darken(image: Image.Image) -> Image.Image:
    """Take the colour of `image` away, and all but 0.3 of its light."""
    return image.convert("L").point(lambda value: round(0.3 * value)).convert("RGB")


def veil(image: Image.Image, colour: str) -> Image.Image:
    return Image.blend(image, Image.new("RGB", image.size, colour), 0.8)


def outline_kept(image: Image.Image, kept: np.ndarray, colour: tuple[int, int, int]) -> Image.Image:
    """Draw a line around the kept pixels, `[height, width]` bool, outside of them: what is kept stays whole."""
    around, (height, width) = np.pad(kept, 1), kept.shape
    near = np.zeros_like(kept)
    for down in range(3):
        for across in range(3):
            near |= around[down : down + height, across : across + width]
    pixels = np.array(image)
    pixels[near & ~kept] = colour
    return Image.fromarray(pixels)


def stages_row(
    image: Image.Image, kept: Tensor, grid: tuple[int, int], colour: str | None = None, cover: str = "dark"
) -> list[Image.Image]:
    """Return the image, then a copy for each stage with dropped patches covered; `kept` is `[S, num_patches]` bool.

    `colour` and `cover` are as in `cover_dropped`.
    """
    return [image.convert("RGB"), *(cover_dropped(image, stage, grid, colour, cover) for stage in kept)]


def contact_sheet(rows: Sequence[Sequence[Image.Image]], gap: int = 4) -> Image.Image:
    """Lay rows of images on a white sheet, `gap` pixels apart, each row and column as large as its largest image."""
    columns = max(len(row) for row in rows)
    widths = [max(row[column].width for row in rows if column < len(row)) for column in range(columns)]
    heights = [max(image.height for image in row) for row in rows]
    size = (sum(widths) + gap * (columns + 1), sum(heights) + gap * (len(rows) + 1))
    sheet, top = Image.new("RGB", size, "white"), gap
    for row, height in zip(rows, heights, strict=True):
        left = gap
        for image, width in zip(row, widths, strict=False):
            sheet.paste(image, (left, top))
            left += width + gap
        top += height + gap
    return sheet


def patch_of_pixel(size: tuple[int, int], grid: tuple[int, int]) -> np.ndarray:
    """Return `[height, width]`: the patch that each pixel of an image of `size` (width, height) is in."""
    down, across = grid
    rows, columns = np.arange(size[1]) * down // size[1], np.arange(size[0]) * across // size[0]
    return rows[:, None] * across + columns[None]


def tint(image: Image.Image, colours: np.ndarray, strength: np.ndarray, grid: tuple[int, int]) -> Image.Image:
    """Blend each patch of `image` with its colour.

    Args:
        image: RGB.
        colours: `[num_patches, 3]`, 0 to 255.
        strength: `[num_patches]`, 0 leaves the image, 1 leaves the colour alone.
        grid: patches down and across.
    """
    patches = patch_of_pixel(image.size, grid)
    weight = strength[patches][..., None]
    pixels = np.asarray(image.convert("RGB"), dtype=float) * (1 - weight) + colours[patches] * weight
    return Image.fromarray(pixels.round().astype(np.uint8))


def outline(image: Image.Image, regions: np.ndarray, colours: np.ndarray, grid: tuple[int, int]) -> Image.Image:
    """Draw lines on `image` where a region ends.

    Args:
        image: RGB.
        regions: `[num_patches]` integers; patches of one number are one region, of a negative one none.
        colours: `[num_patches, 3]`, of the line of a patch's region.
        grid: patches down and across.
    """
    patches = patch_of_pixel(image.size, grid)
    labels = regions[patches]
    edge, around = np.zeros(labels.shape, dtype=bool), np.pad(labels, 2, constant_values=-2)
    height, width = labels.shape
    for down, across in ((0, 2), (4, 2), (2, 0), (2, 4)):  # two pixels up, down, left and right
        edge |= around[down : down + height, across : across + width] != labels
    edge &= labels >= 0
    pixels = np.array(image.convert("RGB"))
    pixels[edge] = colours[patches][edge]
    return Image.fromarray(pixels)


def ramp_colours(values: np.ndarray) -> np.ndarray:
    """Return the colours `[N, 3]`, 0 to 255, of values `[N]` from 0 to 1."""
    places = np.linspace(0, 1, len(RAMP))
    return np.stack([np.interp(values, places, RAMP[:, channel]) for channel in range(3)], axis=-1)


def stage_images(view: View, colour: str | None = None, cover: str = "dark") -> list[Image.Image]:
    """Return the image, then a copy for each decision with the patches that do not take part covered.

    Patches that were merged are tinted by their group, not covered: they go on in one token. The boxes of a detector
    are blue, those of the dense one orange. Where patches sit out and come back (IdleViT, Evo-ViT), those that came
    back are outlined in blue. `colour` and `cover` are as in `cover_dropped`.
    """
    shown = view.kept | (view.owner >= 0) if view.merging else view.kept
    images = stages_row(view.picture, shown, view.grid, colour, cover)
    if view.merging:
        merged = zip(images[1:], view.owner, strict=True)
        images[1:] = [draw_groups(image, owner.numpy(), view.grid) for image, owner in merged]
    images = [draw_boxes(image, view) for image in images]
    lines = np.tile(np.array(BLUE), (view.kept.shape[1], 1))
    for stage, returned in enumerate(view.returned):
        if returned.any():
            regions = np.where(returned.numpy(), 1, -1)
            images[stage + 1] = outline(images[stage + 1], regions, lines, view.grid)
    return images


def draw_boxes(image: Image.Image, view: View) -> Image.Image:
    """Draw what a detector found on `image`, in blue, over what the dense one found, in orange and thinner."""
    image = image.copy()
    draw = ImageDraw.Draw(image)
    for boxes, colour, width in ((view.dense_boxes, ORANGE, 1), (view.boxes, BLUE, 2)):
        for box in boxes or ():
            left, top, right, bottom = box.corners
            across, down = image.width - 1, image.height - 1
            place = (left * across, top * down, right * across, bottom * down)
            draw.rectangle(place, outline=colour, width=width)
    return image


def score_maps(view: View) -> list[Image.Image]:
    """Draw what each patch scored, an image for each decision; none where the method scores no patches.

    Dark blue is low, yellow is high: `score_ranges` has the scores of both ends. Patches that were not there any more
    are white.
    """
    maps = []
    for scores, (low, high) in zip(known_scores(view), score_ranges(view), strict=True):
        known = np.isfinite(scores)
        colours, strength = np.full((len(scores), 3), 255.0), np.full(len(scores), 0.85)
        if known.any():
            spread = (scores[known] - low) / max(high - low, np.finfo(np.float32).tiny)
            colours[known], strength[known] = ramp_colours(spread.clip(0, 1)), 0.65
        maps.append(tint(view.picture, colours, strength, view.grid))
    return maps


def known_scores(view: View) -> Sequence[np.ndarray]:
    """Return `[num_patches]` of each decision; none where the method scores no patches."""
    return [] if view.scores is None else list(view.scores.numpy())


def score_ranges(view: View) -> list[tuple[float, float]]:
    """Return the scores at both ends of the colours of `score_maps`: of each decision, the outer 2 % cut off.

    They are NaN where no patch was scored.
    """
    ranges = []
    for scores in known_scores(view):
        known = scores[np.isfinite(scores)]
        low, high = np.percentile(known, (2, 98)) if len(known) else (np.nan, np.nan)
        ranges.append((float(low), float(high)))
    return ranges


def add_scale(image: Image.Image, low: float, high: float) -> Image.Image:
    """Draw the colours of `score_maps` below `image`, with the scores at both ends; nothing where they are NaN."""
    if not np.isfinite((low, high)).all():
        return image
    sheet = Image.new("RGB", (image.width, image.height + LINE), "white")
    sheet.paste(image, (0, 0))
    draw, ends = ImageDraw.Draw(sheet), (f"{low:.3g}", f"{high:.3g}")
    left, right = (round(measure_line(text)) + 6 for text in ends)
    length = max(1, image.width - left - right)
    bar = np.tile(ramp_colours(np.linspace(0, 1, length)).round().astype(np.uint8), (LINE - 8, 1, 1))
    sheet.paste(Image.fromarray(bar), (left, image.height + 4))
    for text, across in zip(ends, (2, left + length + 4), strict=True):
        draw_line(draw, (across, image.height + 2), text)
    return sheet


def group_maps(view: View) -> list[Image.Image]:
    """Draw which patches were merged, an image for each decision; none for methods that do not merge.

    A group of two patches and more has a colour and an outline of its own; a patch by itself is as it was.
    """
    if not view.merging:
        return []
    return [draw_groups(view.picture, owner.numpy(), view.grid) for owner in view.owner]


def draw_groups(image: Image.Image, owner: np.ndarray, grid: tuple[int, int]) -> Image.Image:
    """Colour the groups of `owner` `[num_patches]` by the first of their patches, the same in every image."""
    regions, colours = np.full(len(owner), -1), np.zeros((len(owner), 3))
    for name in np.unique(owner[owner >= 0]):
        members = np.flatnonzero(owner == name)
        if len(members) > 1:
            regions[members] = members[0]
            hue = members[0] * 0.618034 % 1  # neighbours in number are far apart in hue
            colours[members] = np.array(colorsys.hsv_to_rgb(hue, 0.75, 1.0)) * 255
    tinted = tint(image, colours, np.where(regions >= 0, 0.4, 0.0), grid)
    return outline(tinted, regions, colours, grid)


def drop_map(view: View) -> Image.Image:
    """Draw when each patch went: dark blue at the first decision, yellow at the last; what is kept is plain.

    Where patches come back, the colour is that of the decision after which one never took part again.
    """
    gone = view.last_kept.numpy() + 1  # the decision that it did not survive
    last = len(view.kept)
    colours = ramp_colours(gone / max(1, last - 1))
    return tint(view.picture, colours, np.where(gone < last, 0.75, 0.0), view.grid)


def drop_names(view: View) -> list[tuple[str, tuple[int, ...]]]:
    """Name the colours of `drop_map`: a name and a colour for each decision."""
    last = len(view.kept)
    colours = ramp_colours(np.arange(last) / max(1, last - 1)).round().astype(int)
    went = "merged" if view.merging else "gone"
    return [(f"{went} at block {layer}", tuple(colour)) for layer, colour in zip(view.layers, colours, strict=True)]


def stage_names(view: View) -> list[str]:
    """Name what each decision did: `"block 3: 137 of 196"`; with patches that came back, how many."""
    total, names = view.kept.shape[1], []
    for layer, count, returned in zip(view.layers, view.counts, view.returned.sum(dim=1).tolist(), strict=True):
        back = f", {returned} back" if returned else ""
        names.append(f"block {layer}: {count} of {total}{back}")
    return names


def top_classes(probabilities: Tensor, labels: Sequence[str], count: int = 5) -> list[tuple[str, float]]:
    """Return the `count` likeliest classes (all, where there are fewer) with their probabilities, best first."""
    best = probabilities.topk(min(count, len(probabilities)))
    return [(labels[index], value) for value, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)]


def wrapped(text: str, width: int) -> list[str]:
    """Break `text` into lines of at most `width` pixels, between words, or within one that is longer."""
    lines = []
    for paragraph in make_drawable(text).splitlines():
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}".strip()
            if line and measure_line(longer) > width:
                lines.append(line)
                longer = word
            while measure_line(longer) > width and len(longer) > 1:
                fits = next(n for n in range(len(longer) - 1, 0, -1) if n == 1 or measure_line(longer[:n]) <= width)
                lines.append(longer[:fits])
                longer = longer[fits:]
            line = longer
        lines.append(line)
    return lines


def captioned(image: Image.Image, text: str) -> Image.Image:
    """Write `text` below `image`, in as many lines as it takes; at least `NARROWEST` pixels wide."""
    width = max(image.width, NARROWEST)
    lines = wrapped(text, width - 4)
    sheet = Image.new("RGB", (width, image.height + LINE * len(lines) + 4), "white")
    sheet.paste(image, (0, 0))
    draw = ImageDraw.Draw(sheet)
    for index, line in enumerate(lines):
        draw_line(draw, (2, image.height + 2 + LINE * index), line)
    return sheet


def prediction_text(view: View, labels: Sequence[str]) -> str:
    """Tell in a few lines what both models say, and what it costs."""
    lines = []
    for name, boxes in (("sparse (blue)", view.boxes), ("dense (orange)", view.dense_boxes)):
        if boxes is not None:
            lines.append(f"{name}: {name_boxes(boxes, labels)}")
    if view.map is not None:
        lines.append(name_map(view))
    for name, probabilities in (("sparse", view.probabilities), ("dense", view.dense_probabilities)):
        if probabilities is not None and view.boxes is None and view.map is None:
            ((label, probability),) = top_classes(probabilities, labels, 1)
            lines.append(f"{name}: {label} {probability:.1%}")
    lines.append(f"{view.multiply_adds / 1e9:.3g} of {view.dense_multiply_adds / 1e9:.3g} GMACs")
    return "\n".join(lines)


def name_map(view: View) -> str:
    """Tell how far the map of a model around a backbone is from the dense one."""
    if view.map is None or view.map_difference is None:
        return "no dense map"
    what = "of the pixels have another class" if view.map.segments else "is the mean difference of depth"
    return f"{view.map_difference:.1%} {what}"


def draw_maps(view: View) -> list[Image.Image]:
    """Draw the maps of a model around a backbone, the sparse and the dense one, over the image; none of others.

    A class has a colour of its own; depth goes from dark blue, the lowest, to yellow.
    """
    maps = [each for each in (view.map, view.dense_map) if each is not None]
    return [draw_classes(view, each) if each.segments else draw_depth(view, each, maps) for each in maps]


def draw_classes(view: View, found: PixelMap) -> Image.Image:
    """Blend the image with the colours of the classes of its pixels."""
    hues = [(index * 0.618034 % 1, 0.75, 1.0) for index in range(max(1, len(view.probabilities)))]
    colours = np.array([colorsys.hsv_to_rgb(*hue) for hue in hues]) * 255
    drawn = Image.fromarray(colours[found.values.numpy().clip(0)].round().astype(np.uint8))
    return Image.blend(view.picture, drawn.resize(view.picture.size, Image.Resampling.NEAREST), 0.6)


def draw_depth(view: View, found: PixelMap, all_maps: Sequence[PixelMap]) -> Image.Image:
    """Colour depth between the ends of `all_maps`, the outer 2 % cut off, at the size of the image."""
    low, high = np.percentile(np.concatenate([each.values.numpy().ravel() for each in all_maps]), (2, 98))
    values = (found.values.numpy() - low) / max(high - low, np.finfo(np.float32).tiny)
    colours = ramp_colours(values.clip(0, 1).ravel()).reshape(*values.shape, 3)
    return Image.fromarray(colours.round().astype(np.uint8)).resize(view.picture.size)


def name_boxes(boxes: Sequence[Box], labels: Sequence[str], most: int = 3) -> str:
    """Name the likeliest objects, at most so many, and how many more there are."""
    if not boxes:
        return "no object"
    named = ", ".join(f"{labels[box.label]} {box.probability:.1%}" for box in boxes[:most])
    return named if len(boxes) <= most else f"{named} and {len(boxes) - most} more"


def chosen(count: int, most: int = COLUMNS) -> list[int]:
    """Choose at most `most` of `count` decisions, evenly, the last among them."""
    most = min(count, most)
    return [count * (place + 1) // most - 1 for place in range(most)]


def card(view: View, labels: Sequence[str], title: str = "", cover: str = "dark") -> Image.Image:
    """Draw one image on one sheet: stages, scores with their scale, when each patch went, predictions."""
    chosen_stages, names = chosen(len(view.kept)), stage_names(view)
    stages, scores, ranges = stage_images(view, cover=cover), score_maps(view), score_ranges(view)
    first = captioned(stages[0], f"{title}\n{prediction_text(view, labels)}".strip())
    rows = [[first, *(captioned(stages[stage + 1], names[stage]) for stage in chosen_stages)], [draw_legend(view)]]
    for stage in chosen_stages if scores else ():
        drawn = add_scale(scores[stage], *ranges[stage])
        rows[1].append(captioned(drawn, f"score at block {view.layers[stage]}"))
    rows += [captioned_maps(view)] if view.map is not None else []
    return contact_sheet(rows)


def captioned_maps(view: View) -> list[Image.Image]:
    """Draw the maps of a model around a backbone with their names below."""
    return [captioned(image, name) for image, name in zip(draw_maps(view), ("sparse", "dense"), strict=False)]


def draw_legend(view: View) -> Image.Image:
    """Draw `drop_map` with its colours named below it."""
    names = drop_names(view)
    shown = [names[stage] for stage in chosen(len(names))]
    image = drop_map(view)
    legend = Image.new("RGB", (max(image.width, NARROWEST), image.height + LINE * len(shown) + 4), "white")
    legend.paste(image, (0, 0))
    draw = ImageDraw.Draw(legend)
    for index, (name, colour) in enumerate(shown):
        top = image.height + 2 + LINE * index
        draw.rectangle((2, top + 3, 13, top + 14), fill=colour)
        draw_line(draw, (18, top), name)
    return legend


def overview(views: Sequence[View], labels: Sequence[str], titles: Sequence[str], cover: str = "dark") -> Image.Image:
    """Draw a contact sheet: a row for each image, with what it keeps and what is predicted."""
    rows = []
    for view, title in zip(views, titles, strict=True):
        images, names = stage_images(view, cover=cover), stage_names(view)
        first = captioned(images[0], f"{title}\n{prediction_text(view, labels)}")
        stages = [captioned(images[stage + 1], names[stage]) for stage in chosen(len(names))]
        rows.append([first, *stages, *captioned_maps(view)])
    return contact_sheet(rows)


def stage_frames(view: View, cover: str = "dark") -> list[Image.Image]:
    """Return images of one size that walk the decisions, from the whole image on, each with its name below."""
    images = stage_images(view, cover=cover)
    names = [f"all {view.kept.shape[1]} patches", *stage_names(view)]
    frames = [captioned(image, name) for image, name in zip(images, names, strict=True)]
    height = max(frame.height for frame in frames)
    sheets = [Image.new("RGB", (frame.width, height), "white") for frame in frames]
    for sheet, frame in zip(sheets, frames, strict=True):
        sheet.paste(frame, (0, 0))
    return sheets


def check_seconds(seconds: float) -> None:
    """Refuse seconds for which no frame of a GIF is shown."""
    if not 0.02 <= seconds <= 60:
        raise ValueError(f"seconds is {seconds}; from 0.02 to 60.")


def save_figure(image: Image.Image, file: str | Path) -> None:
    """Write `image` in the format that the suffix of `file` names.

    WebP has a third of the size of PNG, and no difference that is seen; larger images than it can hold are scaled.
    """
    if Path(file).suffix == ".webp":
        image = ImageOps.contain(image, (WEBP_EDGE, WEBP_EDGE)) if max(image.size) > WEBP_EDGE else image
        image.save(file, "WEBP", quality=90)
    else:
        image.save(file)


def share_colours(frames: Sequence[Image.Image]) -> list[Image.Image]:
    """Give all `frames` the same 255 colours: what does not change from one to the next is then not written again."""
    shown = contact_sheet([[frames[place] for place in chosen(len(frames))]])
    palette = shown.quantize(255)
    return [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]


def save_gif(frames: Sequence[Image.Image], file: str | Path, seconds: float = 0.8) -> None:
    """Write `frames` of one size as a GIF that goes round, `seconds` each, the last one twice as long.

    Raises:
        ValueError: `seconds` is not from 0.02 to 60.
    """
    check_seconds(seconds)
    durations = [*[round(1000 * seconds)] * (len(frames) - 1), round(2000 * seconds)]
    coloured = share_colours(frames)
    coloured[0].save(file, "GIF", save_all=True, append_images=coloured[1:], duration=durations, loop=0)
