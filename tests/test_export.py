# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Exported files give the model's logits for any batch without this package; nothing else is ever left behind."""

import json
import subprocess
import sys
import warnings
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from exports import run_here
from methods import FIXED, UNLIKE, all_methods, usual
from PIL import Image
from toys import TOY, toy_dense, toy_images, toy_model
from transformers import ResNetConfig, ResNetForImageClassification, ViTConfig, ViTModel
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

import hf_dynamicvit
from hf_dynamicvit import REDUCERS, DynamicDeiTConfig, DynamicDeiTForImageClassification
from hf_dynamicvit.checkpoints.cost import multiply_adds
from hf_dynamicvit.commands.cli import main
from hf_dynamicvit.data.samples import sample_crops
from hf_dynamicvit.export import (
    FORMATS,
    Format,
    copy_for_export,
    export,
    find_undecided,
    run_onnx,
    split_batches,
    trace,
    write_onnx,
    write_torch_export,
)


pytestmark = pytest.mark.slow


# `infer.py` where there is nothing but numpy, Pillow and ONNX Runtime.
ALONE = """
import sys
for name in ("torch", "transformers", "hf_dynamicvit"):
    sys.modules[name] = None
sys.path.insert(0, "")
import infer
infer.main(sys.argv[1:])
"""

needs_onnx = pytest.mark.skipif(
    not all(map(find_spec, FORMATS["onnx"].packages)), reason="ONNX packages are not installed"
)


@cache
def toy(reducer: str):
    return toy_model(reducer=reducer, num_hidden_layers=3)


@cache
def traced(reducer: str):
    return trace(copy_for_export(toy(reducer)))


def logits_of(model, batches):
    with torch.no_grad():
        return [model(batch).logits for batch in batches]


@pytest.fixture
def pretend(monkeypatch):
    """Puts a stand-in for a format, which writes files of these names and runs as it is told."""

    def put(run, suffixes=("",), format="torch-export"):
        def write(program, file, opset):
            for suffix in suffixes:
                file.with_name(file.name + suffix).write_text("new")

        monkeypatch.setattr("hf_dynamicvit.export.trace", lambda logits: None)
        monkeypatch.setitem(FORMATS, format, Format(FORMATS[format].suffix, (), write, run))

    return put


@pytest.mark.parametrize("reducer", all_methods("idlevit", of=FIXED))
def test_every_method_of_fixed_counts_by_torch_export(reducer, tmp_path):
    write_torch_export(traced(reducer), tmp_path / "toy.pt2")
    batches = split_batches(toy_images(9))
    for got, expected in zip(run_here(tmp_path / "toy.pt2", batches), logits_of(toy(reducer), batches), strict=True):
        torch.testing.assert_close(got, expected)


@needs_onnx
@pytest.mark.long
@pytest.mark.parametrize("reducer", UNLIKE)
def test_methods_by_onnx(reducer, tmp_path):
    """The test of the command line has dynamicvit, that of products tome."""
    write_onnx(traced(reducer), tmp_path / "toy.onnx")
    batches = split_batches(toy_images(9))
    for got, expected in zip(run_onnx(tmp_path / "toy.onnx", batches), logits_of(toy(reducer), batches), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@usual(reducer=UNLIKE)
@needs_onnx
def test_the_older_exporter_of_torch_takes_them_too(reducer, tmp_path):
    """`torch.onnx.export(dynamo=False)`, by a trace; without a stable sort, which ToMe has."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = {"input_names": ["pixel_values"], "output_names": ["logits", "kept", "owner"]}
        torch.onnx.export(toy(reducer), (toy_images(2),), tmp_path / "toy.onnx", dynamo=False, **names)
    batches = [toy_images(2, seed=5)]
    for got, expected in zip(run_onnx(tmp_path / "toy.onnx", batches), logits_of(toy(reducer), batches), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@needs_onnx
def test_command_line_onnx(tmp_path, capfd):
    """On images of one's own, through the checkpoint's own processor."""
    import onnxruntime

    model, folder, file = toy("dynamicvit"), tmp_path / "images", tmp_path / "toy.onnx"
    model.save_pretrained(tmp_path / "model")
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "model")
    (folder / "deeper").mkdir(parents=True)
    crops = sample_crops()
    crops[0].save(folder / "a.png")
    crops[9].save(folder / "deeper" / "b.jpg")
    (folder / "notes.txt").write_text("no image")
    capfd.readouterr()
    command = ["export", str(tmp_path / "model"), "--format", "onnx", "--output", str(file), "--images", str(folder)]
    assert main(command) == 0
    printed, noise = capfd.readouterr()
    assert "Checked on 2 images, through its image processor, in batches of 1, 3, 2: same top-1" in printed
    assert f"{multiply_adds(model) / 1e9:.4g} G multiply-adds an image." in printed
    assert "[torch.onnx]" not in printed and "arning" not in noise and "Skipping" not in noise
    session = onnxruntime.InferenceSession(file)
    described = [(port.name, port.shape) for port in (*session.get_inputs(), *session.get_outputs())]
    assert described == [("pixel_values", ["batch", 3, 32, 32]), ("logits", ["batch", 5])]
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == ["images", "infer.py", "model", "toy.json", "toy.onnx"]
    about = json.loads((tmp_path / "toy.json").read_text())
    assert about["labels"] == [f"LABEL_{index}" for index in range(5)] and about["reducer"] == "dynamicvit"
    assert about["preprocessing"]["size"] == {"height": 32, "width": 32} and str(tmp_path) not in str(about)
    run = [sys.executable, "-P", "-c", ALONE, "toy.onnx", "images/a.png", "images/deeper/b.jpg", "--top-k", "5"]
    ended = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    for line, name in zip(ended.stdout.splitlines(), ("images/a.png", "images/deeper/b.jpg"), strict=True):
        processor = ViTImageProcessorPil.from_pretrained(tmp_path / "model")
        pixels = processor(Image.open(tmp_path / name).convert("RGB"), return_tensors="pt")["pixel_values"]
        best = logits_of(model, [pixels])[0].softmax(dim=-1)[0].sort(descending=True)
        named = [f"LABEL_{index} {value:.1%}" for value, index in zip(*map(torch.Tensor.tolist, best), strict=True)]
        assert line == f"{name}: {', '.join(named)}"


def test_command_line_torch_export(tmp_path, capsys, pretend):
    """On the sample photographs, of a DeiT without a processor."""
    torch.manual_seed(0)
    config = DynamicDeiTConfig(**TOY | {"num_hidden_layers": 2}, reducer="evit")
    model = DynamicDeiTForImageClassification(config).eval()
    model.save_pretrained(tmp_path / "model")
    file = tmp_path / "toy.pt2"
    command = ["export", str(tmp_path / "model"), "--format", "torch-export", "--output", str(file)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "Checked on 10 crops of scikit-learn's two sample photographs" in printed
    assert "it has no image processor, in batches of 1, 3, 6: same top-1" in printed
    batches = split_batches(toy_images(7))
    for got, expected in zip(run_here(file, batches), logits_of(model, batches), strict=True):
        torch.testing.assert_close(got, expected)
    assert str(Path(hf_dynamicvit.__file__).parent).encode() not in file.read_bytes()  # of nobody's folders
    assert main(command) == 1 and "exists already" in capsys.readouterr().err
    pretend(lambda file, batches: [logits + 1e-6 for logits in logits_of(model, batches)])
    assert main([*command, "--overwrite", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["output"] == str(file) and found["format"] == "torch-export" and found["batches"] == [1, 3, 6]
    assert file.read_text() == "new" and found["num_bytes"] == 3 and 0 < found["difference"] < 1e-4
    assert found["multiply_adds"] == multiply_adds(model)


@pytest.mark.usefixtures("exports_run_here")
def test_dense_models(tmp_path):
    dense = toy_dense(num_hidden_layers=2)
    assert export(dense, "torch-export", tmp_path / "dense.pt2", toy_images(5)).difference < 1e-5
    assert multiply_adds(dense) == toy_model(num_hidden_layers=2).dense_multiply_adds()


@pytest.mark.parametrize(
    "number, sizes", [(1, [1, 3, 2]), (5, [1, 3, 2]), (6, [1, 3, 2]), (10, [1, 3, 6]), (40, [1, 3, 32, 4])]
)
def test_batches_of_different_sizes(number, sizes):
    pixel_values = torch.arange(number)[:, None, None, None]
    batches = split_batches(pixel_values)
    assert [len(batch) for batch in batches] == sizes
    assert set(torch.cat(batches).flatten().tolist()) == set(range(number))


@pytest.mark.parametrize("change", [lambda logits: logits + 1e-3, lambda logits: logits * torch.nan])
def test_a_file_with_other_logits_is_not_kept(change, tmp_path, pretend):
    pretend(lambda file, batches: [change(logits) for logits in logits_of(toy("topk"), batches)])
    (tmp_path / "old.pt2").write_text("precious")
    with pytest.raises(ValueError, match="of 6 images, 6 have other logits"):
        export(toy("topk"), "torch-export", tmp_path / "old.pt2", toy_images(6), overwrite=True)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["precious"]


def test_another_top_1_is_told_apart(tmp_path, pretend):
    model = toy_model()
    torch.nn.init.zeros_(model.classifier.weight)  # every class alike, up to less than the tolerance
    nudge = torch.tensor([0.0, 1e-6, 0.0, 0.0, 0.0])
    pretend(lambda file, batches: [logits + nudge for logits in logits_of(model, batches)])
    with pytest.raises(ValueError, match="0 have other logits, by up to 1e-06, and 6 another top-1"):
        export(model, "torch-export", tmp_path / "toy.pt2", toy_images(6))
    assert not list(tmp_path.iterdir())


def without_differences(reducer):
    """A toy whose scores are all equal: its predictors, or the queries of its class attention, are 0."""
    model = toy_model(reducer=reducer, num_hidden_layers=3)
    for name, parameter in model.named_parameters():
        if "q_proj" in name or ".reducer." in name:
            torch.nn.init.zeros_(parameter)
    return model


@pytest.mark.parametrize(
    "reducer", sorted(name for name in FIXED if REDUCERS[name].scores_patches and name != "random")
)
def test_scores_that_are_equal_to_rounding_are_told_from_others(reducer):
    with torch.no_grad():
        assert not find_undecided(toy(reducer), toy_images(6)).any()
        assert find_undecided(without_differences(reducer), toy_images(6)).all()


def test_a_model_that_is_hardly_trained_is_named(tmp_path, pretend):
    for reducer, told in (("dynamicvit", True), ("topk", False), ("tome", False)):
        model = without_differences(reducer) if told else toy(reducer)
        pretend(lambda file, batches, model=model: [logits + 1e-3 for logits in logits_of(model, batches)])
        with pytest.raises(ValueError, match="of 6 images, 6 have other logits") as refused:
            export(model, "torch-export", tmp_path / "toy.pt2", toy_images(6))
        assert ("With 6 of them the scores" in str(refused.value)) == told
        assert ("train it longer, or check the file on other --images." in str(refused.value)) == told
    assert find_undecided(toy_dense(), toy_images(2)).tolist() == [False, False]


@needs_onnx
def test_an_opset_of_ones_own(tmp_path, monkeypatch):
    import onnx

    traced = trace(copy_for_export(toy_dense(num_hidden_layers=1)))
    write_onnx(traced, tmp_path / "toy.onnx", 18)
    assert [(known.domain, known.version) for known in onnx.load(tmp_path / "toy.onnx").opset_import] == [("", 18)]
    with pytest.raises(ValueError, match=r"opset is 9; torch \S+ wrote 18 in its place"):
        write_onnx(traced, tmp_path / "old.onnx", 9)
    assert not (tmp_path / "old.onnx").exists()
    (tmp_path / "broken.onnx").write_text("no graph")
    with pytest.raises(ValueError, match=r"ONNX Runtime .* does not run the file; another --opset may help"):
        run_onnx(tmp_path / "broken.onnx", split_batches(toy_images(2)))


@pytest.mark.parametrize(
    "format, opset, message",
    [
        ("onnx", 17, "opset is 17; torch writes 18 and later"),
        ("torch-export", 18, "opset is 18, which files of torch"),
    ],
)
def test_opsets_that_there_are_not(format, opset, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export(toy("topk"), format, tmp_path / f"toy{FORMATS[format].suffix}", toy_images(6), opset=opset)


def test_weights_of_their_own_lie_beside_the_file_and_the_model_stays_as_it_is(tmp_path, pretend):
    model = toy_model().bfloat16().train()
    reference = copy_for_export(model).model
    pretend(lambda file, batches: logits_of(reference, batches), suffixes=("", ".data"))
    output = tmp_path / "toy.pt2"
    check = export(model, "torch-export", output, toy_images(6))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["toy.pt2", "toy.pt2.data"]
    assert check.num_bytes == 6 and check.batches == [1, 3, 2]
    assert model.training and model.dtype == torch.bfloat16
    output.unlink()
    with pytest.raises(ValueError, match=r"toy.pt2.data exists already"):
        export(model, "torch-export", output, toy_images(6))
    export(model, "torch-export", output, toy_images(6), overwrite=True)


@usual(reducer=["tome"], merges=["product"])
@needs_onnx
@pytest.mark.parametrize("reducer", ["tome", "tps"])
@pytest.mark.parametrize("merges", ["scatter", "product"])
def test_merges_as_products(reducer, merges, tmp_path):
    """There is no scatter that sums left in the graph, and the logits are the same."""
    import onnx

    model, half = toy_model(reducer=reducer, num_hidden_layers=3, reducer_layers=[1]), reducer == "tome"
    options = {"merges": merges, "dtype": "float16" if half else "float32"}
    check = export(model, "onnx", tmp_path / "toy.onnx", toy_images(6), **options)
    assert check.difference < (2e-2 if half else 1e-4)
    graph = onnx.load(tmp_path / "toy.onnx").graph
    found = [node for node in graph.node if node.op_type.startswith("Scatter")]
    assert any(each.s == b"add" for node in found for each in node.attribute) == (merges == "scatter")
    halves = sum(each.data_type == onnx.TensorProto.FLOAT16 for each in graph.initializer)
    assert (halves > 20) == half
    ports = [port.type.tensor_type.elem_type for port in (*graph.input, *graph.output)]
    assert ports == [onnx.TensorProto.FLOAT] * 2


@needs_onnx
@pytest.mark.long
def test_merges_of_every_method_as_products(reducer, tmp_path):
    if reducer in all_methods(of=FIXED):
        assert export(toy(reducer), "onnx", tmp_path / "toy.onnx", toy_images(6), merges="product").difference < 1e-4


@pytest.mark.parametrize(
    "options, message",
    [
        ({"dtype": "int4"}, "dtype is 'int4'; it can be float32 or float16"),
        ({"merges": "sum"}, "merges is 'sum'; it can"),
    ],
)
def test_arithmetic_that_there_is_not(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export(toy("topk"), "torch-export", tmp_path / "toy.pt2", toy_images(6), **options)


@pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")
@pytest.mark.parametrize("reducer", ["evit", "dynamicvit"])
def test_openvino(reducer, tmp_path):
    assert export(toy(reducer), "openvino", tmp_path / "toy.xml", toy_images(6)).difference < 1e-4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["toy.bin", "toy.xml"]


def test_openvino_that_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ValueError, match=r'openvino: pip install "hf-dynamicvit\[openvino\]"'):
        export(toy("topk"), "openvino", tmp_path / "toy.xml", toy_images(6))


def test_companions_are_written_along_or_nothing_is(tmp_path, pretend):
    model = toy("topk")
    pretend(lambda file, batches: logits_of(model, batches))
    check = export(model, "torch-export", tmp_path / "toy.pt2", toy_images(6), companions={"toy.json": "{}"})
    assert check.num_bytes == 3 and (tmp_path / "toy.json").read_text() == "{}"
    pretend(lambda file, batches: [logits + 1 for logits in logits_of(model, batches)])
    with pytest.raises(ValueError, match="have other logits"):
        export(model, "torch-export", tmp_path / "new.pt2", toy_images(6), companions={"new.json": "{}"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["toy.json", "toy.pt2"]


def test_what_lies_beside_the_file_stays(tmp_path, capsys, pretend):
    pretend(lambda file, batches: logits_of(toy("topk"), batches))
    toy("topk").save_pretrained(tmp_path / "model")
    command = ["export", str(tmp_path / "model"), "--format", "torch-export", "--output", str(tmp_path / "toy.pt2")]
    for name in ("infer.py", "toy.json"):
        (tmp_path / name).write_text("precious")
        assert main(command) == 1 and f"{name} exists already" in capsys.readouterr().err
        assert (tmp_path / name).read_text() == "precious"
        (tmp_path / name).unlink()
    assert main([*command, "--only-file"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "toy.pt2"]


def test_two_formats_of_one_model_share_what_lies_beside_them(tmp_path, pretend):
    toy("topk").save_pretrained(tmp_path / "model")
    for format, name in (("torch-export", "toy.pt2"), ("onnx", "toy.onnx")):
        pretend(lambda file, batches: logits_of(toy("topk"), batches), format=format)
        assert main(["export", str(tmp_path / "model"), "--format", format, "--output", str(tmp_path / name)]) == 0
    written = ["infer.py", "model", "toy.json", "toy.onnx", "toy.pt2"]
    assert sorted(path.name for path in tmp_path.iterdir()) == written


def test_images_that_decide_for_themselves_are_refused(tmp_path):
    for format, how in FORMATS.items():
        if all(map(find_spec, how.packages)):
            with pytest.raises(ValueError, match=r"asvit lets each image decide .* \(.*dynamicvit, .*model.to_dense"):
                export(toy_model(reducer="asvit"), format, tmp_path / f"toy{how.suffix}", toy_images(6))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "format, name, message",
    [
        ("coreml", "toy.pt2", "format is 'coreml'; it can be onnx or openvino or torch-export"),
        ("torch-export", "toy.onnx", r"the output is \S+toy.onnx; .* must end in .pt2, such as \S+/toy.pt2\.$"),
        ("torch-export", "model", r"must end in .pt2, such as \S+/model.pt2\.$"),
        ("torch-export", "nowhere/toy.pt2", "nowhere is no folder"),
        ("torch-export", "folder.pt2", "folder.pt2 exists already"),
        ("torch-export", "old.pt2", "old.pt2 exists already"),
    ],
)
def test_what_cannot_be_written(format, name, message, tmp_path):
    (tmp_path / "folder.pt2").mkdir()
    (tmp_path / "old.pt2").write_text("precious")
    with pytest.raises(ValueError, match=message):
        export(toy("topk"), format, tmp_path / name, toy_images(6), overwrite=name.startswith("folder"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.pt2", "old.pt2"]
    assert (tmp_path / "old.pt2").read_text() == "precious"


def test_missing_packages(tmp_path, monkeypatch):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=r'onnx, onnxscript, onnxruntime: pip install "hf-dynamicvit\[export\]"'):
        export(toy("topk"), "onnx", tmp_path / "toy.onnx", toy_images(6))


def test_command_line_refusals(tmp_path, monkeypatch, capsys):
    """One line each, and no file."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.jpg").write_text("no image")
    toy("topk").save_pretrained(tmp_path / "sparse")
    ViTModel(ViTConfig(**TOY)).save_pretrained(tmp_path / "headless")
    resnet = ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1], num_labels=2)
    ResNetForImageClassification(resnet).save_pretrained(tmp_path / "resnet")
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)

    def said(model, *options):
        command = ["export", str(tmp_path / model), "--format", "torch-export", "--output", str(tmp_path / "toy.pt2")]
        assert main([*command, *map(str, options)]) == 1
        return capsys.readouterr().err

    broken = tmp_path / "broken.jpg"
    assert f"None of 1 images can be read. The first: Cannot read the image {broken}" in said(
        "sparse", "--images", broken
    )
    assert "There is no file or folder" in said("sparse", "--images", tmp_path / "nowhere.png")
    assert "has no images" in said("sparse", "--images", tmp_path / "empty")
    assert "give --images" in said("sparse")
    assert "'resnet'; this takes vit, dynamicvit, deit" in said("resnet")
    assert "lacks weights of a ViTForImageClassification" in said("headless")
    assert not (tmp_path / "toy.pt2").exists()


def test_the_graph_leaves_out_what_inference_leaves_out():
    """In the last of 4 blocks the class token alone has a query, an output and an MLP."""
    graph = trace(copy_for_export(toy_model())).graph
    linear = [node.meta["val"].shape for node in graph.nodes if node.target is torch.ops.aten.linear.default]
    assert len(linear) == 4 * 6 + 3 * 4 + 1  # blocks, predictors, the classifier
    assert sum(len(shape) == 3 and shape[1] == 1 for shape in linear) == 4
