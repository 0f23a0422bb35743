# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The measuring itself; never a timed assertion."""

import json
from dataclasses import replace

import pytest
import torch
from annotated import make_segmenter
from matplotlib.figure import Figure
from methods import FEW, usual
from native_toys import native_model, reduced_model
from PIL import Image
from toys import TOY, assert_same_weights, toy_dense, toy_images, toy_model
from transformers import DeiTConfig, DeiTForImageClassificationWithTeacher

from hf_dynamicvit import reduce_tokens
from hf_dynamicvit.benchmark import measure as benchmark_module
from hf_dynamicvit.benchmark.measure import (
    Ideal,
    Setting,
    benchmark,
    break_even,
    build_dense,
    build_entries,
    images_per_second,
    mean_counts,
)
from hf_dynamicvit.benchmark.report import choose_log_ticks, choose_styles, draw_lines, scale_axes
from hf_dynamicvit.commands.cli import main
from hf_dynamicvit.families import FAMILIES


def test_models_take_turns():
    calls = []

    class Recorder(torch.nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def forward(self, pixel_values):
            assert torch.is_inference_mode_enabled()
            calls.append(self.name)

    result = images_per_second({"a": Recorder("a").eval(), "b": Recorder("b").eval()}, toy_images(), 4, warmup=1)
    assert calls == ["a", "b"] * 5
    assert set(result) == {"a", "b"} and min(result.values()) > 0


def test_throughput_counts_images(monkeypatch):
    seconds = iter(range(100))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(seconds)))
    assert images_per_second({"sparse": toy_model()}, toy_images(3), repeats=2, warmup=0) == {"sparse": 3.0}


def test_training_mode_is_refused():
    with pytest.raises(ValueError, match="'dense' is in training mode"):
        images_per_second({"dense": toy_dense().train()}, toy_images())


def test_the_ideal_with_everything_kept_is_the_dense_model():
    for dense in (toy_dense(), deit_dense()):
        prefix = dense.base_model.embeddings.position_embeddings.shape[1] - 64
        ideal = Ideal(dense, [(64 + prefix, 64 + prefix)] * 4)
        assert torch.equal(ideal(toy_images()), dense(toy_images()).logits)


@pytest.mark.parametrize("key", FAMILIES)
def test_base_models_of_every_family_are_measured(key):
    """The ideal that keeps everything is the native model."""
    native = native_model(key, "model")
    model = reduced_model(native, key, "model", "tome", keep_ratio=0.7)
    rows = benchmark({"sparse": model}, (2,), repeats=1, warmup=0)
    assert [row.kind for row in rows] == ["dense", "ideal", "sparse"]
    assert rows[0].multiply_adds == model.dense_multiply_adds() > rows[2].multiply_adds >= rows[1].multiply_adds
    dense = build_dense(model).eval()
    assert type(dense) is type(native)
    count = 64 + model.config.num_prefix
    ideal = Ideal(dense, [(count, count)] * 4).eval()
    with torch.inference_mode():
        assert torch.allclose(ideal(toy_images()), dense(toy_images())[0], atol=1e-5)


def deit_dense():
    torch.manual_seed(0)
    return DeiTForImageClassificationWithTeacher(DeiTConfig(**TOY)).eval()


@usual(reducer=FEW)
def test_the_ideal_is_as_short_as_the_sparse_model(reducer, monkeypatch):
    """Its linear layers see the tokens that are counted for each block."""
    model = toy_model(reducer=reducer, keep_ratio=0.6)
    images = toy_images(2)
    entries = [*build_entries({"sparse": model}, images)]
    assert [(entry.name, entry.kind) for entry in entries] == [
        ("dense", "dense"),
        ("sparse", "ideal"),
        ("sparse", "sparse"),
    ]
    seen = []
    for layer in entries[1].module.model.vit.layers:
        for part in (layer.attention, layer.mlp):
            part.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[1] - 1))
    entries[1].module(images)
    assert [*zip(seen[::2], seen[1::2], strict=True)] == mean_counts(model, images)


@usual(reducer=FEW)
def test_benchmark_measures_all_beside_each_other(reducer):
    model = toy_model(reducer=reducer, keep_ratio=0.6)
    model.set_attn_implementation("eager")
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    threads, reported = torch.get_num_threads(), []
    settings = [Setting(threads=1), Setting(dtype="bfloat16", attention="eager")]
    rows = benchmark({"sparse": model}, (1, 2), settings, repeats=2, warmup=0, report=reported.append)
    assert rows == reported and len(rows) == 2 * 2 * 3
    assert [row.kind for row in rows[:3]] == ["dense", "ideal", "sparse"]
    for dense, ideal, sparse in zip(rows[::3], rows[1::3], rows[2::3], strict=True):
        assert {dense.batch, ideal.batch} == {sparse.batch} and dense.setting == sparse.setting
        assert dense.over_dense == ideal.over_ideal == 1.0 and dense.over_ideal is None
        assert sparse.over_dense == pytest.approx(dense.milliseconds / sparse.milliseconds)
        assert sparse.over_ideal == pytest.approx(ideal.milliseconds / sparse.milliseconds)
        assert sparse.images_per_second == pytest.approx(1000 * sparse.batch / sparse.milliseconds)
        assert sparse.fastest <= sparse.milliseconds <= sparse.slowest and sparse.peak_bytes > 0
        assert dense.multiply_adds > sparse.multiply_adds >= ideal.multiply_adds
        assert len(sparse.tokens) == len(model.decision_layers) and dense.tokens is None
    assert (model.dtype, model.config._attn_implementation) == (torch.float32, "eager")
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    assert torch.get_num_threads() == threads
    json.dumps([row.as_dict() for row in rows])


def test_models_of_other_sizes_have_dense_models_of_their_own():
    models = {"a": toy_model(), "b": toy_model(keep_ratio=0.5), "wide": toy_model(hidden_size=64)}
    rows = benchmark(models, (1,), repeats=1, warmup=0)
    assert [row.model for row in rows if row.kind == "dense"] == ["dense", "dense, as wide"]


def test_optimised_models_are_measured(monkeypatch):
    model, seen = toy_model(), []
    monkeypatch.setattr(type(model), "optimize_for_inference", lambda self, images: seen.append(images.shape))
    benchmark({"sparse": model}, (1, 3), repeats=1, warmup=0, optimize=True)
    assert seen == [(1, 3, 32, 32), (3, 3, 32, 32)]


def test_processor_time_is_measured(monkeypatch):
    """Other processes on the machine do not count."""
    seconds = iter(range(100))
    monkeypatch.setattr("time.process_time", lambda: float(next(seconds)))
    rows = benchmark({"sparse": toy_model()}, (2,), [Setting(threads=1, clock="cpu")], repeats=2, warmup=0)
    assert {row.milliseconds for row in rows} == {1000.0} and {row.images_per_second for row in rows} == {2.0}
    assert rows[0].as_dict()["clock"] == "cpu"


def test_images_are_repeated_to_the_batch():
    images, seen = toy_images(2), []
    model = toy_model()
    model.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    benchmark({"sparse": model}, (5,), pixel_values=images, repeats=1, warmup=0)
    assert torch.equal(seen[-1], images[[0, 1, 0, 1, 0]])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"models": {}}, "at least one model"),
        ({"batch_sizes": ()}, r"batch sizes \[\]"),
        ({"batch_sizes": (0,)}, r"batch sizes \[0\]"),
        ({"repeats": 0}, "repeats 0"),
        ({"models": {"dense": toy_dense()}}, "'dense' is a ViTForImageClassification; benchmark takes sparse"),
    ],
)
def test_nothing_to_measure_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        benchmark(**({"models": {"sparse": toy_model()}} | arguments))


@pytest.mark.parametrize(
    "over_dense, batch", [([1.1, 1.2, 1.3], 1), ([0.9, 1.2, 1.3], 8), ([1.1, 0.9, 1.3], 32), ([1.1, 1.1, 0.9], None)]
)
def test_break_even(over_dense, batch):
    row = benchmark({"sparse": toy_model()}, (1,), repeats=1, warmup=0)[2]
    rows = [replace(row, batch=each, over_dense=over) for each, over in zip((1, 8, 32), over_dense, strict=True)]
    assert break_even(rows) == {("sparse", Setting(), (32, 32)): batch}
    other = [replace(each, image_size=(64, 64), over_dense=0.5) for each in rows]
    assert break_even(rows + other) == {("sparse", Setting(), (32, 32)): batch, ("sparse", Setting(), (64, 64)): None}


def test_tokens_that_come_back_lengthen_the_ideal():
    ideal = Ideal(toy_dense(), [(65, 65), (10, 10), (65, 65), (10, 10)])
    seen = []
    for layer in ideal.model.vit.layers:
        layer.mlp.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[1]))
    ideal(toy_images())
    assert seen == [65, 10, 65, 10]


def run(*arguments) -> int:
    return main(["benchmark", "--repeats", "1", "--warmup", "0", *arguments])


def test_the_command_writes_what_it_finds(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    toy_model().save_pretrained("saved")
    shape = ["--keep-ratio", "0.5", "0.7", "--batch-sizes", "1", "2", "--output", "found"]
    assert run("saved", *shape, "--accuracy", "dense=0.8", "saved dynamicvit 0.5=0.75") == 0
    printed = capsys.readouterr().out
    table = (tmp_path / "found" / "benchmark.md").read_text()
    assert table in printed and "| 2 | saved dynamicvit 0.5, ideal |" in table
    assert "at least as fast from batch" in table or "never faster here" in table
    record = json.loads((tmp_path / "found" / "benchmark.json").read_text())
    assert len(record["measurements"]) == 10 and record["machine"]["torch"] == torch.__version__
    assert {entry["model"] for entry in record["break_even"]} == {"saved dynamicvit 0.5", "saved dynamicvit 0.7"}
    for name in ("throughput", "keep_ratio", "accuracy"):
        with Image.open(tmp_path / "found" / f"{name}.png") as image:
            assert image.width > 600


def test_checkpoints_of_one_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for folder in ("a/checkpoint-1", "b/checkpoint-1"):
        toy_model().save_pretrained(folder)
    assert run("a/checkpoint-1", "b/checkpoint-1", "--batch-sizes", "1", "--json") == 0
    found = json.loads(capsys.readouterr().out)["measurements"]
    names = [row["model"] for row in found if row["kind"] == "sparse"]
    assert names == ["checkpoint-1 dynamicvit 0.7", "b/checkpoint-1 dynamicvit 0.7"]


def test_what_was_measured_is_not_lost(tmp_path, monkeypatch, capsys):
    """The second batch does not fit."""
    turns = benchmark_module.take_turns

    def limited(calls, images, *arguments):
        if len(images) > 1:
            raise torch.OutOfMemoryError("tried to allocate")
        return turns(calls, images, *arguments)

    monkeypatch.setattr(benchmark_module, "take_turns", limited)
    assert run("deit-tiny", "--image-size", "32", "--batch-sizes", "1", "2", "--output", str(tmp_path)) == 1
    assert "not enough memory: tried to allocate" in capsys.readouterr().err
    assert len(json.loads((tmp_path / "benchmark.json").read_text())["measurements"]) == 3


@pytest.mark.slow
def test_shapes_methods_and_sizes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("hf_dynamicvit.commands.benchmark_run.SHAPES", {"deit-tiny": (32, 4)})
    methods = ["--reducer", "evit", "asvit", "--budget", "0.6", "--image-size", "64", "96"]
    assert run("deit-tiny", *methods, "--batch-sizes", "2", "--output", str(tmp_path), "--optimize") == 0
    printed = capsys.readouterr().out
    assert "deit-tiny evit 0.6 of dense" in printed and "deit-tiny asvit 0.6 of dense" in printed
    assert "96 x 96 pixels" in printed and (tmp_path / "image_size.png").is_file()


def test_for_a_machine_to_read(capsys):
    assert run("deit-tiny", "--image-size", "32", "--batch-sizes", "1", "--json", "--threads", "1") == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["kind"] for row in found["measurements"]] == ["dense", "ideal", "sparse"]
    assert found["measurements"][0]["threads"] == 1


def test_a_configuration_without_weights(tmp_path, capsys):
    """Sparse or dense; speed does not depend on weights."""
    toy_model(reducer="evit", keep_ratio=0.5).config.save_pretrained(tmp_path / "sparse")
    toy_dense().config.save_pretrained(tmp_path / "dense")
    files = [str(tmp_path / name / "config.json") for name in ("sparse", "dense")]
    assert run(*files, "--batch-sizes", "1", "--json") == 0
    found = json.loads(capsys.readouterr().out)["measurements"]
    assert [row["keep_ratio"] for row in found if row["kind"] == "sparse"] == [0.5, 0.7]


@pytest.mark.parametrize(
    "key, kind", [("dynamicdinov2", "model"), ("dynamicclip", "zero_shot"), ("dynamicsiglip", "zero_shot")]
)
@pytest.mark.parametrize("weights", [True, False])
def test_a_checkpoint_without_a_classifier(key, kind, weights, tmp_path, capsys):
    """Its base model is measured, of two towers that of the images, at another size than its own."""
    native_model(key, kind).save_pretrained(tmp_path / "encoder")
    source = tmp_path / "encoder" if weights else tmp_path / "encoder" / "config.json"
    how = ("--batch-sizes", "1", "--image-size", "40", "--threads", "1", "--clock", "cpu")
    assert run(str(source), "--reducer", "tome", "--keep-ratio", "0.7", *how) == 0
    told = capsys.readouterr()
    assert "eager, processor time, 40 x 40 pixels" in told.out and "| encoder tome 0.7 |" in told.out
    assert "newly initialized" not in told.err


def test_a_sparse_checkpoint_without_a_classifier(tmp_path, capsys):
    native = native_model("dynamicdinov2", "model")
    reduced_model(native, "dynamicdinov2", "model", "evit", keep_ratio=0.6).save_pretrained(tmp_path)
    assert run(str(tmp_path), "--batch-sizes", "1", "--json") == 0
    rows = json.loads(capsys.readouterr().out)["measurements"]
    assert rows[2]["keep_ratio"] == 0.6 and rows[2]["model"].endswith(" evit 0.6")


def test_images_of_a_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    toy_model(reducer="asvit", keep_ratio=0.5).save_pretrained("saved")
    Image.new("RGB", (40, 30), (200, 30, 90)).save("red.png")
    assert run("saved", "--images", "red.png", "--batch-sizes", "2") == 0
    said = "Measured on 1 images, through scaling to 32 x 32, as it has no image processor."
    assert said in capsys.readouterr().out


def test_a_plot_tells_dense_models_and_their_ideals_apart():
    names = ["dense", "a", "a, ideal", "b", "b, multiply-adds as counted"]
    styles = choose_styles(names)
    assert [styles[name]["linestyle"] for name in names] == ["-", "-", ":", "-", ":"]
    assert styles["a"]["color"] == styles["a, ideal"]["color"] != styles["b"]["color"]
    assert styles["dense"]["color"] == "black" and styles["dense"]["linewidth"] > styles["a"]["linewidth"]
    many = choose_styles([f"model {number}" for number in range(7)]).values()
    assert len({(style["color"], style["marker"]) for style in many}) == 7


def test_a_plot_has_the_spread_of_the_times():
    axis = Figure().subplots()
    lines = {"dense": [(8, 4.0, 3.0, 6.0), (1, 2.0, 1.0, 2.5)], "a, ideal": [(1, 5.0, 4.0, 6.0), (8, 6.0, 5.0, 7.0)]}
    draw_lines(axis, lines)
    (bars,) = axis.containers  # of the ideal none, which would lie over those of its model
    (ends,) = bars.lines[2]
    assert [segment[:, 1].tolist() for segment in ends.get_segments()] == [[1.0, 2.5], [3.0, 6.0]]
    scale_axes(axis, lines)
    low, high = axis.get_ylim()
    assert low < 1 and high > 7 and [text.get_text() for text in axis.get_legend().get_texts()] == [*lines]


@pytest.mark.parametrize(
    "values, ticks",
    [
        ([19.0, 27.0, 33.0], [15, 20, 30, 40]),
        ([0.9, 1.0], [0.8, 0.9, 1, 1.5]),
        ([100.0, 100.0], [90, 100, 150]),
        ([8.0, 900.0], [5, 10, 20, 50, 100, 200, 500, 1000]),
        ([0.02, 30000.0], [0.01, 0.1, 1, 10, 100, 1000, 10000, 100000]),
    ],
)
def test_every_line_of_a_plot_is_between_two_labels(values, ticks):
    assert choose_log_ticks(values) == pytest.approx(ticks)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["absent"], "there is no folder absent, and on the Hub: "),
        (["deit-tiny", "--device", "tpu"], "device is 'tpu'; this machine has cpu"),
        (["deit-tiny", "--device", "cpu:x"], "device is 'cpu:x'; this machine has cpu"),
        (["deit-tiny", "--threads", "2", "--device", "cuda"], "--threads are of the CPU"),
        (["deit-tiny", "--clock", "cpu"], "--clock cpu adds the threads' times up; it needs --threads 1"),
        (["deit-tiny", "--threads", "2", "0"], "--threads is 2 0; at least 1"),
        (["deit-tiny", "--image-size", "32", "--attention", "flash_attention_2"], "attention 'flash_attention_2'"),
        (["deit-tiny", "--optimize", "--compile", "default"], "--optimize is for eager models"),
        (["deit-tiny", "--batch-sizes", "0"], "--batch-sizes is 0; at least 1"),
        (["deit-tiny", "--repeats", "0"], "--repeats is 0; at least 1"),
        (["deit-tiny", "--warmup", "-1"], "--warmup is -1; at least 0"),
        (["deit-tiny", "--image-size", "0"], "--image-size is 0; at least 1"),
        (["deit-tiny", "--budget", "70"], "--budget is 70; a budget is a fraction of the dense model's multiply-adds"),
        (
            ["deit-tiny", "--image-size", "32", "--accuracy", "other=0.5"],
            "the models are 'dense', 'deit-tiny dynamicvit",
        ),
        (["deit-tiny", "--image-size", "32", "--accuracy", "dense=50"], "'50' must be a number from 0 to 1"),
        (["absent", "--output", "taken"], "taken exists already and is no folder"),
        (["absent", "--output", "full"], "full exists already; name a new or an empty folder, or type --overwrite"),
        (["absent", "--output", "/proc/nope"], "/proc/nope cannot be written"),
        (["saved", "--images", "red.png", "--image-size", "64"], "give no --image-size"),
    ],
)
def test_the_command_refuses(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "benchmark.json").write_text("mine")
    toy_model().save_pretrained("saved")
    assert run(*arguments) == 1
    assert message in capsys.readouterr().err


def test_a_whole_model_runs_beside_its_backbone():
    """Sparse and dense, of two methods with one dense model, optimised too; the models stay as they are."""
    models = {name: reduce_tokens(make_segmenter(), name, keep_ratio=0.6).eval() for name in ("tome", "evit")}
    before = {name: {key: each.clone() for key, each in model.state_dict().items()} for name, model in models.items()}
    rows = benchmark(models, [2], repeats=1, warmup=0, optimize=True)
    assert [(row.model, row.kind) for row in rows] == [
        ("dense", "dense"),
        ("tome", "ideal"),
        ("tome", "sparse"),
        ("evit", "ideal"),
        ("evit", "sparse"),
        ("whole dense", "dense"),
        ("whole tome", "sparse"),
        ("whole evit", "sparse"),
    ]
    whole = {row.model: row for row in rows}
    assert whole["whole tome"].tokens == whole["tome"].tokens and whole["whole dense"].over_dense == 1
    for name, model in models.items():
        assert_same_weights(model, before[name])
    with pytest.raises(ValueError, match="model 'dense' is a UperNetForSemanticSegmentation; benchmark takes sparse"):
        benchmark({"dense": make_segmenter()})
