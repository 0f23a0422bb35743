# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Images to model inputs: decoding, channels, augmentation with and without torchvision, mixing, accuracy."""

import ast
import io
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image
from torch.testing import assert_close
from toys import toy_model
from trainers import arguments
from transformers import EvalPrediction, set_seed
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
from transformers.models.deit.image_processing_pil_deit import DeiTImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

import hf_dynamicvit
from hf_dynamicvit import DynamicViTTrainer
from hf_dynamicvit.data import augmentation
from hf_dynamicvit.data.augmentation import MixCollator
from hf_dynamicvit.data.preparation import read_preparation
from hf_dynamicvit.data.seeded import SeededImages
from hf_dynamicvit.data.transforms import ImageTransform, random_resized_crop, read_image, target_size
from hf_dynamicvit.training.metrics import compute_accuracy


@pytest.fixture(params=["plain", "full"])
def level(request):
    if request.param == "full":
        pytest.importorskip("torchvision")
    return request.param


@pytest.fixture
def no_torchvision(monkeypatch):
    monkeypatch.setattr(augmentation, "has_torchvision", lambda: False)


def processor_of(size=32, channels=3, **options):
    means = {"image_mean": [0.5] * channels, "image_std": [0.5] * channels}
    return ViTImageProcessorPil(size={"height": size, "width": size}, **(means | options))


def noise(height=40, width=48, mode="RGB", seed=0) -> Image.Image:
    channels = len(mode)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(pixels.squeeze())


def batch_of(*images, **columns) -> dict[str, list]:
    return {"image": list(images), "label": list(range(len(images))), **columns}


def same_images(count=16) -> Dataset:
    """The same image again and again: what differs is the augmentation."""
    features = Features({"image": ImageFeature(decode=False), "label": ClassLabel(num_classes=5)})
    file = io.BytesIO()
    noise().save(file, "PNG")
    images = [{"bytes": file.getvalue(), "path": None}] * count
    return Dataset.from_dict({"image": images, "label": [index % 5 for index in range(count)]}, features=features)


def trainer_with(folder, train, **options):
    collator = options.pop("train_collator", None)
    settings = {"remove_unused_columns": False, "eval_strategy": "no"} | options
    return DynamicViTTrainer(
        toy_model(problem_type="single_label_classification"),
        arguments(folder, **settings),
        train_dataset=train,
        eval_dataset=same_images(6).with_transform(ImageTransform(processor_of())),
        train_collator=collator,
        compute_metrics=compute_accuracy,
    )


def test_undecoded_and_decoded_images_are_the_same(tmp_path):
    image = noise()
    image.save(tmp_path / "0.png")
    encoded = {"bytes": (tmp_path / "0.png").read_bytes(), "path": None}
    transform = ImageTransform(processor_of())
    outputs = transform(batch_of(image, encoded, {"bytes": None, "path": str(tmp_path / "0.png")}))
    first, *others = outputs["pixel_values"]
    assert all(torch.equal(first, other) for other in others)
    assert outputs["labels"] == [0, 1, 2] and first.shape == (3, 32, 32)


def test_images_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    image = noise(40, 20)
    image.save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as opened:
        for row in (opened, {"bytes": None, "path": str(tmp_path / "turned.png")}):
            upright = read_image(row)
            assert upright.size == (40, 20)
            assert np.array_equal(np.asarray(upright), np.asarray(image.transpose(Image.Transpose.ROTATE_270)))


@pytest.mark.parametrize("image", [{"bytes": b"", "path": None}, {"bytes": None, "path": "no.png"}, None])
def test_unreadable_images_are_named(image):
    name = r"the image no\.png" if image and image["path"] else r"the image in row 7 of split 'train'"
    with pytest.raises(ValueError, match=rf"Cannot read {name}: ."):
        ImageTransform(processor_of())(batch_of(image, picture_source=["row 7 of split 'train'"]))
    with pytest.raises(ValueError, match=r"Cannot read the image (no\.png|in a row of the data set): ."):
        ImageTransform(processor_of())(batch_of(image))


def test_a_image_that_was_opened_has_the_name_of_its_file(tmp_path):
    noise().save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:1000])
    with (
        Image.open(tmp_path / "cut.png") as cut,
        pytest.raises(ValueError, match=rf"Cannot read the image {tmp_path}/cut\.png: "),
    ):
        ImageTransform(processor_of())(batch_of(noise(), cut))


def test_paths_are_images_whatever_they_are_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("http:a.png", "[1]*?.png"):
        noise().save(name, "PNG")
        for path in (name, Path(name), {"path": name, "bytes": None}):
            assert np.array_equal(np.asarray(read_image(path)), np.asarray(noise()))
    for other in (np.zeros((8, 8, 3)), 3, {"file": "a.png"}, [name]):
        with pytest.raises(ValueError, match=f"PIL image or the path of a file, and this is a {type(other).__name__}"):
            read_image(other)


@pytest.mark.parametrize("channels", [1, 3])
def test_one_mean_for_all_channels(channels):
    """Transformers takes a number in the place of a list."""
    one, each = processor_of(channels=channels, image_mean=0.4, image_std=0.3), processor_of(channels=channels)
    each.image_mean, each.image_std = [0.4] * channels, [0.3] * channels
    image = noise(mode="RGB" if channels == 3 else "L")
    pixels = [ImageTransform(each_, num_channels=channels)(batch_of(image))["pixel_values"] for each_ in (one, each)]
    assert torch.equal(pixels[0][0], pixels[1][0]) and pixels[0][0].shape == (channels, 32, 32)
    assert read_preparation(one) == read_preparation(each) != read_preparation(processor_of(channels=channels))


def test_one_mean_for_all_channels_fills_what_is_uncovered():
    pytest.importorskip("torchvision")
    transform = ImageTransform(processor_of(image_mean=0.4, image_std=0.3), augmentation="full")
    assert transform(batch_of(noise()))["pixel_values"][0].shape == (3, 32, 32)


def test_columns_that_the_trainer_takes_away(tmp_path):
    train = same_images().with_transform(ImageTransform(processor_of()))
    with pytest.raises(ValueError, match=r"no column 'image', only label; .* remove_unused_columns=False"):
        trainer_with(tmp_path, train, remove_unused_columns=True).train()


def test_prediction_needs_no_labels(tmp_path):
    labelled = same_images(4)
    unlabelled = labelled.remove_columns("label")
    trainer = trainer_with(tmp_path, None)
    found = [trainer.predict(data.with_transform(ImageTransform(processor_of()))) for data in (labelled, unlabelled)]
    assert found[1].label_ids is None and "test_accuracy" not in found[1].metrics
    assert all(np.array_equal(a, b) for a, b in zip(*(prediction.predictions for prediction in found), strict=True))
    with pytest.raises(ValueError, match="Training needs 'labels'"):
        trainer_with(tmp_path, unlabelled.with_transform(ImageTransform(processor_of()))).train()


def test_more_than_eight_bits_are_refused():
    """PIL would make nearly every pixel white."""
    deep = Image.fromarray(np.full((8, 8), 3000, dtype=np.uint16))
    with pytest.raises(ValueError, match="mode 'I;16'; convert it to 8 bits"):
        read_image(deep)


@pytest.mark.parametrize("channels, mode", [(1, "L"), (3, "RGB"), (4, "RGBA")])
@pytest.mark.parametrize("source", ["L", "RGB", "RGBA"])
def test_channels_of_the_model(channels, mode, source):
    image = noise(32, 32, source)
    options = {"num_channels": channels}
    (pixel_values,) = ImageTransform(processor_of(channels=channels), **options)(batch_of(image))["pixel_values"]
    expected = torch.from_numpy(np.array(image.convert(mode))).reshape(32, 32, channels).permute(2, 0, 1)
    assert_close(pixel_values, expected / 127.5 - 1)
    cropped = ImageTransform(processor_of(channels=channels), augmentation="plain", **options)(batch_of(image))
    assert cropped["pixel_values"][0].shape == (channels, 32, 32)


@pytest.mark.parametrize(
    "options, match",
    [
        ({"num_channels": 2}, "num_channels is 2; images have 1, 3, 4"),
        ({"num_channels": 1}, r"image_mean \[0\.5, 0\.5, 0\.5\] and num_channels is 1.*of 1 values.*num_channels=3"),
        ({"augmentation": "best"}, "augmentation is 'best'; it can be 'none', 'plain', 'full', 'auto'"),
        ({"augmentation": "plain", "crop": 0.5}, "augmentation 'plain' crops and flips by itself"),
        ({"augmentation": "plain", "scale": 0.0}, r"scale is 0\.0"),
    ],
)
def test_options_that_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        ImageTransform(processor_of(), **options)


@pytest.mark.parametrize(
    "options, match",
    [
        ({"randaugment_magnitude": 11}, "randaugment_magnitude is 11"),
        ({"color_jitter": -0.1}, r"color_jitter is -0\.1"),
        ({"random_erasing": 2}, "random_erasing is 2"),
    ],
)
def test_options_of_full_that_are_refused(options, match):
    pytest.importorskip("torchvision")
    with pytest.raises(ValueError, match=match):
        ImageTransform(processor_of(), augmentation="full", **options)
    with pytest.raises(ValueError, match="do_resize is off"):
        ImageTransform(processor_of(do_resize=False), augmentation="full")


def test_full_takes_no_alpha_channel(monkeypatch, warnings_text):
    monkeypatch.setattr(augmentation, "has_torchvision", lambda: True)
    with pytest.raises(ValueError, match="takes 1 or 3 channels, num_channels is 4; 'plain'"):
        ImageTransform(processor_of(channels=4), num_channels=4, augmentation="full")
    assert ImageTransform(processor_of(channels=4), num_channels=4, augmentation="auto").crop == 0.08
    assert "augmentation is 'plain'" in warnings_text()


def test_without_torchvision_it_is_said(no_torchvision, warnings_text):
    for build in (lambda: ImageTransform(processor_of(), augmentation="full"), lambda: MixCollator(5)):
        with pytest.raises(
            ValueError, match=r'needs torchvision: pip install "hf-dynamicvit\[vision\]".*works without'
        ):
            build()
    transform = ImageTransform(processor_of(), augmentation="auto")
    assert transform.augment is None and transform.flip and transform.crop == 0.08
    assert warnings_text().count('pip install "hf-dynamicvit[vision]"') == 1


def test_auto_is_full_with_torchvision(warnings_text):
    pytest.importorskip("torchvision")
    assert ImageTransform(processor_of(), augmentation="auto").augment is not None
    assert not warnings_text()


def test_torchvision_is_imported_where_it_is_used():
    for path in Path(hf_dynamicvit.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not any((name or "").startswith("torchvision") for name in names), path


@pytest.mark.parametrize(
    "processor, size",
    [
        (processor_of(24), (24, 24)),
        (ViTImageProcessorPil(size={"height": 20, "width": 30}), (20, 30)),
        (DeiTImageProcessorPil(), (224, 224)),
        (ConvNextImageProcessorPil(size={"shortest_edge": 32}), (32, 32)),
        (ViTImageProcessorPil(do_resize=False), None),
    ],
)
def test_training_images_have_the_size_of_the_processor(processor, size):
    assert target_size(processor) == size
    for transform in (ImageTransform(processor, crop=0.5), ImageTransform(processor, augmentation="plain")):
        (pixel_values,) = transform(batch_of(noise(40, 64)))["pixel_values"]
        assert pixel_values.shape[1:] == (size or (40, 64))


def test_a_crop_keeps_its_aspect_ratio():
    """A wide image is not squashed: the part is as square as what it becomes."""
    random.seed(0)
    ramp = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (64, 1)))  # value = column of 256
    for _ in range(20):
        crop = np.asarray(random_resized_crop(ramp, 0.02, (32, 32))).astype(int)
        columns = crop[:, -1].max() - crop[:, 0].min()
        assert columns <= 64 * 4 / 3 + 2
        tall = random_resized_crop(ramp.transpose(Image.Transpose.ROTATE_90), 0.02, (32, 32))
        rows = np.asarray(tall).astype(int)
        assert rows.max() - rows.min() <= 64 * 4 / 3 + 2


def test_the_crop_of_a_square_is_the_same_as_before_and_at_once():
    """Cropping to the processor's size gives what cropping and then resizing to the same size gave."""
    image = noise(32, 32)
    random.seed(1)
    expected = processor_of()([random_resized_crop(image, 0.3)], return_tensors="pt")["pixel_values"][0]
    random.seed(1)
    (actual,) = ImageTransform(processor_of(), crop=0.3)(batch_of(image))["pixel_values"]
    assert torch.equal(actual, expected)


def test_augmentation_repeats_with_a_seed(level):
    transform = ImageTransform(processor_of(), augmentation=level, color_jitter=0.4)
    transform = pickle.loads(pickle.dumps(transform))  # as a worker that is spawned has it
    runs = []
    for seed in (0, 0, 1):
        set_seed(seed)
        runs.append(torch.stack(transform(batch_of(*[noise()] * 6))["pixel_values"]))
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])
    assert runs[0].shape == (6, 3, 32, 32) and len(runs[0].unique(dim=0)) == 6


def epoch_of(folder, level, workers):
    train = same_images().with_transform(ImageTransform(processor_of(), augmentation=level))
    trainer = trainer_with(folder, train, dataloader_num_workers=workers)
    set_seed(3)
    return torch.cat([batch["pixel_values"] for batch in trainer.get_train_dataloader()])


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_differ_and_repeat(tmp_path, level, workers):
    first = epoch_of(tmp_path, level, workers)
    assert len(first.unique(dim=0)) == len(first) == 16
    assert torch.equal(first, epoch_of(tmp_path, level, workers))


@pytest.mark.parametrize("channels, mode", [(1, "L"), (3, "RGB")])
def test_every_operation_of_full(channels, mode):
    pytest.importorskip("torchvision")
    options = {"num_channels": channels, "augmentation": "full", "random_erasing": 1.0, "color_jitter": 0.4}
    transform = ImageTransform(processor_of(channels=channels), **options)
    torch.manual_seed(0)
    outputs = torch.stack(transform(batch_of(*[noise(mode=mode)] * 100))["pixel_values"])
    assert outputs.shape == (100, channels, 32, 32) and outputs.isfinite().all()
    inside = ((outputs >= -1) & (outputs <= 1)).all(dim=1).flatten(1).float().mean(dim=1)
    assert inside.max() < 1  # noise erases a part of every image, and reaches beyond what pixels can be
    unnormalised = ImageTransform(processor_of(channels=channels, do_normalize=False), **options)
    assert unnormalised(batch_of(noise()))["pixel_values"][0].shape == (channels, 32, 32)


def test_the_options_of_full_turn_it_down():
    pytest.importorskip("torchvision")
    options = {"scale": 1.0, "randaugment_magnitude": 0, "random_erasing": 0.0}
    transform = ImageTransform(processor_of(), augmentation="full", **options)
    torch.manual_seed(0)
    outputs = transform(batch_of(*[noise(32, 32)] * 20))["pixel_values"]
    (whole,) = ImageTransform(processor_of())(batch_of(noise(32, 32)))["pixel_values"]
    near = [min((output - whole).abs().mean(), (output - whole.flip(-1)).abs().mean()) for output in outputs]
    assert max(near) == 0  # no crop of the whole area but the square itself fits


def items_of(count, labels=None):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, 3, 16, 16, generator=generator)
    labels = torch.arange(count) % 5 if labels is None else labels
    return [{"pixel_values": image, "labels": label} for image, label in zip(images, labels, strict=True)]


@pytest.mark.parametrize("options", [{}, {"cutmix": 0.0}, {"mixup": 0.0}, {"switch_probability": 1.0}])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_mixing_gives_distributions(options, count):
    pytest.importorskip("torchvision")
    torch.manual_seed(0)
    items = items_of(count)
    batch = MixCollator(5, **options)(items)
    assert batch["labels"].shape == (count, 5) and batch["labels"].dtype == torch.float32
    assert_close(batch["labels"].sum(dim=1), torch.ones(count))
    original = torch.stack([item["pixel_values"] for item in items])
    assert batch["pixel_values"].shape == original.shape
    if "cutmix" in options and count > 1:  # mixup: the same weights for images and labels
        weights = batch["labels"][:, :count] if count < 5 else batch["labels"]
        assert_close(batch["pixel_values"], torch.einsum("bi,ichw->bchw", weights, original))


def test_mixing_now_and_then():
    pytest.importorskip("torchvision")
    torch.manual_seed(0)
    items = items_of(4)
    whole = MixCollator(5, probability=0.0)(items)
    assert torch.equal(whole["labels"], torch.eye(5)[:4])
    assert torch.equal(whole["pixel_values"][2], items[2]["pixel_values"])
    mixed = [MixCollator(5, probability=0.5)(items)["labels"].max() < 1 for _ in range(40)]
    assert 5 < sum(mixed) < 35
    soft = MixCollator(5)(items_of(4, torch.full((4, 5), 0.2)))
    assert_close(soft["labels"], torch.full((4, 5), 0.2))


@pytest.mark.parametrize(
    "options, match",
    [
        ({"mixup": 0, "cutmix": 0}, "mixup is 0 and cutmix 0"),
        ({"mixup": -1}, "mixup is -1"),
        ({"probability": 1.5}, r"probability is 1\.5"),
        ({"switch_probability": -1}, "switch_probability is -1"),
    ],
)
def test_mixing_out_of_range(options, match):
    with pytest.raises(ValueError, match=match):
        MixCollator(5, **options)


def test_only_training_is_mixed(tmp_path):
    pytest.importorskip("torchvision")
    train = same_images(10).with_transform(ImageTransform(processor_of(), augmentation="full"))
    options = {"train_collator": MixCollator(5), "label_smoothing_factor": 0.1, "max_steps": 2}
    trainer = trainer_with(tmp_path, train, **options)
    assert next(iter(trainer.get_train_dataloader()))["labels"].shape == (4, 5)
    assert next(iter(trainer.get_eval_dataloader()))["labels"].shape == (6,)
    trainer.train()
    assert "eval_accuracy" in trainer.evaluate()


def test_a_collator_of_training_takes_the_place_of_the_other(tmp_path):
    train = same_images(8).with_transform(ImageTransform(processor_of(), crop=0.5, flip=True))
    trainer = trainer_with(tmp_path, train, train_collator=lambda items: "training")
    loader = trainer.get_train_dataloader()
    assert loader.collate_fn([]) == "training"
    assert trainer.get_eval_dataloader().collate_fn is trainer.data_collator
    trainer = trainer_with(tmp_path, train)
    assert trainer.get_train_dataloader().collate_fn is trainer.data_collator


def test_accuracy_of_classes_and_distributions():
    logits = np.array([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0], [0.0, 2.0, 1.0], [1.0, 0.0, 0.0]])
    classes = np.array([0, 2, 1, 1])
    soft = np.array([[0.6, 0.4, 0.0], [0.1, 0.0, 0.9], [0.2, 0.5, 0.3], [0.2, 0.8, 0.0]])
    assert compute_accuracy(EvalPrediction(logits, classes)) == {"accuracy": 0.75}
    assert compute_accuracy(EvalPrediction(logits, soft)) == {"accuracy": 0.75}


class Noisy(torch.utils.data.Dataset):
    """Items that are all draws: of Python's random numbers and of torch's."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return {"pixel_values": torch.rand(3) + random.random(), "labels": index % 2}


def test_draws_depend_on_seed_epoch_and_image_alone():
    images = SeededImages(Noisy(), seed=1)
    state = random.getstate(), torch.random.get_rng_state()
    first = [images[index]["pixel_values"] for index in range(8)]
    assert random.getstate() == state[0] and torch.equal(torch.random.get_rng_state(), state[1])
    torch.rand(5)
    assert all(torch.equal(images[index]["pixel_values"], first[index]) for index in reversed(range(8)))
    assert len({tuple(values.tolist()) for values in first}) == 8
    images.set_epoch(1)
    assert not torch.equal(images[0]["pixel_values"], first[0])
    assert not torch.equal(SeededImages(Noisy(), seed=2)[0]["pixel_values"], first[0])


def test_workers_that_stay_draw_anew_in_each_epoch():
    images = SeededImages(Noisy(), seed=1)
    loader = torch.utils.data.DataLoader(images, batch_size=4, num_workers=2, persistent_workers=True)
    epochs = []
    for epoch in range(2):
        images.set_epoch(epoch)
        epochs.append(torch.cat([batch["pixel_values"] for batch in loader]))
        assert torch.equal(epochs[epoch], torch.stack([images[index]["pixel_values"] for index in range(8)]))
    assert not torch.equal(*epochs)


def test_the_same_batch_is_mixed_in_the_same_way():
    pytest.importorskip("torchvision")
    images = [{"pixel_values": torch.rand(3, 8, 8), "labels": index % 2, "draw": 7 + index} for index in range(4)]
    collate = MixCollator(2)
    batches = [collate([dict(item) for item in images]) for _ in range(2)]
    assert set(batches[0]) == {"pixel_values", "labels"}
    assert all(torch.equal(batches[0][name], batches[1][name]) for name in batches[0])
