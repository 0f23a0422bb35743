# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Write the demo's answers as HTML with the images inside, so that none is ever written to a disk."""

from collections.abc import Sequence
from html import escape

from PIL import Image

from ..look.drawing import (
    chosen,
    drop_map,
    drop_names,
    group_maps,
    score_maps,
    stage_images,
    stage_names,
    top_classes,
)
from .answer import Answer
from .models import OWN
from .style import alert, data_url


# Decisions that are drawn; of more (ToMe has one a block) as many, evenly, the last among them.
DRAWN = 3


def figure(image: Image.Image, caption: str, alternative: str) -> str:
    return (
        f'<figure><img src="{data_url(image)}" alt="{escape(alternative)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


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
    parts = [
        build_heading(answer),
        *(f'<p class="dv-note">{escape(note)}</p>' for note in answer.notes),
        stages(answer),
        f'<div class="dv-tables"><div>{cost_table(answer)}</div><div>{classes_table(answer)}</div></div>',
        scores(answer),
        groups(answer),
        when_gone(answer),
    ]
    return f'<article class="dv-answer" aria-label="{escape(build_title(answer))}">{"".join(parts)}</article>'


def build_title(answer: Answer) -> str:
    own = f" ({OWN})" if answer.choice.method == OWN and answer.trained else ""
    return f"{answer.reducer}{own}, keep ratio {answer.choice.keep_ratio:.2f}"


def build_heading(answer: Answer) -> str:
    """Write the title and, for eyes and screen readers, the whole answer in a sentence."""
    view = answer.view
    said = [f"says {likeliest(view.probabilities, answer.labels)}"]
    if view.dense_probabilities is not None:
        said.append(f"the dense model {likeliest(view.dense_probabilities, answer.labels)}")
    counts = ", ".join(map(str, view.counts))
    sentence = f"{answer.choice.model} keeps {counts} of {view.kept.shape[1]} patches and {'; '.join(said)}."
    return f'<h3>{escape(build_title(answer))}</h3><p class="dv-summary">{escape(sentence)}</p>'


def likeliest(probabilities, labels: Sequence[str]) -> str:
    ((label, probability),) = top_classes(probabilities, labels, 1)
    return f"{label} ({probability:.1%})"


def stages(answer: Answer) -> str:
    view = answer.view
    images, names = stage_images(view), stage_names(view)
    drawn = [figure(images[0], "the image", "The image as the model sees it")]
    for stage in chosen(len(names), DRAWN):
        drawn.append(figure(images[stage + 1], names[stage], f"Patches that take part after {names[stage]}"))
    few = "" if len(names) <= DRAWN else f" ({DRAWN} of {len(names)} blocks that decide)"
    return figures(f"What takes part{few}", drawn)


def scores(answer: Answer) -> str:
    maps, view = score_maps(answer.view), answer.view
    return figures(
        "Scores (dark blue: low, yellow: high)",
        [
            figure(maps[stage], f"block {view.layers[stage]}", f"Heat map of the scores in block {view.layers[stage]}")
            for stage in chosen(len(view.layers), DRAWN)
            if maps
        ],
    )


def groups(answer: Answer) -> str:
    maps, view = group_maps(answer.view), answer.view
    return figures(
        "Merged groups (one colour each)",
        [
            figure(maps[stage], f"block {view.layers[stage]}", f"Merged patches after block {view.layers[stage]}")
            for stage in chosen(len(view.layers), DRAWN)
            if maps
        ],
    )


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
    if "dense" in times:
        ratio = times["dense"] / times["sparse"]
        rows.append(("time (ms)", f"{times['sparse']:.3g}", f"{times['dense']:.3g}", f"{ratio:.2f}x as fast"))
    else:
        rows.append(("time (ms)", f"{times['sparse']:.3g}", "", ""))
    note = f"Time measured on this machine ({answer.device}) now, at batch 1; medians of interleaved runs."
    head = ["<td></td>", *(f'<th scope="col">{name}</th>' for name in ("sparse", "dense", "sparse / dense"))]
    body = [
        f'<tr><th scope="row">{name}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>' for name, *cells in rows
    ]
    return (
        f'<table class="dv-cost"><caption>Cost</caption><thead><tr>{"".join(head)}</tr></thead>'
        f'<tbody>{"".join(body)}</tbody></table><p class="dv-small">{note}</p>'
    )


def classes_table(answer: Answer) -> str:
    """Lay out the five likeliest classes of both models."""
    view = answer.view
    columns = [("sparse", top_classes(view.probabilities, answer.labels))]
    if view.dense_probabilities is not None:
        columns.append(("dense", top_classes(view.dense_probabilities, answer.labels)))
    head = "".join(f'<th scope="col">{name}</th>' for name, _ in columns)
    body = [
        f"<tr>{''.join(f'<td>{escape(label)} {probability:.1%}</td>' for label, probability in row)}</tr>"
        for row in zip(*(classes for _, classes in columns), strict=True)
    ]
    return (
        f'<table class="dv-classes"><caption>Top {len(body)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table>"
    )
