# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""LeViT by Evo-ViT: patches wait within a stage, and every one is there before the grid gets coarser."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from programs import run_program
from torch.testing import assert_close
from toys import assert_same_model, assert_same_weights, toy_images
from trainers import arguments
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    LevitConfig,
    LevitForImageClassificationWithTeacher,
    LevitImageProcessorPil,
    LevitModel,
    pipeline,
)

from hf_dynamicvit import (
    DynamicLevitConfig,
    DynamicLevitForImageClassification,
    DynamicLevitModel,
    DynamicViTTrainer,
    reduce_tokens,
)
from hf_dynamicvit.checkpoints.published import rename_keys
from hf_dynamicvit.commands.cli import main
from hf_dynamicvit.commands.train_size import model_at_size
from hf_dynamicvit.demo.models import read_sources
from hf_dynamicvit.training.callbacks import GroupingSwitch
from hf_dynamicvit.training.losses import classification_loss
from hf_dynamicvit.tuning.tune import tune


SIZES = {
    "image_size": 96,  # grids of 6, 3 and 2
    "hidden_sizes": (16, 24, 32),
    "num_attention_heads": (2, 3, 4),
    "depths": (4, 2, 2),
    "key_dim": (8, 8, 8),
}
GROUPINGS = ["stage", "layer"]


def toy_levit(grouping: str = "stage", num_labels: int = 5, **options) -> DynamicLevitForImageClassification:
    """A toy model in eval mode whose every weight and statistic is drawn at random."""
    torch.manual_seed(0)
    config = DynamicLevitConfig(**SIZES | options, num_labels=num_labels, reducer_args={"grouping": grouping})
    model = DynamicLevitForImageClassification(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            around = 1.0 if name.endswith("batch_norm.weight") else 0.0
            torch.nn.init.normal_(parameter, around, 0.1)
        for name, buffer in model.named_buffers():
            if "running" in name:
                buffer.copy_(0.1 * torch.randn_like(buffer) + ("var" in name))
    return model


def levit_images(batch: int = 3, side: int = 96, seed: int = 0) -> torch.Tensor:
    return toy_images(batch, side, side, seed=seed)


class LevitData(torch.utils.data.Dataset):
    images = levit_images(8, seed=5)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return {"pixel_values": self.images[index], "labels": torch.tensor(index % 5)}


def levit_trainer(folder, model, teacher=None, callbacks=None, **overrides) -> DynamicViTTrainer:
    settings = arguments(folder, logging_steps=1, learning_rate=1e-3, **overrides)
    data = LevitData()
    return DynamicViTTrainer(
        model, settings, teacher=teacher, train_dataset=data, eval_dataset=data, callbacks=callbacks
    )


# ----- what it computes


def test_everything_kept_is_the_same_in_both_groupings():
    outputs = []
    for grouping in GROUPINGS:
        model = toy_levit(grouping)
        model.set_keep_ratio(1.0)
        outputs.append(model(levit_images()))
        assert outputs[-1].kept.all() and model.multiply_adds() == model.dense_multiply_adds()
    assert_close(outputs[0].logits, outputs[1].logits)


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_decisions_are_of_the_grid_of_each_stage(grouping):
    model = toy_levit(grouping)
    outputs = model(levit_images(), output_scores=True)
    layers = [2, 4, 6] if grouping == "stage" else [2, 3, 4, 5, 6, 7]
    assert model.decision_layers == layers and outputs.kept.shape == (3, len(layers), 36)
    for number, layer in enumerate(layers):
        stage = model.reducer.stage_of_layer(layer)
        side, slow = [(6, 18), (3, 4), (2, 2)][stage]
        own = outputs.owner[:, number]
        assert own[0].unique().tolist() == list(range(side**2))
        by_place = torch.zeros(3, side**2, dtype=torch.bool).scatter(1, own, outputs.kept[:, number])
        assert by_place.sum(dim=1).tolist() == [slow] * 3
        assert torch.equal(by_place.gather(1, own), outputs.kept[:, number])
        highest = outputs.scores[:, number].masked_fill(~outputs.kept[:, number], torch.inf).amin(dim=1)
        assert (outputs.scores[:, number].masked_fill(outputs.kept[:, number], -1).amax(dim=1) <= highest).all()
    assert not torch.equal(outputs.kept[0], outputs.kept[1])


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_images_do_not_see_their_batch_mates(grouping):
    model, images = toy_levit(grouping), levit_images(4)
    together = model(images)
    for index in range(4):
        alone = model(images[index : index + 1])
        assert torch.equal(alone.kept[0], together.kept[index])
        assert_close(alone.logits[0], together.logits[index], atol=1e-5, rtol=1e-5)


def test_stages_hand_on_every_patch():
    model = toy_levit()
    with torch.no_grad():
        outputs = model.levit(levit_images(), output_hidden_states=True)
        logits = model(levit_images()).logits
    assert [tuple(each.shape[1:]) for each in outputs.hidden_states] == [(37, 16), (10, 24), (5, 32), (5, 32)]
    mean = outputs.last_hidden_state[:, 1:].mean(dim=1)
    assert_close(outputs.pooler_output, mean)
    assert_close(logits, (model.classifier(mean) + model.classifier_distill(mean)) / 2)
    for grid in (model.scatter_to_grid, lambda each: model.tokens_to_grid(each.last_hidden_state, each, 0)):
        with pytest.raises(ValueError, match="ends on a coarser grid"):
            grid(outputs)


def test_square_images_of_any_size():
    model = toy_levit()
    for side in (64, 128, 135):
        outputs = model(levit_images(2, side), interpolate_pos_encoding=True)
        assert outputs.logits.isfinite().all() and outputs.kept.shape[-1] == (side // 16) ** 2
    whole = model(levit_images(2, 135)[..., :128, :128], interpolate_pos_encoding=True)
    assert_close(outputs.logits, whole.logits)
    for images, message in (
        (levit_images(1, 64), "an image has 64 x 64 pixels, the model takes 96 x 96"),
        (toy_images(1, 96, 64), r"has shape \(1, 3, 96, 64\); it must be \[batch, channels, side, side\]"),
    ):
        with pytest.raises(ValueError, match=message):
            model(images)
    with pytest.raises(ValueError, match="attention_mask is given"):
        model(levit_images(), attention_mask=torch.ones(3, 37))


def test_positions_become_those_of_another_size():
    """As training at another size than that of the checkpoint makes them."""
    model, images = toy_levit(), levit_images(2, 112)
    larger = model_at_size(model, (112, 112)).eval()
    assert larger.levit.position_embeddings.shape[1] == 50 and larger.config.stage_sides == [7, 4, 2]
    expected = model(images, interpolate_pos_encoding=True)
    assert torch.equal(larger(images).kept, expected.kept)
    assert_close(larger(images).logits, expected.logits, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="112 x 96 pixels; a LeViT takes squares"):
        model.levit.weights_at(112, 96)


def test_budgets_and_ratios():
    model = toy_levit()
    assert model.token_counts() == [19, 5, 3]  # with one for the others
    most, least = model.multiply_adds(), 0.95 * model.multiply_adds()
    assert model.set_budget(gmacs=least / 1e9) <= least < most
    model.set_keep_ratio([0.7, 0.5, 0.5])
    assert model.token_counts() == [26, 5, 3] and model.config.keep_ratio == [0.7, 0.5, 0.5]
    for wrong in ([0.5, 0.5], 1.5, [18, 4, 2], 0.1):
        with pytest.raises(ValueError, match="keep_ratio"):
            model.set_keep_ratio(wrong)
    without = DynamicLevitConfig(**SIZES | {"depths": (2, 3, 4)})
    assert without.stage_layers == [2, 5]  # as LeViT-128S: nobody waits in the first stage


# ----- training


def test_gradients_are_finite_and_reach_all_that_is_read():
    for grouping in GROUPINGS:
        model = toy_levit(grouping).train()
        outputs = model(levit_images(), labels=torch.tensor([0, 1, 2]))
        outputs.loss.backward()
        found = {name: each.grad for name, each in model.named_parameters()}
        without = {name for name, gradient in found.items() if gradient is None}
        assert without == {f"levit.reducer.{name}" for name in model.reducer.unread}
        assert all(each is None or each.isfinite().all() for each in found.values())
        assert outputs.head_logits.shape == (3, 4, 5)
    assert not toy_levit()(levit_images()).keys() & {"head_logits", "auxiliary_logits"}


def test_a_teacher_of_any_kind_has_classifiers_of_its_own(tmp_path):
    model, labels = toy_levit().train(), torch.tensor([0, 1, 2])
    trainer = levit_trainer(
        tmp_path, model, teacher=toy_levit(hidden_sizes=(16, 24, 40), num_attention_heads=(2, 3, 5))
    )
    outputs, taught = model(levit_images()), trainer.teacher_outputs({"pixel_values": levit_images()})
    terms, heads, said = trainer.loss_terms(outputs, labels, *taught), outputs.head_logits, taught.logits.argmax(dim=1)
    expected = [(0, "classification", labels), (1, "hard_distill", said)]
    expected += [(2, "auxiliary", labels), (3, "auxiliary_hard_distill", said)]
    assert terms.keys() == {name for _, name, _ in expected}
    for index, name, targets in expected:
        assert_close(terms[name], classification_loss(heads[:, index], targets))
        assert trainer.loss_weights[name] == 0.25


def test_without_a_teacher_predictions_learn_the_labels(tmp_path):
    model, labels = toy_levit().train(), torch.tensor([0, 1, 2])
    outputs = model(levit_images())
    terms = levit_trainer(tmp_path, model).loss_terms(outputs, labels)
    assert terms.keys() == {"classification", "auxiliary"}
    assert_close(terms["classification"], classification_loss(outputs.head_logits[:, :2].mean(dim=1), labels))
    assert_close(terms["auxiliary"], classification_loss(outputs.head_logits[:, 2:].mean(dim=1), labels))


def test_training_switches_its_grouping_resumes_and_saves(tmp_path):
    def trainer(model):
        switch = [GroupingSwitch(0.5)]
        return levit_trainer(tmp_path, model, toy_levit(), switch, max_steps=4, save_steps=2)

    first = trainer(toy_levit())
    first.train()
    kept = [len([name for name in entry if name.startswith("kept")]) for entry in first.state.log_history[:4]]
    assert kept == [6, 6, 3, 3] and "loss_hard_distill" in first.state.log_history[0]
    second = trainer(toy_levit())
    second.train(resume_from_checkpoint=f"{tmp_path}/checkpoint-2")
    assert_same_weights(second.model, first.model)
    again = AutoModelForImageClassification.from_pretrained(tmp_path / "checkpoint-4")
    assert_same_model(again.eval(), first.model.eval(), levit_images())


def test_blocks_learn_at_one_rate(tmp_path):
    with pytest.raises(ValueError, match=r"layer_lr_decay is 0.9; .* all learn at one rate"):
        levit_trainer(tmp_path, toy_levit(), layer_lr_decay=0.9)


def test_there_is_no_dense_copy():
    with pytest.raises(ValueError, match="there is no dense copy of it"):
        toy_levit().to_dense()


def test_a_branch_is_skipped_for_some_images():
    model = toy_levit(drop_path_rate=0.5).train()
    torch.manual_seed(0)
    first = model(levit_images()).logits
    assert not torch.equal(model(levit_images()).logits, first)
    assert toy_levit(drop_path_rate=0.5).eval()(levit_images()).logits.isfinite().all()


# ----- files


def test_saved_models_are_found_by_the_auto_classes(tmp_path):
    model = toy_levit(keep_ratio=0.7)
    model.save_pretrained(tmp_path)
    assert type(AutoConfig.from_pretrained(tmp_path)) is DynamicLevitConfig
    assert type(AutoModel.from_pretrained(tmp_path)) is DynamicLevitModel
    again = AutoModelForImageClassification.from_pretrained(tmp_path, attn_implementation="sdpa")
    assert type(again) is DynamicLevitForImageClassification and again.config.keep_ratio == 0.7
    assert_same_model(again.eval(), model, levit_images())
    saved = json.loads((tmp_path / "config.json").read_text())
    for _ in range(3):  # native models add to a list in the configuration
        again = DynamicLevitForImageClassification(again.config)
    again.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text()) == saved
    with pytest.raises(ValueError, match="'flash_attention_2'; a LeViT has 'eager' alone"):
        again.set_attn_implementation("flash_attention_2")


@pytest.mark.slow
def test_code_that_travels_loads_without_the_package(tmp_path):
    model = toy_levit()
    model.save_pretrained(tmp_path / "saved", with_remote_code=True)
    torch.save(levit_images(), tmp_path / "images.pt")
    program = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "hf_dynamicvit":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import torch
from transformers import AutoModelForImageClassification
model = AutoModelForImageClassification.from_pretrained("saved", trust_remote_code=True).eval()
with torch.no_grad():
    torch.save(model(torch.load("images.pt")).logits, "logits.pt")
"""
    done = run_program(program, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_close(torch.load(tmp_path / "logits.pt"), model(levit_images()).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.long
def test_one_graph():
    model = toy_levit()
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        assert_close(compiled(levit_images()).logits, model(levit_images()).logits, atol=1e-5, rtol=1e-5)


def test_a_published_file_is_converted(tmp_path, capsys):
    model = toy_levit()
    ours = model.state_dict()
    # our names of published ones, read backwards
    blocks = {"m1.m.qkv": "0.module.queries_keys_values", "m1.m.proj.1": "0.module.projection"}
    blocks |= {"m2.m.0": "1.module.linear_up", "m2.m.2": "1.module.linear_down"}
    coarser = {"kv": "0.keys_values", "q.1": "0.queries", "proj.1": "0.projection"}
    mlp = {"m.0": "0.module.linear_up", "m.2": "0.module.linear_down"}
    parts = {"c.weight": "linear.weight"} | {
        f"bn.{name}": f"batch_norm.{name}"
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    }
    tensors, number, attention = {}, 0, 0
    for stage, depth in enumerate(model.config.depths):
        kinds = [(blocks, 2 * index, "m1.m.") for index in range(depth)]
        kinds += [(coarser, 2 * depth, ""), (mlp, 2 * depth + 1, None)] if stage < 2 else []
        for names, layer, place in kinds:
            for theirs, own in names.items():
                offset, _, rest = own.partition(".")
                for part, ending in parts.items():
                    name = f"levit.encoder.stages.{stage}.layers.{layer + int(offset)}.{rest}.{ending}"
                    tensors[f"blocks.{number}.{theirs}.{part}"] = ours.pop(name)
            if names is coarser:
                name = f"levit.encoder.stages.{stage}.layers.{layer}.position_embeddings"
                tensors[f"blocks.{number}.poss"] = ours.pop(name)
            if place is not None:
                tensors[f"blocks.{number}.{place}learn_tradeoff"] = ours.pop(f"levit.reducer.tradeoffs.{attention}")
                attention += 1
            number += 1
    plain = {"levit.class_token": "cls_token", "levit.position_embeddings": "poss"}
    heads = {"classifier": "head", "classifier_distill": "head_dist"}
    heads |= {"levit.reducer.class_heads.0": "head_cls", "levit.reducer.class_heads.1": "head_cls_dist"}
    for name, tensor in ours.items():
        prefix, _, rest = name.rpartition(".")[0].rpartition(".")
        if name in plain:
            tensors[plain[name]] = tensor
        elif prefix in heads:
            kind = "l" if rest == "linear" else "bn"
            tensors[f"{heads[prefix]}.{kind}.{name.rpartition('.')[2]}"] = tensor
        else:
            index = 2 * (int(name.split("embedding_layer_")[1][0]) - 1)
            kind = "c" if "convolution" in name else "bn"
            tensors[f"patch_embed.{index}.{kind}.{name.rpartition('.')[2]}"] = tensor
    assert_same_weights(rename_keys(tensors), model)
    copies = {f"stage_{name}": tensor for name, tensor in tensors.items() if name.startswith("blocks.")}
    torch.save({"model": tensors | copies}, tmp_path / "levit.pth")
    command = ["convert", str(tmp_path / "levit.pth"), "--output", str(tmp_path / "out"), "--reducer", "evovit"]
    assert main([*command, "--num-attention-heads", "2"]) == 0
    assert "evovit at blocks [2, 4, 6]" in capsys.readouterr().out
    again = AutoModelForImageClassification.from_pretrained(tmp_path / "out").eval()
    assert_same_model(again, model, levit_images())
    assert AutoImageProcessor.from_pretrained(tmp_path / "out").crop_size["height"] == 96
    for wrong, message in (
        (["--reducer", "tome"], "reducer is 'tome'"),
        (["--num-attention-heads", "3"], "3 attention heads do not divide"),
        (["--image-size", "64", "64"], "the file is of 96 x 96 pixels"),
    ):
        assert main([*command[:4], *["--overwrite"], "--num-attention-heads", "2", "--reducer", "evovit", *wrong]) == 1
        assert message in capsys.readouterr().err


# ----- what is refused


def test_a_dense_levit_lacks_weights(tmp_path):
    dense = LevitForImageClassificationWithTeacher(LevitConfig(**SIZES))
    dense.save_pretrained(tmp_path)
    config = DynamicLevitConfig.from_pretrained(tmp_path)  # its shape is of use
    assert config.depths == [4, 2, 2] and config.reducer == "evovit"
    for cls in (DynamicLevitModel, DynamicLevitForImageClassification):
        with pytest.raises(ValueError, match="is a dense LeViT: Evo-ViT's has a class token"):
            cls.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="LevitModel cannot be reduced as it is: Evo-ViT's has a class token"):
        reduce_tokens(LevitModel(LevitConfig(**SIZES)))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"reducer": "tome"}, "reducer is 'tome'; a LeViT, .* takes 'evovit' alone. Take a ViT"),
        ({"reducer_layers": [1, 2, 3]}, "groups of blocks are the stages of a LeViT"),
        ({"schedule": "cosine"}, "groups of blocks are the stages of a LeViT"),
        ({"reducer_args": {"pooling": "class"}}, "reducer_args has pooling, .* it takes grouping"),
        ({"reducer_args": {"grouping": "all"}}, "grouping is 'all', it must be 'stage' or 'layer'"),
        ({"depths": (4, 2)}, r"depths is \[4, 2\]; it must be three numbers"),
        ({"hidden_sizes": (20, 24, 32)}, "the first must be a multiple of 8"),
        ({"patch_size": 8}, "patch_size of a LeViT are 3, 2, 1 and 16"),
        ({"image_size": (96, 64)}, "it must be one number from 16"),
        ({"image_size": 32}, r"groups of blocks keep \[2, 0, 0\] patches, one at least"),
        ({"num_channels": 0}, "num_channels is 0"),
        ({"depths": (2000, 2, 2)}, "depths is .* each must be at most 1024"),
        ({"mlp_ratio": (2, 2, 2000)}, "mlp_ratio is .* each must be at most 1024"),
        ({"num_attention_heads": (2, 3, 10000)}, r"times key_dim is \[16, 24, 80000\]; each must be at most"),
        ({"drop_path_rate": 1.0}, "drop_path_rate is 1.0"),
    ],
)
def test_wrong_configurations(options, message):
    with pytest.raises(ValueError, match=message):
        DynamicLevitConfig(**SIZES | options)


# ----- commands


def save_images(folder: Path) -> Path:
    for seed in range(8):
        file = folder / ("cat", "dog")[seed % 2] / f"{seed}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(seed).integers(0, 255, (100, 120, 3), dtype=np.uint8)).save(file)
    return folder


def save_shape(folder: Path) -> Path:
    """A dense LeViT, of which the shape and the image processor are of use."""
    names = {0: "cat", 1: "dog"}
    labels = {"num_labels": 2, "id2label": names, "label2id": {name: index for index, name in names.items()}}
    LevitForImageClassificationWithTeacher(LevitConfig(**SIZES, **labels)).save_pretrained(folder)
    size = {"size": {"shortest_edge": 96}, "crop_size": {"height": 96, "width": 96}}
    LevitImageProcessorPil(**size).save_pretrained(folder)
    return folder


@pytest.mark.long
@pytest.mark.usefixtures("exports_run_here")
def test_exporting(tmp_path):
    toy_levit().save_pretrained(tmp_path / "model")
    save_shape(tmp_path / "dense")
    shutil.copy(tmp_path / "dense" / "preprocessor_config.json", tmp_path / "model")
    images = save_images(tmp_path / "images")
    words = (tmp_path / "model", "--output", tmp_path / "model.pt2", "--pictures", images)
    assert not main(["export", "--format", "torch-export", "--only-file", *map(str, words)])
    assert (tmp_path / "model.pt2").is_file()


@pytest.mark.slow
def test_commands(tmp_path, capsys):
    shape, images = save_shape(tmp_path / "dense"), save_images(tmp_path / "images")

    def run(*arguments: object) -> str:
        code = main([str(each) for each in arguments])
        said = capsys.readouterr()
        return said.out if code == 0 else f"refused: {said.err}"

    def train(model: Path, output: str, *options: object) -> str:
        how = ("--num_train_epochs", 1, "--report_to", "none", "--use_cpu", "--dataset", images)
        return run("train", "--model", model, "--output_dir", tmp_path / output, *how, *options)

    assert "refused" in train(shape, "no", "--reducer", "evovit")
    assert "there is none of" in train(shape, "no", "--reducer", "none", "--from-scratch", "--no-distill")
    assert "takes 'evovit' alone" in train(shape, "no", "--reducer", "tome", "--from-scratch", "--no-distill")
    said = train(shape, "first", "--reducer", "evovit", "--from-scratch", "--no-distill")
    assert "18 of 36, 4 of 9, 2 of 4 patches" in said
    first = tmp_path / "first"
    plain = ("--augmentation", "plain", "--mixup", 0, "--cutmix", 0)
    assert "refused" not in train(shape, "taught", "--recipe", "evo-levit", "--teacher", first, *plain)
    log = json.loads((tmp_path / "taught" / "results.json").read_text())["log"]
    assert "loss_auxiliary_hard_distill" in log[0]
    assert "refused" not in run("evaluate", "--model", first, "--dataset", images, "--output", tmp_path / "measured")
    assert "refused" not in run("visualize", "--model", first, "--images", images, "--output", tmp_path / "looked")
    export = ("--format", "torch-export", "--output", tmp_path / "model.pt2", "--pictures", images)
    assert "with --only-file" in run("export", "--model", first, *export)  # infer.py cannot resize so
    assert "18 of 36, 4 of 9, 2 of 4 patches" in run("push", first, "me/model", "--dry-run")
    assert "there is none" in run("benchmark", first, "--repeats", 1, "--warmup", 0, "--batch-sizes", 1)
    assert type(pipeline("image-classification", model=str(first)).model) is DynamicLevitForImageClassification
    assert [source.reducer for source in read_sources([str(first)])] == ["evovit"]
    with pytest.raises(ValueError, match="there are no blocks to find"):
        tune(toy_levit(), levit_images(), fraction=0.8)
