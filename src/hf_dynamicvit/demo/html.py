# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Write the demo's answers as HTML with the images inside, so that none is ever written to a disk."""

from collections.abc import Sequence
from html import escape
from math import isfinite

from PIL import Image

from ..look.drawing import (
    RAMP,
    card,
    chosen,
    drop_map,
    drop_names,
    score_maps,
    score_ranges,
    stage_images,
    stage_names,
    top_classes,
)
from .answer import Answer, Neighbours, Times
from .code import python_code, shell_code
from .input import Bundled
from .models import OWN
from .style import alert, data_url
from .verdict import told_speed, verdict_html


# Decisions that are drawn; of more (ToMe has one a block) as many, evenly, the last among them.
DRAWN = 3

# The longer edge of an image that was found, in pixels.
FOUND = 224


def figure(image: Image.Image, caption: str, alternative: str, below: str = "") -> str:
    """Lay out an image with its caption; HTML of a scale may stand `below` it."""
    return (
        f'<figure><img src="{data_url(image)}" alt="{escape(alternative)}">'
        f"{below}<figcaption>{escape(caption)}</figcaption></figure>"
    )


def scale(low: float, high: float) -> str:
    """Lay out the colours of a map of scores with the numbers at both ends; nothing where no patch was scored."""
    if not isfinite(low):
        return ""
    colours = ", ".join(f"rgb({', '.join(str(int(channel)) for channel in colour)})" for colour in RAMP)
    bar = f'<i style="background: linear-gradient(to right, {colours})"></i>'
    return f'<div class="dv-scale"><span>{low:.3g}</span>{bar}<span>{high:.3g}</span></div>'


def figures(title: str, drawn: Sequence[str]) -> str:
    return f'<h4>{escape(title)}</h4><div class="dv-figures">{"".join(drawn)}</div>' if drawn else ""


def answers_html(answers: Sequence[Answer | str]) -> str:
    """Lay out one answer, or two beside each other (on a phone below); a string says why there is none."""
    kind = "dv-answers dv-two" if len(answers) > 1 else "dv-answers"
    return f'{unequal(answers)}<div class="{kind}">{"".join(map(answer_html, answers))}</div>'


def unequal(answers: Sequence[Answer | str]) -> str:
    """Caution where equal keep ratios do not make equal costs."""
    ran = [answer for answer in answers if isinstance(answer, Answer)]
    ratios, costs = {answer.choice.keep_ratio for answer in ran}, {answer.view.multiply_adds for answer in ran}
    if len(ratios) > 1 or len(costs) < 2:
        return ""
    return '<p class="dv-note">Equal keep ratios, other costs: compare at equal GMACs.</p>'


def answer_html(answer: Answer | str) -> str:
    if isinstance(answer, str):
        return f'<article class="dv-answer">{alert(answer)}</article>'
    found = answer.neighbours
    tables = [cost_table(answer)] if found is not None else [cost_table(answer), classes_table(answer)]
    parts = [
        build_heading(answer),
        verdict_html(answer),
        *(f'<p class="dv-note">{escape(note)}</p>' for note in answer.notes),
        "" if found is None else neighbours_html(found),
        stages(answer),
        f'<div class="dv-tables">{"".join(f"<div>{table}</div>" for table in tables)}</div>',
        scores(answer),
        when_gone(answer),
        take_away(answer),
    ]
    return f'<article class="dv-answer" aria-label="{escape(build_title(answer))}">{"".join(parts)}</article>'


def build_title(answer: Answer) -> str:
    own = f" ({OWN})" if answer.choice.method == OWN and answer.trained else ""
    return f"{answer.reducer}{own}, keep ratio {answer.choice.keep_ratio:.2f}"


def build_heading(answer: Answer) -> str:
    """Write the title and, for eyes and screen readers, the whole answer in a sentence."""
    view, found = answer.view, answer.neighbours
    if found is not None:
        said = [f"finds {first_found(found.sparse)} first", f"the dense model {first_found(found.dense)}"]
    else:
        said = [f"says {likeliest(view.probabilities, answer.labels)}"]
        if view.dense_probabilities is not None:
            said.append(f"the dense model {likeliest(view.dense_probabilities, answer.labels)}")
    counts = ", ".join(str(view.counts[stage]) for stage in chosen(len(view.counts), DRAWN))
    sentence = f"{answer.choice.model} keeps {counts} of {view.kept.shape[1]} patches and {'; '.join(said)}."
    return f'<h3>{escape(build_title(answer))}</h3><p class="dv-summary">{escape(sentence)}</p>'


def likeliest(probabilities, labels: Sequence[str]) -> str:
    ((label, probability),) = top_classes(probabilities, labels, 1)
    return f"{label} ({probability:.1%})"


def first_found(found: Sequence[tuple[Bundled, float]]) -> str:
    return f"{found[0][0].title} ({found[0][1]:.3f})"


def stages(answer: Answer) -> str:
    view = answer.view
    images, names = stage_images(view), stage_names(view)
    drawn = [figure(images[0], "the image", "The image as the model sees it")]
    for stage in chosen(len(names), DRAWN):
        drawn.append(figure(images[stage + 1], names[stage], f"Patches that take part after {names[stage]}"))
    few = "" if len(names) <= DRAWN else f" ({DRAWN} of {len(names)} blocks that decide)"
    title = "Merged groups, one colour each" if view.merging else "What takes part"
    return figures(f"{title}{few}", drawn)


def scores(answer: Answer) -> str:
    maps, ranges, layers = score_maps(answer.view), score_ranges(answer.view), answer.view.layers
    drawn = []
    for stage in chosen(len(layers), DRAWN) if maps else ():
        name = f"block {layers[stage]}"
        drawn.append(figure(maps[stage], name, f"Heat map of the scores in {name}", scale(*ranges[stage])))
    return figures("Scores", drawn)


def when_gone(answer: Answer) -> str:
    view = answer.view
    names = drop_names(view)
    shown = [names[stage] for stage in chosen(len(names), DRAWN)]
    legend = "".join(
        f'<li><i style="background: rgb{colour}"></i>{escape(name)}</li>'
        for name, colour in ((name, tuple(map(int, colour))) for name, colour in shown)
    )
    what = "merged into another" if view.merging else "gone"
    image = figure(drop_map(view), "plain: kept to the end", f"Which patch was {what} after which block, by colour")
    return f'<h4>When each patch went</h4><div class="dv-map">{image}<ul class="dv-legend">{legend}</ul></div>'


def cost_table(answer: Answer) -> str:
    """Lay out multiply-adds and milliseconds, sparse beside dense."""
    view, times = answer.view, answer.milliseconds
    rows = [
        (
            "GMACs",
            f"{view.multiply_adds / 1e9:.3g}",
            f"{view.dense_multiply_adds / 1e9:.3g}",
            f"{view.multiply_adds / view.dense_multiply_adds:.0%}",
        )
    ]
    sparse, dense = times["sparse"], times.get("dense")
    if dense is not None:
        told = told_spread(dense), told_speed(dense.median / sparse.median)
    rows.append(("time (ms)", told_spread(sparse), *(("", "") if dense is None else told)))
    how = "one run each, which is a rough time"
    if sparse.turns > 1:
        how = f"the median of {sparse.turns} runs, taken alternately, and in brackets the fastest and the slowest"
    note = f"Time measured on this machine ({answer.device}) now, at batch 1: {how}."
    head = ["<td></td>", *(f'<th scope="col">{name}</th>' for name in ("sparse", "dense", "sparse / dense"))]
    body = [
        f'<tr><th scope="row">{name}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>' for name, *cells in rows
    ]
    return (
        f'<table class="dv-cost"><caption>Cost</caption><thead><tr>{"".join(head)}</tr></thead>'
        f'<tbody>{"".join(body)}</tbody></table><p class="dv-small">{note}</p>'
    )


def told_spread(times: Times) -> str:
    """Tell the median and, of more than one turn, the fastest and the slowest."""
    if times.turns == 1:
        return told_time(times.median)
    return f"{told_time(times.median)} ({told_time(times.fastest)} to {told_time(times.slowest)})"


def told_time(milliseconds: float) -> str:
    """Round to three digits, or to whole milliseconds where there are more."""
    return f"{milliseconds:.3g}" if milliseconds < 100 else f"{milliseconds:,.0f}"


def take_away(answer: Answer) -> str:
    """Lay out the code that gives this answer, and a link that saves it as an image, if it has no other images."""
    title = build_title(answer)
    codes = [code(answer.choice) for code in (python_code, shell_code)]
    shown = "".join(f"<pre>{escape(code)}</pre>" for code in codes if code)
    code = f"<details><summary>Code</summary>{shown}</details>"
    if answer.neighbours is not None:
        return code
    sheet = data_url(card(answer.view, answer.labels, title), "JPEG")
    name = f"{answer.reducer}-{answer.choice.keep_ratio:.2f}.jpg"
    link = f'<a class="dv-download" download="{escape(name)}" href="{sheet}">Download this answer as an image</a>'
    return code + link


def neighbours_html(found: Neighbours) -> str:
    """Lay out the images that were found with both models, one below the other; shared ones are marked."""
    shared = {entry.title for entry, _ in found.sparse} & {entry.title for entry, _ in found.dense}
    note = f"Of {found.searched} images. Their embeddings are those of the dense model; only the image above is"
    rows = [
        f"<h4>Nearest images, {name}</h4>"
        f'<div class="dv-found">{"".join(found_image(*each, each[0].title in shared) for each in row)}</div>'
        for name, row in (("sparse", found.sparse), ("dense", found.dense))
    ]
    return f'{"".join(rows)}<p class="dv-small">{note} embedded with fewer tokens. Numbers are cosines.</p>'


def found_image(entry: Bundled, cosine: float, shared: bool) -> str:
    """Lay out an image that was found; what only one of the models found is framed."""
    small = entry.image.copy()
    small.thumbnail((FOUND, FOUND))
    kind, said = ("", "") if shared else (' class="dv-only"', ", by this model alone")
    return (
        f'<figure{kind}><img src="{data_url(small)}" alt="{escape(entry.title)}">'
        f"<figcaption>{escape(entry.title)} {cosine:.3f}{said}</figcaption></figure>"
    )


def classes_table(answer: Answer) -> str:
    """Lay out the five likeliest classes of both models, with a bar for each probability."""
    view = answer.view
    columns = [("sparse", top_classes(view.probabilities, answer.labels))]
    if view.dense_probabilities is not None:
        columns.append(("dense", top_classes(view.dense_probabilities, answer.labels)))
    head = "".join(f'<th scope="col">{name}</th>' for name, _ in columns)
    body = [
        f"<tr>{''.join(f'<td>{probability_bar(*entry)}</td>' for entry in row)}</tr>"
        for row in zip(*(classes for _, classes in columns), strict=True)
    ]
    return (
        f'<table class="dv-classes"><caption>Top {len(body)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table>"
    )


def probability_bar(label: str, probability: float) -> str:
    bar = f'<div class="dv-bar"><i style="width: {probability:.1%}"></i></div>'
    return f"{escape(label)} {probability:.1%}{bar}"
