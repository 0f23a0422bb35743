# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`tune` on toy models: budgets are met, the model has what was found, and nothing is lost on the way."""

import copy
import dataclasses
import itertools
import json

import pytest
import torch
from methods import FEW, usual
from native_toys import MODELS, native_model, reduced_model
from pyramids import KEYS, pyramid, pyramid_images
from toys import assert_same_outputs, toy_images, toy_model

from hf_dynamicvit import REDUCERS, DynamicViTForImageClassification, reduce_tokens, tune
from hf_dynamicvit.model.reducers import is_adaptive
from hf_dynamicvit.tuning.objective import Objective, distance, divergence, label_divergence
from hf_dynamicvit.tuning.process import Search
from hf_dynamicvit.tuning.report import build_report
from hf_dynamicvit.tuning.result import Goal
from hf_dynamicvit.tuning.subject import Subject


QUICK = {"step": 8, "refinements": 6, "progress": False}


def found_by(model, **options):
    return tune(model, toy_images(6, seed=3), **{"fraction": 0.7, **QUICK, **options})


@usual(reducer=[*FEW, "diffrate"])
@pytest.mark.parametrize("reducer", sorted(REDUCERS))
def test_the_budget_is_met_and_nothing_by_name_is_better(reducer, tmp_path):
    model = toy_model(reducer=reducer)
    tuned = found_by(model)
    assert model.multiply_adds(toy_images(6, seed=3)) == tuned.multiply_adds <= 0.7 * tuned.dense_multiply_adds
    assert tuned.loss <= min([tuned.loss, *(point.loss for point in tuned.named.values())])
    assert tuned.measure == "kl" and tuned.loss >= 0
    model.save_pretrained(tmp_path)
    again = DynamicViTForImageClassification.from_pretrained(tmp_path).eval()
    if not is_adaptive(reducer):
        assert model.token_counts() == again.token_counts()
        each = REDUCERS[reducer].numbers_per_stage
        assert again.reducer.stage_counts(64) == tuned.counts[each - 1 :: each]
        assert again.config.stage_layers == tuned.layers[::each]
    assert_same_outputs(again(toy_images()), model(toy_images()))


def test_the_loss_that_is_told_is_that_of_the_model_which_is_left():
    model = toy_model(reducer="tome")
    dense = copy.deepcopy(model)
    dense.set_keep_ratio(1.0)
    tuned, images = found_by(model), toy_images(6, seed=3)
    with torch.no_grad():
        expected = divergence(model(images).logits, dense(images).logits).mean().item()
    assert tuned.loss == pytest.approx(expected, rel=1e-4)


def test_the_front_falls_from_everything_kept():
    tuned = found_by(toy_model(reducer="evit"), fraction=0.5)
    assert tuned.front[-1].loss == 0 and tuned.front[-1].cost == tuned.dense_multiply_adds
    assert all(a.cost < b.cost and a.loss > b.loss for a, b in itertools.pairwise(tuned.front))


@usual(reducer=["tome"], kind=["classifier"])
@usual(reducer=["tome"], key=["dynamicdinov2", "dynamicclip", "dynamicyolos"])
@pytest.mark.parametrize("key, kind", MODELS)
@pytest.mark.parametrize("reducer", ["tome", "topk"])
def test_every_model_of_every_family_is_tuned(key, kind, reducer):
    model = reduced_model(native_model(key, kind), key, kind, reducer).eval()
    tuned = found_by(model)
    assert tuned.measure == ("kl" if kind == "classifier" else "cosine")
    assert model.multiply_adds() == tuned.multiply_adds <= 0.7 * tuned.dense_multiply_adds


@pytest.mark.parametrize("reducer", ["tome", "diffrate", "dynamicvit", "asvit"])
@pytest.mark.parametrize("search", ["curves", "steps"])
def test_both_searches_take_every_kind_of_method(reducer, search):
    model = toy_model(reducer=reducer)
    tuned = found_by(model, search=search)
    assert tuned.settings["search"] == search and tuned.multiply_adds <= 0.7 * tuned.dense_multiply_adds
    usual_way = found_by(toy_model(reducer=reducer)).settings["search"]
    assert usual_way == ("curves" if reducer in ("tome", "diffrate") else "steps")


def test_a_model_that_was_reduced_in_place_is_tuned():
    model = reduce_tokens(native_model("dynamicdinov2", "model"), "tome").eval()
    tuned = found_by(model)
    assert model.token_counts() == tuned.counts


def test_images_of_another_size_than_the_models():
    model = toy_model(reducer="tome")
    images = toy_images(4, height=48, width=40)
    tuned = tune(model, images, fraction=0.7, **QUICK)
    assert tuned.num_patches == 120 and model.multiply_adds((48, 40)) == tuned.multiply_adds
    assert tuned.multiply_adds <= 0.7 * tuned.dense_multiply_adds


def test_what_was_learned_for_its_blocks_stays_in_them():
    tuned = found_by(toy_model(reducer="dynamicvit"))
    assert tuned.layers == tuned.searched == [1, 2, 3]


def test_what_is_dropped_and_what_is_merged_is_found_apart(tmp_path):
    model, images = toy_model(reducer="diffrate"), toy_images(6, seed=3)
    tuned = found_by(model, refinements=40)
    assert tuned.layers == [0, 0, 1, 1, 2, 2] and tuned.searched == tuned.layers
    pairs = [*zip(tuned.counts[::2], tuned.counts[1::2], strict=True)]
    assert model.reducer.stage_pairs(64) == pairs and model.config.keep_ratio is None
    entering = [64, *tuned.counts[1::2]]
    shares = {(a - p) / (a - m) for a, (p, m) in zip(entering, pairs, strict=False) if m < a}
    assert len(shares) > 1  # not those of an option for all blocks
    kept = model(images).kept.sum(-1)
    assert kept.shape == (6, 3)
    model.save_pretrained(tmp_path)
    assert DynamicViTForImageClassification.from_pretrained(tmp_path).reducer.stage_pairs(64) == pairs
    assert f"0: {pairs[0][0]}/{pairs[0][1]}" in build_report(tuned) and "blocks 0 to 2" in build_report(tuned)


def test_one_token_at_every_stage_is_not_everything():
    model = toy_model(reducer="topk")
    subject = Subject(model, toy_images())
    for counts, kept in (((64, 64, 1), [1]), ((64, 1, 1), [1]), ((1, 1, 1), [1])):
        cost = subject.multiply_adds(counts)
        subject.keep(counts)
        assert model.token_counts() == kept and model.multiply_adds() == cost


def test_a_budget_that_keeps_everything():
    model = toy_model(reducer="topk")
    tuned = found_by(model, fraction=1.0)
    assert tuned.loss == 0 and tuned.counts == [64] and tuned.multiply_adds == tuned.dense_multiply_adds


@pytest.mark.parametrize(
    "options, problem",
    [
        ({"fraction": None}, "give one of them"),
        ({"gmacs": 1.0}, "give one of them"),
        ({"fraction": 1.5}, r"fraction is 1\.5"),
        ({"fraction": None, "speedup": 0.9}, r"speedup is 0\.9; it must be above 1"),
        ({"fraction": None, "latency": -1.0}, "latency is -1; it must be above 0"),
        ({"fraction": None, "gmacs": 1e-9}, r"gmacs is 1e-09; no schedule of tome .* the nearest is 0\.\d+"),
        ({"fraction": 0.01}, r"fraction is 0\.01; no schedule of tome on this model meets it, the nearest is 0\.\d+"),
        ({"step": 0}, "step is 0"),
        ({"clock": "sun"}, "clock is 'sun'; it can be wall, cpu"),
        ({"search": "luck"}, "search is 'luck'; it can be curves, steps, or None"),
    ],
)
def test_what_cannot_be_met_is_refused_and_the_model_stays(options, problem):
    model = toy_model(reducer="tome")
    before, counts = model.config.to_dict(), model.token_counts()
    with pytest.raises(ValueError, match=problem):
        found_by(model, **options)
    assert model.config.to_dict() == before and model.token_counts() == counts


def test_the_nearest_that_is_named_is_met():
    with pytest.raises(ValueError, match="nearest is") as refusal:
        found_by(toy_model(reducer="tome"), fraction=0.01)
    found_by(toy_model(reducer="tome"), fraction=float(str(refusal.value).rsplit(" ", 1)[1].rstrip(".")))


def test_what_is_no_model_or_no_images_is_refused():
    with pytest.raises(ValueError, match=r"tune takes a reduced model. reduce_tokens\(model\) makes one"):
        tune(torch.nn.Linear(2, 2), toy_images(), fraction=0.7)
    for images in (torch.zeros(3, 32, 32), torch.zeros(0, 3, 32, 32), [1, 2]):
        with pytest.raises(ValueError, match="they must be a tensor"):
            tune(toy_model(reducer="tome"), images, fraction=0.7)


@usual(reducer=["tome"])
@pytest.mark.parametrize("reducer", ["tome", "asvit"])
def test_a_search_that_was_stopped_leaves_the_model_and_goes_on(reducer, tmp_path, monkeypatch):
    model, file = toy_model(reducer=reducer), tmp_path / "trials.jsonl"
    before, expected = model(toy_images()).logits, found_by(toy_model(reducer=reducer))
    real, left = Objective.losses, iter(range(5))

    def stops(self):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return real(self)

    monkeypatch.setattr(Objective, "losses", stops)
    with pytest.raises(KeyboardInterrupt):
        found_by(model, trials_file=file)
    assert torch.equal(model(toy_images()).logits, before)
    written = file.read_text().splitlines()
    assert len(written) == 6
    file.write_text("\n".join(written) + '\n{"counts": [6')  # cut off within a line
    again = []
    monkeypatch.setattr(Objective, "losses", lambda self: again.append(1) or real(self))
    tuned = found_by(model, trials_file=file)
    assert (tuned.counts, tuned.loss, tuned.trials) == (expected.counts, expected.loss, expected.trials)
    assert len(again) == expected.trials - 5


@pytest.mark.parametrize("reducer", ["tome", "diffrate", "dynamicvit", "asvit"])
def test_trials_of_another_budget_leave_the_model_as_it_is_told(reducer, tmp_path):
    file = tmp_path / "trials.jsonl"
    found_by(toy_model(reducer=reducer), fraction=0.5, trials_file=file)
    model = toy_model(reducer=reducer)
    tuned = found_by(model, trials_file=file)
    assert tuned == dataclasses.replace(found_by(toy_model(reducer=reducer)), front=tuned.front, trials=tuned.trials)
    assert model.multiply_adds(toy_images(6, seed=3)) == tuned.multiply_adds
    if not is_adaptive(reducer):
        each = REDUCERS[reducer].numbers_per_stage
        assert model.reducer.stage_counts(64) == tuned.counts[each - 1 :: each]


@pytest.mark.parametrize(
    "reducer, options",
    [
        ("tome", {"r": 4}),
        ("mctf", {"r": 4}),
        ("pitome", {"ratio": 0.9}),
        ("diffrate", {"counts": [[60, 58], [50, 40], [40, 40], [30, 20]]}),
        ("diffrate", {"search": 0.6}),
    ],
)
def test_a_search_that_was_stopped_leaves_the_counts_of_options(reducer, options, monkeypatch):
    model = toy_model(reducer=reducer, reducer_args=options)
    before, weights, counts = model(toy_images()).logits, [*model.state_dict()], model.token_counts()
    monkeypatch.setattr(Objective, "losses", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        found_by(model)
    assert torch.equal(model(toy_images()).logits, before)
    assert [*model.state_dict()] == weights and model.token_counts() == counts


def test_trials_of_another_model_or_other_images_are_refused(tmp_path):
    file = tmp_path / "trials.jsonl"
    found_by(toy_model(reducer="tome"), trials_file=file)
    with pytest.raises(ValueError, match=r"is of another search \(weights\)"):
        found_by(toy_model(reducer="tome", seed=1), trials_file=file)
    with pytest.raises(ValueError, match=r"\(images\)"):
        tune(toy_model(reducer="tome"), toy_images(6, seed=4), fraction=0.7, trials_file=file, **QUICK)
    with pytest.raises(ValueError, match=r"\(reducer\)"):
        found_by(toy_model(reducer="evit"), trials_file=file)


class Machine:
    """A machine on which a block takes its tokens, each decision 5, all else 10; the native model has no decisions."""

    def __init__(self, monkeypatch, rate=1.0):
        self.rate = rate
        monkeypatch.setattr(Search, "turns", lambda search, counts: self.turns(search, counts))
        monkeypatch.setattr(Search, "make_table", lambda search: self.make_table())

    def seconds(self, counts, decisions):
        return sum(attention + mlp for attention, mlp in counts) + 5 * decisions + 10

    def turns(self, search, counts):
        blocks = search.subject.block_counts(counts)
        decided = len(set(counts) - {64})
        return [self.seconds([(64, 64)] * 4, 0), self.rate * self.seconds(blocks, decided)]

    def make_table(self):
        machine = self

        class Table:
            scale = 1.0

            def predict(self, counts):  # one that does not know of decisions
                return self.scale * machine.seconds(counts, 0)

        return Table()


@pytest.mark.parametrize("rate", [0.5, 1.0, 2.0])
def test_a_latency_is_reached_though_the_table_is_wrong(monkeypatch, rate):
    machine = Machine(monkeypatch, rate)
    everything = rate * machine.seconds([(64, 64)] * 4, 0)
    tuned = found_by(toy_model(reducer="topk"), fraction=None, latency=800 * everything, batch_size=2)
    assert tuned.unit == "seconds" and tuned.latency.batch == 2
    assert tuned.latency.reached == pytest.approx(0.8 * everything, rel=0.05)
    assert tuned.latency.dense == machine.seconds([(64, 64)] * 4, 0)


@pytest.mark.parametrize("reached, said", [(1.2, "20% slower"), (0.8, "20% faster"), (1.03, None)])
def test_a_latency_that_was_missed_is_told(monkeypatch, reached, said):
    Machine(monkeypatch)
    tuned = found_by(toy_model(reducer="topk"), fraction=None, speedup=1.25)
    missed = dataclasses.replace(tuned.latency, reached=reached * tuned.latency.asked)
    report = build_report(dataclasses.replace(tuned, latency=missed))
    assert (f"That is {said} than asked for" in report) if said else ("than asked for" not in report)


def test_a_speedup_is_over_the_native_model(monkeypatch):
    Machine(monkeypatch)
    tuned = found_by(toy_model(reducer="topk"), fraction=None, speedup=1.25)
    assert tuned.latency.dense / tuned.latency.reached == pytest.approx(1.25, rel=0.05)


def test_a_latency_measured_here():
    """Whatever this machine is busy with: the measurement is told, of what was found."""
    tuned = found_by(toy_model(reducer="topk"), fraction=None, latency=1e6, clock="cpu")
    assert tuned.counts == [64] and tuned.latency.reached > 0 and tuned.latency.dense > 0


def test_measures():
    logits, other = torch.tensor([[1.0, 2.0, 0.5]]), torch.tensor([[0.5, 2.5, 0.0]])
    expected = torch.nn.functional.kl_div(logits.log_softmax(-1), other.softmax(-1), reduction="batchmean")
    assert divergence(logits, other).item() == pytest.approx(expected.item(), rel=1e-6)
    probability, target = torch.tensor([[1.0, -2.0]]).sigmoid(), torch.tensor([[0.5, -1.0]]).sigmoid()
    expected = target * (target / probability).log() + (1 - target) * ((1 - target) / (1 - probability)).log()
    found = label_divergence(torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5, -1.0]]))
    assert found.item() == pytest.approx(expected.sum().item(), rel=1e-5)
    assert distance(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0]])).item() == pytest.approx(1 - 0.5**0.5)
    features = torch.randn(64, 384, generator=torch.Generator().manual_seed(0))
    assert distance(features, features).min() == 0  # rounding makes some of them negative


def test_a_goal_is_what_was_asked_for():
    assert Goal.read(gmacs=1.5, fraction=None).budget(4e9) == 1.5e9
    assert Goal.read(fraction=0.5).budget(4e9) == 2e9
    assert Goal.read(latency=20.0).budget(0.1) == 0.02 and Goal.read(speedup=2.0).budget(0.1) == 0.05


def test_blocks_that_cannot_reduce_or_gain_nothing_by_it_are_left_out():
    assert Subject(toy_model(reducer="evovit"), toy_images()).layers == [1, 2]
    assert Subject(toy_model(reducer="evovit", reducer_args={"pooling": "class"}), toy_images()).layers == [1, 2, 3]
    assert Subject(toy_model(reducer="topk"), toy_images()).layers == [0, 1, 2]
    assert Subject(toy_model(reducer="idlevit"), toy_images()).layers == [0, 1, 2, 3]


@pytest.mark.parametrize("key", KEYS)
def test_every_block_of_the_reduced_stage_of_a_pyramid_is_searched(key):
    model, images = pyramid(key, reducer="idlevit"), pyramid_images(6)
    tuned = tune(model, images, fraction=0.85, **QUICK)
    assert tuned.searched == [0, 1, 2, 3, 4, 5]  # there are 4 stages, and 6 blocks in this one
    assert model.multiply_adds() == tuned.multiply_adds <= 0.85 * tuned.dense_multiply_adds
    assert len({*tuned.named["linear"].counts}) == 6  # it falls in each of them


def test_the_report_tells_all_of_it():
    tuned = found_by(toy_model(reducer="tome"))
    report = build_report(tuned)
    assert f"({tuned.fraction:.3f}), KL to the dense model {tuned.loss:.4f} on 6 images" in report
    assert "| linear |" in report and "| front |" in report and "left at blocks 0 to 2" in report
    assert json.loads(json.dumps(tuned.as_dict()))["counts"] == tuned.counts
