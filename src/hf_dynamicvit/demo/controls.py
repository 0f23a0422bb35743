# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Make the controls of the demo's page, and connect them with its events. Importing this file imports Gradio."""

from collections.abc import Sequence
from typing import Any

import gradio as gr

from .events import LABELS, Page
from .input import READABLE_FORMATS, Bundled
from .methods import GROUPS, read_methods
from .models import MOST_LABELS, OWN, SLIDER, TASKS, Source
from .server.limits import Limits
from .style import data_url


# What needs no model waits for none.
AT_ONCE: dict[str, Any] = {"api_visibility": "private", "concurrency_limit": None, "show_progress": "hidden"}

# What the choice of the checkpoint's own method says.
AS_TRAINED = "the method that the checkpoint itself has"

# What each tab is about, where there are several.
ABOUT = {
    "classify": "The classes that the model was trained on, with fewer tokens and with all.",
    "zero-shot": "Which of your words the image shows: CLIP and its kin compare it with text.",
    "retrieval": "Which other images are most like it: the nearest embeddings, with fewer tokens and with all.",
}

# On a narrow screen the answer is below the controls.
SHOW_ANSWER = "() => { if (window.innerWidth < 700) document.getElementById('answer').scrollIntoView(); }"


def drop_zone(limits: Limits) -> gr.Image:
    return gr.Image(
        label="Your image",
        sources=["upload", "clipboard"],
        type="filepath",
        height=190,
        buttons=[],
        placeholder=f"Drop an image, or click\n{READABLE_FORMATS}, at most {limits.file_megabytes} MB",
        elem_id="drop",
    )


def pick_buttons(images: Sequence[Bundled]) -> list[gr.Button]:
    """Make a button for each image that the demo brings along, with the image on it."""
    with gr.Row(elem_classes="dv-picks"):
        return [
            gr.Button(entry.title, elem_id=f"pick-{index}", elem_classes="dv-pick", size="sm")
            for index, entry in enumerate(images)
        ]


def pick_style(images: Sequence[Bundled]) -> str:
    """Put the images on their buttons inside the style, so that the server has no file to give away."""
    shade = "linear-gradient(transparent 50%, rgb(0 0 0 / 80%))"  # for the name to be read on
    return "\n".join(
        f"#pick-{index} {{ background-image: {shade}, url({data_url(entry.image)}) !important; }}"
        for index, entry in enumerate(images)
    )


def method_style() -> str:
    """Head each group of methods with what becomes of the patches that are not kept."""
    groups = [method.group for method in read_methods()]
    first = {group: groups.index(group) for group in GROUPS if group in groups}
    return "\n".join(
        f".dv-methods label:nth-of-type({place + 2}) {{ margin-top: 1.9rem; }}\n"
        f".dv-methods label:nth-of-type({place + 2})::before {{ content: '{GROUPS[group]}' / ''; }}"
        for group, place in first.items()
    )


def list_tasks(sources: Sequence[Source]) -> list[str]:
    """List what can be asked of the models, in the order of `TASKS`."""
    return [task for task in TASKS if any(task in source.tasks for source in sources)]


def find_models(sources: Sequence[Source], task: str) -> list[Source]:
    """List the models of which `task` can be asked."""
    return [source for source in sources if task in source.tasks]


def labels_box(**options: Any) -> gr.Textbox:
    return gr.Textbox(
        LABELS,
        label="Labels",
        info=f"2 to {MOST_LABELS}, with commas between them; Enter asks anew",
        max_lines=1,
        elem_id="labels",
        **options,
    )


def task_tabs(sources: Sequence[Source]) -> tuple[dict[str, gr.Tab], gr.Textbox]:
    """Make a tab for each task, where there are several, and the box of labels."""
    tasks, tabs = list_tasks(sources), {}
    if len(tasks) == 1:
        return tabs, labels_box(visible=False)
    labels = labels_box(visible="zero-shot" in tasks, render=False)
    with gr.Tabs(selected=sources[0].tasks[0], elem_id="tasks"):
        for task in tasks:
            with gr.Tab(TASKS[task], id=task) as tabs[task]:
                gr.Markdown(ABOUT[task])
                if task == "zero-shot":
                    labels.render()
    if "zero-shot" not in tasks:
        labels.render()
    return tabs, labels


def controls(sources: Sequence[Source]) -> list[Any]:
    """Make the controls: model, method, keep ratio, whether to compare, the other method and its keep ratio."""
    low, high, step = SLIDER
    names = [source.name for source in find_models(sources, sources[0].tasks[0])]
    choices = [(f"As trained: {AS_TRAINED}", OWN)]
    choices += [(f"{method.title}: {method.line}", method.name) for method in read_methods()]

    def method(label: str, value: str, **options) -> gr.Radio:  # Gradio's drop-downs stay open when one tabs on
        return gr.Radio(choices, value=value, label=label, elem_classes=["dv-choice", "dv-methods"], **options)

    info = (
        "of the patches that reach a stage, the fraction it keeps (tome: of all patches, the fraction left at the end)"
    )

    def keep_ratio(label: str, **options) -> gr.Slider:
        return gr.Slider(low, high, sources[0].keep_ratio, step=step, label=label, info=info, buttons=[], **options)

    model = gr.Radio(names, value=names[0], label="Model", elem_classes="dv-choice", elem_id="model")
    own = [method("Method", sources[0].first_method, elem_id="method"), keep_ratio("Keep ratio", elem_id="keep_ratio")]
    compare = gr.Checkbox(False, label="Compare with another method", elem_id="compare")
    with gr.Column(visible=False) as second:
        other = [
            method("Other method", sources[0].other_method, elem_id="other_method"),
            keep_ratio("Other keep ratio", elem_id="other_keep_ratio"),
        ]
    compare.change(lambda on: gr.Column(visible=on), compare, second, **AT_ONCE)
    return [model, *own, compare, *other]


def another_method(method: str, compares: bool, other: str) -> str:
    """Return a method other than the one that was chosen, to compare with, unless they are compared already."""
    if compares or method != other:
        return other
    return "topk" if method == "tome" else "tome"


def begin_with(source: Source) -> list[Any]:
    """Return what the controls of methods and keep ratios show when a checkpoint is chosen."""
    return [source.first_method, source.other_method, source.keep_ratio, source.keep_ratio]


def connect_tabs(
    page: Page, tabs: dict[str, gr.Tab], task: gr.State, labels: gr.Textbox, settings: Sequence[Any], look: Any
) -> None:
    """Let a tab offer the models of its task, and it and other labels answer anew, with the arguments `look`."""
    model, method, keep_ratio, _, other_method, other_keep_ratio, *_ = settings
    for name, tab in tabs.items():
        offered = find_models(list(page.sources.values()), name)

        def begin(name: str = name, offered: Sequence[Source] = offered) -> list[Any]:
            names = [source.name for source in offered]
            return [name, gr.Radio(names, value=names[0]), *begin_with(offered[0])]

        begun = [task, model, method, other_method, keep_ratio, other_keep_ratio]
        tab.select(begin, None, begun, **AT_ONCE).then(**look)
    labels.submit(**look)


def connect(
    page: Page,
    image: gr.State,
    drop: gr.Image,
    chosen: gr.HTML,
    buttons: Sequence[gr.Button],
    settings: Sequence[Any],
    answer: gr.HTML,
    tabs: dict[str, gr.Tab],
) -> None:
    """Let every control answer anew with the current image."""
    options: dict[str, Any] = {"api_visibility": "private", "concurrency_id": "model", "show_progress": "minimal"}
    options["preprocess"] = False  # Gradio would decode a file before its size is looked at; `Choice` checks the rest
    sent = drop.upload(
        page.upload,
        [drop, *settings],
        [image, drop, chosen, answer],
        trigger_mode="multiple",  # each is read, and so deleted
        **options,
    )
    picked = [
        button.click(page.picker(index), list(settings), [image, chosen, answer], **options)
        for index, button in enumerate(buttons)
    ]
    for event in (sent, *picked):
        event.then(None, js=SHOW_ANSWER)
    model, method, keep_ratio, compare, other_method, other_keep_ratio, task, labels = settings
    changes = (method.input, compare.change, other_method.input, keep_ratio.release, other_keep_ratio.release)
    for change in changes:
        change(page.look, [image, *settings], answer, trigger_mode="always_last", **options)
    method.input(another_method, [method, compare, other_method], other_method, **AT_ONCE)
    begun = [method, other_method, keep_ratio, other_keep_ratio]
    look = {"fn": page.look, "inputs": [image, *settings], "outputs": answer} | options
    model.input(lambda name: begin_with(page.sources[name]), model, begun, **AT_ONCE).then(**look)
    connect_tabs(page, tabs, task, labels, settings, look)
