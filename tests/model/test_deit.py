# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""DeiT with a distillation token: two prefix tokens and two classifiers over the same loop and reducers."""

import pytest
import torch
from methods import FEW, usual
from programs import run_program
from safetensors.torch import save_file
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode
from toys import (
    TOY,
    assert_same_model,
    assert_same_weights,
    calibrated,
    reads_class_token,
    toy_deit,
    toy_dense_deit,
    toy_images,
)
from trainers import trainer_for
from transformers import AutoModelForImageClassification
from transformers.models.deit.image_processing_pil_deit import DeiTImageProcessorPil

from hf_dynamicvit import (
    DynamicDeiTConfig,
    DynamicDeiTForImageClassification,
    DynamicDeiTModel,
    DynamicViTConfig,
)


OLD_NAMES = [
    ("deit.layers.", "deit.encoder.layer."),
    (".attention.q_proj.", ".attention.attention.query."),
    (".attention.k_proj.", ".attention.attention.key."),
    (".attention.v_proj.", ".attention.attention.value."),
    (".attention.o_proj.", ".attention.output.dense."),
    (".mlp.fc1.", ".intermediate.dense."),
    (".mlp.fc2.", ".output.dense."),
]


@usual(reducer=["dynamicvit"])
@usual(layout=["new"])
@pytest.mark.parametrize("layout", ["old", "new"])
def test_everything_kept_is_the_native_model(tmp_path, reducer, layout):
    dense = toy_dense_deit()
    dense.save_pretrained(tmp_path)
    tensors = {}
    for name, tensor in dense.state_dict().items():
        for new, old in OLD_NAMES if layout == "old" else []:
            name = name.replace(new, old)
        tensors[name] = tensor
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    model, report = DynamicDeiTForImageClassification.from_pretrained(
        tmp_path, **reads_class_token(reducer), output_loading_info=True
    )
    assert all(".reducer." in name for name in report["missing_keys"]) and not report["unexpected_keys"]
    calibrated(model.eval(), 1.0)
    assert_close(model(toy_images()).logits, dense(toy_images()).logits, atol=1e-5, rtol=1e-5)
    for size in ((48, 48), (24, 40)):
        images = toy_images(2, *size)
        if size[0] == size[1]:  # the native model interpolates square grids only
            expected = dense(images, interpolate_pos_encoding=True).logits
            actual = model(images, interpolate_pos_encoding=True).logits
            assert_close(actual, expected, atol=1e-5, rtol=1e-5)
        else:
            assert model(images, interpolate_pos_encoding=True).logits.isfinite().all()
    assert_same_model(model.to_dense(), dense)


def test_what_a_checkpoint_lacks_is_initialised(tmp_path):
    dense = toy_dense_deit()
    dense.save_pretrained(tmp_path)
    lacking = ("cls_token", "distillation_token", "position_embeddings")
    tensors = {name: tensor for name, tensor in dense.state_dict().items() if not name.endswith(lacking)}
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    embeddings = DynamicDeiTForImageClassification.from_pretrained(tmp_path).deit.embeddings
    for name in lacking:
        assert torch.equal(getattr(embeddings, name), torch.zeros_like(getattr(embeddings, name))), name


@usual(reducer=FEW)
def test_batches_counts_and_checkpoints(tmp_path, reducer):
    model = toy_deit(reducer=reducer)
    images = toy_images(4)
    together = model(images, output_hidden_states=True)
    assert together.hidden_states[0].shape == (4, 2 + 64, 32)
    for index in range(4):
        alone = model(images[index : index + 1])
        assert torch.equal(alone.kept[0], together.kept[index])
        assert_close(alone.logits[0], together.logits[index], atol=1e-5, rtol=1e-5)
    assert model.scatter_to_grid(together).shape == (4, 32, 8, 8)
    model.save_pretrained(tmp_path)
    again = AutoModelForImageClassification.from_pretrained(tmp_path)
    assert type(again) is DynamicDeiTForImageClassification
    assert_same_model(again, model, images)
    model.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter:
        model(images[:1])
    assert counter.get_total_flops() == 2 * model.multiply_adds(images[:1])


@usual(reducer=FEW)
@pytest.mark.slow
def test_it_trains_with_the_published_recipe(tmp_path, reducer):
    wide = {"tau": 1e-2} if reducer == "asvit" else {}  # the scores of a toy are far apart
    model = toy_deit(reducer=reducer, reducer_args=wide)
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trainer = trainer_for(tmp_path, model, learning_rate=1e-4)
    trainer.train()
    entry = next(entry for entry in trainer.state.log_history if "loss" in entry)
    assert {name for name in entry if name.startswith("loss_")} == {
        f"loss_{name}" for name in model.reducer.loss_weights
    }
    still = [name for name, tensor in model.state_dict().items() if torch.equal(tensor, start[name])]
    assert still == [f"deit.reducer.{name}" for name in model.reducer.unread]
    trainer.evaluate()


@pytest.mark.slow
def test_checkpoints_that_carry_their_code(tmp_path):
    model = toy_deit(reducer="evit")
    model.save_pretrained(tmp_path / "deit", with_remote_code=True)
    assert (tmp_path / "deit" / "reduction.py").is_file()
    torch.save(toy_images(), tmp_path / "images.pt")
    program = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "hf_dynamicvit":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import torch
from transformers import AutoModelForImageClassification
model = AutoModelForImageClassification.from_pretrained("deit", trust_remote_code=True).eval()
torch.save((model.state_dict(), model(torch.load("images.pt")).logits), "result.pt")
"""
    result = run_program(program, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    weights, logits = torch.load(tmp_path / "result.pt")
    assert_same_weights(weights, model)
    assert_close(logits, model(toy_images()).logits, atol=1e-5, rtol=1e-5)


def test_the_processor_of_a_dense_checkpoint_serves(tmp_path):
    from transformers import AutoImageProcessor

    DynamicDeiTConfig(**TOY).save_pretrained(tmp_path)
    DeiTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    assert AutoImageProcessor.from_pretrained(tmp_path).size["height"] == 32


def test_each_family_refuses_the_other(tmp_path):
    toy_dense_deit().save_pretrained(tmp_path / "deit")
    with pytest.raises(ValueError, match=r"model type 'deit'.*'vit' and 'dynamicvit'"):
        DynamicViTConfig.from_pretrained(tmp_path / "deit")
    toy_deit().save_pretrained(tmp_path / "sparse")
    with pytest.raises(ValueError, match=r"model type 'dynamicdeit'"):
        DynamicViTConfig.from_pretrained(tmp_path / "sparse")
    with pytest.raises(ValueError, match="takes a DynamicDeiTConfig"):
        DynamicDeiTModel(DynamicViTConfig(**TOY))


def test_attention_mask_has_two_prefix_columns():
    model = toy_deit()
    assert model(toy_images(), attention_mask=torch.ones(3, 66)).logits.isfinite().all()
    with pytest.raises(ValueError, match=r"\[batch, 2 \+ patches\], here \(3, 66\)"):
        model(toy_images(), attention_mask=torch.ones(3, 65))
