# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The model card says what was measured, and nothing else."""

from types import SimpleNamespace

import pytest
from huggingface_hub import ModelCard
from paths import ROOT
from toys import TOY, toy_dense, toy_model
from trainers import trainer_for
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from hf_dynamicvit import DynamicDeiTConfig, DynamicDeiTForImageClassification
from hf_dynamicvit.hub.card import MARKER, Measurements, inherited_license, model_card
from hf_dynamicvit.hub.push import CardContent, push
from hf_dynamicvit.hub.training_card import find_accuracy


def test_every_method_has_a_card(reducer):
    text = str(model_card(toy_model(reducer=reducer), "me/small", Measurements()))
    data = ModelCard(text).data.to_dict()
    assert data["tags"][:3] == ["dynamicvit", "token-pruning", "vision"] and reducer in data["tags"]
    assert len(data["tags"]) == len(set(data["tags"]))
    assert "None" not in text and f"`{reducer}`" in text and "Not measured: accuracy and speed." in text
    if reducer == "asvit":
        assert "what each image needs" in text and "depends on the image; not measured" in text


def test_what_was_measured_is_in_the_table():
    measured = Measurements(
        top1=0.5, dense_top1=0.625, images_per_second={8: (10.0, 15.0), 1: (4.0, 3.0)}, device="a toaster"
    )
    text = str(model_card(toy_model(), "small", measured))
    assert "| top-1 on the evaluation split | 62.50 % | 50.00 % |" in text
    assert text.index("| images/s, batch 1 | 4.0 | 3.0 (0.75x) |") < text.index("batch 8 | 10.0 | 15.0 (1.50x)")
    assert "a toaster" in text and "Not measured" not in text
    assert "model-index" not in text  # a result without a data set is none


def test_images_that_decide_are_measured():
    measured = Measurements(multiply_adds=1_500_000, multiply_adds_of="64 test images")
    text = str(model_card(toy_model(reducer="asvit"), "small", measured))
    assert "| multiply-adds of one image, mean of 64 test images | 0.003 G | 0.002 G |" in text


@pytest.mark.parametrize("values", [{"top1": 93.2}, {"dense_top1": -0.1}])
def test_percentages_are_refused(values):
    ((name, value),) = values.items()
    with pytest.raises(ValueError, match=f"{name} is {value}; it must be from 0 to 1"):
        model_card(toy_model(), "small", Measurements(**values))


def test_another_family_has_a_card():
    model = DynamicDeiTForImageClassification(DynamicDeiTConfig(**TOY))
    assert f"{model.multiply_adds() / 1e9:.3f} G" in str(model_card(model, "small", Measurements()))


def state(entries, step=4, best=None):
    return SimpleNamespace(log_history=entries, global_step=step, best_metric=best)


@pytest.mark.parametrize(
    "entries, options, expected",
    [
        ([], {}, None),
        ([{"eval_accuracy": 0.4, "step": 2}, {"train_runtime": 1.0, "step": 4}], {}, None),  # of another step
        ([{"eval_accuracy": 0.4, "step": 4}, {"train_runtime": 1.0, "step": 4}], {}, 0.4),
        ([{"train_runtime": 1.0, "step": 4}, {"eval_accuracy": 0.6, "step": 4}], {}, 0.6),
        (
            [{"eval_accuracy": 0.4, "step": 4}, {"train_runtime": 1.0, "step": 4}],
            {"load_best_model_at_end": True, "metric_for_best_model": "accuracy"},
            0.9,
        ),
        (
            [{"eval_accuracy": 0.4, "step": 4}, {"train_runtime": 1.0, "step": 4}],
            {"load_best_model_at_end": True, "metric_for_best_model": "loss"},
            None,  # the best by loss was another model than the last
        ),
    ],
)
def test_the_accuracy_is_that_of_the_model_as_it_is(entries, options, expected):
    args = SimpleNamespace(**({"load_best_model_at_end": False, "metric_for_best_model": None} | options))
    assert find_accuracy(state(entries, best=0.9), args) == expected


def test_a_readme_of_ones_own_stays(tmp_path):
    trainer = trainer_for(tmp_path)
    trainer.create_model_card()
    path = tmp_path / "README.md"
    assert MARKER in path.read_text()
    trainer.create_model_card(license="mit")
    assert "license: mit" in path.read_text()
    path.write_text("Mine.\n")
    trainer.create_model_card()
    assert path.read_text() == "Mine.\n"


def test_the_licence_of_a_folder(tmp_path):
    assert inherited_license(None) is None and inherited_license(str(tmp_path)) is None
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    assert inherited_license(str(tmp_path)) == "apache-2.0"


def test_dense_models_are_not_pushed(tmp_path):
    toy_dense().save_pretrained(tmp_path)
    ViTImageProcessorPil().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"holds a dense model \(vit\); push uploads sparse ones"):
        push(tmp_path, "me/small", CardContent())


def test_a_card_that_is_there_takes_nothing_else(tmp_path):
    toy_model().save_pretrained(tmp_path)
    ViTImageProcessorPil().save_pretrained(tmp_path)
    (tmp_path / "README.md").write_text("Mine.\n")
    with pytest.raises(ValueError, match=r"README\.md is the card as it is"):
        push(tmp_path, "me/small", CardContent(Measurements(top1=0.5)))


def test_an_accuracy_holds_for_what_was_kept_then(tmp_path):
    trainer = trainer_for(tmp_path)
    trainer.train()
    accuracy = trainer.evaluate()["eval_accuracy"]
    trainer.create_model_card(dataset_tags="me/noise")
    card = ModelCard((tmp_path / "README.md").read_text())
    assert card.data.eval_results[0].metric_value == round(accuracy, 4)
    trainer.model.set_keep_ratio(0.4)
    trainer.create_model_card(dataset_tags="me/noise")
    text = (tmp_path / "README.md").read_text()
    assert "top-1" not in text and "model-index" not in text


def test_a_source_that_is_no_repository_is_no_base_model(tmp_path):
    trainer = trainer_for(tmp_path)
    for source, named in (("facebook/deit-tiny-patch16-224", True), (str(tmp_path / "gone"), False), ("./x", False)):
        trainer.model.config._name_or_path = source
        trainer.create_model_card(license="mit")
        assert ("base_model" in (tmp_path / "README.md").read_text()) == named


def test_the_template_is_where_people_look_for_it():
    template = ROOT / "model_cards" / "template.md"
    assert template.read_text().startswith("---\n{{ card_data }}\n---")
