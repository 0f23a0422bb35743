# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Throughput of models beside each other, interleaved in one run: what counts is the ratio.

Beside every sparse model stand the dense Hugging Face model of the same sizes with SDPA attention, and the *ideal*:
that dense model's blocks on inputs as short as the sparse model makes them, without scoring, choosing or moving.
"""

import contextlib
import copy
import itertools
import math
import statistics
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..adoption import ADOPTING, find_native, is_reduced, native_class, outermost, restore
from ..checkpoints.checkpoint import find_reduced
from ..checkpoints.cost import count_head
from ..compat import memory_events
from ..model.backbone import ReducedBackbone
from ..model.classification import ReducedForImageClassification
from ..model.compat import attends, attention_implementation
from ..model.cost import as_pair, vit_multiply_adds
from ..model.inference import waited_for
from ..model.pyramid import PyramidModel
from ..model.reducer import TokenReducer
from ..model.reduction import ReducedModel
from ..model.refused import NEEDS_TRAINING
from ..model.tokens import Stage, Tokens, Trace
from ..names import COMPILED, CUDA_GRAPH


Reduced = ReducedForImageClassification | ReducedModel | PyramidModel


@dataclass(frozen=True)
class Setting:
    """Where, how and by which clock models run.

    `threads` counts on the CPU only; `None` leaves it. The `clock` is `"wall"`, or `"cpu"`: processor time of this
    process, which goes on only while it runs, for a machine that others use too. Threads add up there; take one.
    """

    device: str = "cpu"
    dtype: str = "float32"
    attention: str = "sdpa"
    compiled: str = "eager"
    threads: int | None = None
    clock: str = "wall"


@dataclass(frozen=True)
class Measurement:
    """One model with one batch size in one setting.

    Attributes:
        model: its name; that of the sparse model for its ideal, behind `"whole"` where the head on a backbone ran too.
        kind: `"dense"`, `"ideal"` or `"sparse"`.
        keep_ratio: of the configuration; `None` for the dense model and where each image decides.
        images_per_second: at the median time of a batch.
        milliseconds: time of a batch, the median.
        fastest: its first decile.
        slowest: its ninth decile.
        over_dense: images/s over those of the dense model in the same run.
        over_ideal: images/s over those of the ideal in the same run; `None` of a pyramid or whole model: it has none.
        multiply_adds: of one image, as counted by `model.multiply_adds`, and those of the head that ran too.
        dense_multiply_adds: of one image through the dense model.
        tokens: patch tokens of one image after each decision.
        peak_bytes: memory allocated during a batch beyond what was before.
    """

    model: str
    kind: str
    keep_ratio: float | list[float] | tuple[float, ...] | None
    setting: Setting
    batch: int
    image_size: tuple[int, int]
    images_per_second: float
    milliseconds: float
    fastest: float
    slowest: float
    over_dense: float
    over_ideal: float | None
    multiply_adds: int
    dense_multiply_adds: int
    tokens: list[int] | None
    peak_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """Return all fields in one flat dictionary, for JSON."""
        values = asdict(self)
        return values.pop("setting") | values


class Shortened(TokenReducer):
    """Goes on with the first tokens, as many as it is told, without a look at them.

    Args:
        config: of the model.
        lengths: tokens in the attention and in the MLP of each block, prefix included.
    """

    def __init__(self, config: Any, lengths: Sequence[tuple[int, int]]):
        super().__init__(config)
        self.lengths = list(lengths)

    def before(self, tokens: Tokens, block: nn.Module, layer: int) -> Tokens:
        return shorten(tokens, self.lengths[layer][0], layer)

    def between(self, tokens: Tokens, trace: Trace, layer: int) -> Tokens:
        return shorten(tokens, self.lengths[layer][1], layer)

    def prefix_suffices(self, layer: int) -> bool:
        return False


class Ideal(nn.Module):
    """The dense blocks on the shorter sequence: what a sparse model could reach at best, if deciding cost nothing.

    Under the one loop, which every family has, so it pays for what that loop itself costs: keeping everything, DeiT-Ti
    at batch 1 takes 41.1 ms there and 39.1 ms over native blocks (one core). The dense model does not.

    Args:
        dense: a native classifier or base model of one of our families; a copy of it is run.
        lengths: tokens in the attention and in the MLP of each block, prefix included.
    """

    def __init__(self, dense: Any, lengths: Sequence[tuple[int, int]]):
        super().__init__()
        family: Any = ADOPTING[type(dense)]
        with torch.device(dense.device):
            self.model = family(family.config_class(**dense.config.to_dict(), reducer="topk")).to(dense.dtype)
        self.model.load_state_dict(dense.state_dict())
        self.model.set_attn_implementation(attention_implementation(dense.config))
        self.model.backbone.reducer = Shortened(self.model.config, lengths)

    def forward(self, pixel_values: Tensor, **options) -> Tensor:
        # those of a backbone that are gone stand nowhere, so that no map can be made of the rest
        run = self.model.encode if isinstance(self.model, ReducedBackbone) else self.model
        return run(pixel_values, **options)[0]


def shorten(tokens: Tokens, length: int, layer: int) -> Tokens:
    """Go on with the first `length` of all `tokens`; where there are fewer (tokens came back), take some twice."""
    there = tokens.hidden.shape[1]
    last_chance = (
        layer == 0 and len(tokens.decisions) == 0
    )  # outputs want one decision at least; `not` would not compile
    if length == there and not last_chance:
        return tokens
    index = torch.arange(length, device=tokens.hidden.device) % there
    hidden = tokens.hidden[:, :length] if length <= there else tokens.hidden[:, index]
    patches = (index[tokens.num_prefix :] - tokens.num_prefix).clamp(min=0)
    place = None if tokens.place is None else tokens.place[:, patches]
    return tokens.change(hidden=hidden, place=place).keep_all(Stage(layer, 0, None, length))


@dataclass(frozen=True)
class Entry:
    """What takes its turn: a sparse model, its ideal, or the dense model of its sizes, whose name is `dense`.

    A whole model around a backbone has the backbone as its `source`, and `head` multiply-adds beside it.
    """

    name: str
    kind: str
    module: nn.Module
    source: Reduced
    dense: str
    head: int = 0

    @property
    def is_whole(self) -> bool:
        """Return whether a head on a backbone runs too."""
        return self.head > 0


def benchmark(
    models: Mapping[str, Reduced],
    batch_sizes: Sequence[int] = (1, 8, 32),
    settings: Sequence[Setting] = (Setting(),),
    pixel_values: Tensor | None = None,
    image_size: int | tuple[int, int] | None = None,
    repeats: int = 20,
    warmup: int = 3,
    optimize: bool = False,
    report: Callable[[Measurement], None] = lambda row: None,
) -> list[Measurement]:
    """Measure sparse models beside their dense and ideal ones.

    Models take turns, batch by batch, so that a busy moment of the machine hits all alike. Copies of them run; they
    stay as they are.

    Args:
        models: image classifiers, base models, backbones or models around a backbone by name, with one image size and
            number of channels. Of the last both are measured, the backbone and the whole model.
        batch_sizes: images in a batch; every model runs every size in every setting.
        settings: `[Setting(device="cuda", dtype="bfloat16", compiled="default"), ...]`.
        pixel_values: `[n, channels, height, width]`, images to run, repeated to the batch size; by default random
            ones. What AS-ViT keeps depends on them.
        image_size: of the random ones, in pixels; `None` is the configuration's.
        repeats, warmup: measured and unmeasured turns.
        optimize: call `model.optimize_for_inference` with each batch first (eager only).
        report: called with every measurement when it is there.

    Raises:
        ValueError: there is nothing to run, a model is no sparse image classifier or base model, its attention is not
            installed.
    """
    if not models or not batch_sizes or min(batch_sizes) < 1 or repeats < 1 or warmup < 0:
        raise ValueError(
            f"models are {list(models)}, batch sizes {list(batch_sizes)}, repeats {repeats}, warmup {warmup}; at "
            "least one model, batches of 1 or more, 1 repeat and 0 warm-ups are needed."
        )
    for name, model in find_parts(models).items():
        if model.config.dense_model_type in NEEDS_TRAINING:
            raise ValueError(
                f"model {name!r} is a {type(model).__name__}; benchmark compares with a dense model of the same "
                "weights, and there is none."
            )
    rows = []
    for setting, batch in itertools.product(settings, batch_sizes):
        with with_threads(setting.threads):
            copies = {name: copy_for_setting(model, setting) for name, model in models.items()}
            parts = find_parts(copies)
            images = build_batch(pixel_values, batch, next(iter(parts.values())), image_size)
            entries = [*build_entries(parts, images), *build_whole_entries(copies, images)]
            for entry in entries:
                if optimize and setting.compiled == "eager" and entry.module is entry.source:
                    entry.source.optimize_for_inference(images)
            calls = [build_call(entry, setting, images) for entry in entries]
            seconds = take_turns(calls, images, repeats, warmup, setting.clock)
            for row in build_measurements(entries, calls, seconds, images, setting):
                rows.append(row)
                report(row)
    return rows


def find_parts(models: Mapping[str, Any]) -> dict[str, Any]:
    """Find in each model what is reduced: the backbone where one is within, else the model itself.

    Raises:
        ValueError: a model is neither reduced nor around a reduced backbone.
    """
    parts = {}
    for name, model in models.items():
        found = next(outermost(model, is_reduced), None) if isinstance(model, nn.Module) else None
        if found is None or not isinstance(found.model, Reduced):
            raise ValueError(
                f"model {name!r} is a {type(model).__name__}; benchmark takes sparse classifiers and base models, and "
                "models around a reduced backbone."
            )
        parts[name] = found.model
    return parts


def copy_for_setting(model: Any, setting: Setting) -> Any:
    """Copy `model` to the device and dtype of `setting`, in eval mode; the cast would round `model` itself.

    Raises:
        ValueError: the attention is not installed.
    """
    copied = copy.deepcopy(model).eval().to(torch.device(setting.device), getattr(torch, setting.dtype))
    reduced = find_reduced(copied)
    try:
        if attends(reduced):
            reduced.set_attn_implementation(setting.attention)
    except ImportError as error:
        raise ValueError(f"attention {setting.attention!r}: {error}") from error
    return copied


@contextlib.contextmanager
def with_threads(threads: int | None) -> Generator[None]:
    """Let torch use `threads` threads on the CPU within the block; `None` changes nothing."""
    before = torch.get_num_threads()
    try:
        if threads is not None:
            torch.set_num_threads(threads)
        yield
    finally:
        torch.set_num_threads(before)


def build_batch(
    pixel_values: Tensor | None, batch: int, model: Any, image_size: int | tuple[int, int] | None
) -> Tensor:
    """Repeat `pixel_values`, or noise, to `[batch, channels, height, width]` on the model's device, in its dtype."""
    if pixel_values is None:
        height, width = as_pair(model.config.image_size if image_size is None else image_size)
        noise = torch.Generator().manual_seed(0)
        pixel_values = torch.randn(min(batch, 64), model.config.num_channels, height, width, generator=noise)
    return pixel_values[torch.arange(batch) % len(pixel_values)].to(model.device, model.dtype)


def build_entries(models: Mapping[str, Any], images: Tensor) -> Generator[Entry]:
    """Yield what takes its turn: each sparse model after its ideal, and before them the dense model of their sizes.

    Sparse models of the same sizes share one dense model; it has SDPA attention.
    """
    dense: dict[str, Entry] = {}
    for name, model in models.items():
        like = build_dense(model)
        sizes = repr((type(like), vars(like.config) | {"_name_or_path": ""}))
        if sizes not in dense:
            like = like.eval().to(model.device, model.dtype)
            if attends(like):
                like.set_attn_implementation("sdpa")
            title = f"dense, as {name}" if dense else "dense"
            dense[sizes] = Entry(title, "dense", like, model, title)
            yield dense[sizes]
        title, like = dense[sizes].name, dense[sizes].module
        prefix = model.config.num_prefix
        lengths = [(attention + prefix, mlp + prefix) for attention, mlp in mean_counts(model, images)]
        if isinstance(model.backbone, ReducedModel):  # no block of a pyramid gets shorter
            yield Entry(name, "ideal", Ideal(like, lengths).eval(), model, title)
        yield Entry(name, "sparse", model, model, title)


def build_whole_entries(models: Mapping[str, Any], images: Tensor) -> Generator[Entry]:
    """Yield the whole models around backbones, sparse, and before them the dense ones that they were made from."""
    dense: dict[str, Entry] = {}
    for name, model in models.items():
        backbone = find_reduced(model)
        if backbone is model:
            continue
        like = restore(copy.deepcopy(model)).eval()
        sizes = repr((type(like), {**like.config.to_dict(), "_name_or_path": ""}))
        if sizes not in dense:
            find_native(like).model.set_attn_implementation("sdpa")
            title = f"whole dense, as {name}" if dense else "whole dense"
            dense[sizes] = Entry(title, "dense", like, backbone, title, count_head(model, like, images))
            yield dense[sizes]
        yield replace(dense[sizes], name=f"whole {name}", kind="sparse", module=model, source=backbone)


def build_dense(model: Any) -> Any:
    """Build the native model of the sizes of `model`, with random weights."""
    with torch.device(model.device):
        if isinstance(model, ReducedForImageClassification):
            return model.dense_like()
        native = native_class(type(model))
        return native(native.config_class(**model.config.to_native_dict()))


def mean_counts(model: Any, images: Tensor) -> list[tuple[int, int]]:
    """Patch tokens in attention and MLP of each block; where each image decides, their means."""
    counts, _ = model.block_counts(images)
    layers = zip(*counts, strict=True)
    return [
        (math.ceil(statistics.fmean(a for a, _ in layer)), math.ceil(statistics.fmean(m for _, m in layer)))
        for layer in layers
    ]


def build_call(entry: Entry, setting: Setting, images: Tensor) -> Callable[[Tensor], Any]:
    """Return the function that runs `entry` on images: its module, compiled as `setting` says."""
    call: Callable[..., Any] = entry.module
    same = as_pair(entry.source.config.image_size) == tuple(images.shape[-2:]) or entry.is_whole
    if setting.compiled == CUDA_GRAPH:
        return capture(call if same else partial(call, interpolate_pos_encoding=True), images)
    if setting.compiled != "eager":
        torch.compiler.reset()
        call = torch.compile(entry.module, mode=setting.compiled, dynamic=False)
    return call if same else partial(call, interpolate_pos_encoding=True)


def capture(call: Callable[[Tensor], Any], images: Tensor, warmup: int = 3) -> Callable[[Tensor], Any]:
    """Record the kernels that `call` starts for images like these as one CUDA graph; return what replays it.

    Started one by one, kernels of small batches wait for Python. Images are copied into the memory that was recorded.

    Raises:
        ValueError: `call` waits for the device, as methods do whose images decide how many tokens they keep.
    """
    still, beside = images.clone(), torch.cuda.Stream(images.device)
    with torch.inference_mode():
        beside.wait_stream(torch.cuda.current_stream(images.device))
        with torch.cuda.stream(beside):
            for _ in range(warmup):
                call(still)
        torch.cuda.current_stream(images.device).wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                outputs = call(still)
        except RuntimeError as error:
            raise ValueError(f"no CUDA graph can be made of this model: {error}") from error

    def replay(images: Tensor) -> Any:
        still.copy_(images)
        graph.replay()
        return outputs

    return replay


def take_turns(
    calls: Sequence[Callable[[Tensor], Any]], images: Tensor, repeats: int, warmup: int, clock: str = "wall"
) -> list[list[float]]:
    """Run the calls in turn on `images`, without gradients; return the seconds of every measured turn of each.

    The `clock` is as in `Setting`.
    """
    seconds: list[list[float]] = [[] for _ in calls]
    with torch.inference_mode():
        for turn in range(warmup + repeats):
            for call, times in zip(calls, seconds, strict=True):
                measured = measure_seconds(call, images, clock)
                if turn >= warmup:
                    times.append(measured)
    return seconds


def measure_seconds(call: Callable[[Tensor], Any], images: Tensor, clock: str = "wall") -> float:
    """Time one call by the `clock` of `Setting`; on a GPU by CUDA events."""
    if clock == "cpu":
        start = time.process_time()
        call(images)
        return time.process_time() - start
    if images.device.type != "cuda":
        start = waited_for(images.device)
        call(images)
        return waited_for(images.device) - start
    with torch.cuda.device(images.device):
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        first.record()
        call(images)
        last.record()
        last.synchronize()
        return first.elapsed_time(last) / 1000


def measure_peak_bytes(call: Callable[[Tensor], Any], images: Tensor) -> int:
    """Measure the memory that one call allocates at its peak, beyond what was allocated before."""
    with torch.inference_mode():
        if images.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(images.device)
            before = torch.cuda.memory_allocated(images.device)
            call(images)
            return torch.cuda.max_memory_allocated(images.device) - before
        with torch.profiler.profile(profile_memory=True) as profile:
            call(images)
    changes = [event.nbytes() for event in memory_events(profile)]
    return max(itertools.accumulate(changes, initial=0))


def count_multiply_adds(entry: Entry, images: Tensor) -> int:
    """Count the multiply-adds of one image: whole blocks, and of the ideal no scoring."""
    model: Any = entry.source
    if entry.kind == "dense":
        return model.dense_multiply_adds(images) + entry.head
    if entry.kind == "sparse":
        return model.multiply_adds(images) + entry.head
    every, num_patches = model.block_counts(images)
    prefix, outputs = model.config.num_prefix, model.num_outputs
    costs = [vit_multiply_adds(model.config, num_patches, counts, prefix, outputs) for counts in every]
    return round(statistics.fmean(costs))


def build_measurements(
    entries: Sequence[Entry],
    calls: Sequence[Callable[[Tensor], Any]],
    seconds: Sequence[list[float]],
    images: Tensor,
    setting: Setting,
) -> Generator[Measurement]:
    """Yield the measurement of each entry."""
    medians = {(entry.name, entry.kind): statistics.median(each) for entry, each in zip(entries, seconds, strict=True)}
    for entry, call, times in zip(entries, calls, seconds, strict=True):
        median, ideal = medians[entry.name, entry.kind], medians.get((entry.name, "ideal"))
        deciles = statistics.quantiles(times, n=10, method="inclusive") if len(times) > 1 else times * 9
        yield Measurement(
            model=entry.name,
            kind=entry.kind,
            keep_ratio=None if entry.kind == "dense" else entry.source.config.keep_ratio,
            setting=setting,
            batch=len(images),
            image_size=(images.shape[-2], images.shape[-1]),
            images_per_second=len(images) / median,
            milliseconds=1000 * median,
            fastest=1000 * deciles[0],
            slowest=1000 * deciles[-1],
            over_dense=medians[entry.dense, "dense"] / median,
            over_ideal=ideal / median if ideal is not None and entry.kind != "dense" else None,
            multiply_adds=count_multiply_adds(entry, images),
            dense_multiply_adds=entry.source.dense_multiply_adds(images) + entry.head,
            tokens=None if entry.kind == "dense" else entry.source.token_counts(images),
            # a replayed CUDA graph allocates nothing
            peak_bytes=measure_peak_bytes(call if setting.compiled in COMPILED[:2] else entry.module, images),
        )


def break_even(rows: Sequence[Measurement]) -> dict[tuple[str, Setting, tuple[int, int]], int | None]:
    """Find the smallest measured batch from which on a sparse model is at least as fast as the dense one, or `None`.

    The result is by model, setting and image size.
    """
    found: dict[tuple[str, Setting, tuple[int, int]], int | None] = {}
    slower = set()
    for row in sorted(rows, key=lambda row: -row.batch):
        key = row.model, row.setting, row.image_size
        if row.kind != "sparse" or key in slower:
            continue
        found.setdefault(key, None)
        if row.over_dense < 1:
            slower.add(key)
        else:
            found[key] = row.batch
    return found


def images_per_second(
    models: Mapping[str, nn.Module], pixel_values: Tensor, repeats: int = 15, warmup: int = 3
) -> dict[str, float]:
    """Measure the median images per second of each model on the batch `pixel_values` `[B, C, H, W]`, at inference.

    The models take turns. They must be on the device of `pixel_values`, in eval mode.

    Raises:
        ValueError: a model is in training mode, where tokens are masked rather than dropped.
    """
    for name, model in models.items():
        if model.training:
            raise ValueError(f"Model {name!r} is in training mode; call model.eval() first.")
    seconds = take_turns([*models.values()], pixel_values, repeats, warmup)
    return {name: len(pixel_values) / statistics.median(times) for name, times in zip(models, seconds, strict=True)}
