# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The commands as a user types them."""

import dataclasses
import json
import shlex
import subprocess
import sys

import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification, TrainingArguments

from hf_dynamicvit import DynamicViTConfig, DynamicViTForImageClassification, __version__
from hf_dynamicvit.commands import quickstart_run
from hf_dynamicvit.commands.cli import COMMANDS, command_parser, main
from hf_dynamicvit.commands.ranges import Range, as_option
from hf_dynamicvit.commands.train import trainer_option_names
from hf_dynamicvit.commands.train_arguments import parse
from hf_dynamicvit.commands.train_help import SECTIONS
from hf_dynamicvit.commands.train_options import DataArguments, ModelArguments, option_names
from hf_dynamicvit.commands.train_ranges import RANGES
from hf_dynamicvit.training.arguments import DynamicViTTrainingArguments
from hf_dynamicvit.training.recipes import ALWAYS


MODEL = ["--model", "m"]

every_command = pytest.mark.parametrize("name", COMMANDS)


def printed(arguments, capsys) -> tuple[int, str, str]:
    """The exit status of `hf-dynamicvit arguments`, standard output and standard error."""
    capsys.readouterr()
    try:
        status = main(arguments)
    except SystemExit as stop:
        status = stop.code
    return status, *capsys.readouterr()


def in_one_line(text: str) -> str:
    return " ".join(text.split())


def test_version(capsys):
    assert printed(["--version"], capsys) == (0, f"hf-dynamicvit {__version__}\n", "")


def test_the_commands_are_listed(capsys):
    """With and without --help; without torch, which takes seconds to import."""
    status, out, err = printed(["--help"], capsys)
    assert status == 0 and not err
    listed = out[out.index("commands:") : out.index("examples:")]
    assert [line.split()[0] for line in listed.splitlines()[1:-1]] == [*COMMANDS]
    assert next(iter(COMMANDS)) == "quickstart"
    assert printed([], capsys) == (2, "", out)
    program = "import sys; from hf_dynamicvit.commands.cli import main\ntry: main(['--help'])\n"
    program += "finally: print([*sys.modules])"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    modules = run.stdout.splitlines()[-1]
    assert (
        "'hf_dynamicvit.commands.cli'" in modules
        and "'torch'" not in modules
        and "'transformers.trainer'" not in modules
    )


@every_command
def test_help_tells_all(name, capsys):
    """Every option with what it does and its default, on lines that fit, and nothing twice."""
    parser = command_parser(name)
    status, out, err = printed([name, "--help"], capsys)
    assert status == 0 and not err
    usage, description = out.split("\n\n")[:2]
    assert usage.startswith(f"usage: hf-dynamicvit {name}") and "\n" not in usage
    assert len(description) > 40 and description.endswith(".")
    assert all(len(line) <= 80 for line in out[: out.index("\nexamples:")].splitlines()[1:])
    for action in parser._actions:
        assert action.help, action.dest
    if name == "train":
        return
    text = in_one_line(out)
    for action in parser._actions:
        first = (*action.option_strings, action.metavar or action.dest)[0]
        assert first in out or first.upper() in out, action.dest
        if isinstance(action.default, int | float) and not isinstance(action.default, bool):
            assert f"default: {action.default}" in text, action.dest


@every_command
def test_examples_are_as_printed(name, capsys):
    """Each is one that the command takes, after a line that says what it does."""
    out = printed([name, "--help"], capsys)[1]
    examples = out[out.index("examples:\n") :].replace("\\\n", " ").splitlines()[1:]
    assert examples[0].strip().startswith("# ") and all(len(line) < 125 for line in out.splitlines())
    lines = [line.strip() for line in examples if line.strip().startswith("hf-dynamicvit")]
    assert lines
    for line in lines:
        words = shlex.split(line.split(" > ")[0])
        assert words[:2] == ["hf-dynamicvit", name]
        command_parser(name).parse_args(words[2:])


def test_training_shows_its_own_options_first(capsys):
    """Those of TrainingArguments that are seldom needed with --help-all only."""
    out, everything = printed(["train", "--help"], capsys)[1], printed(["train", "--help-all"], capsys)[1]
    shown = [name for names in SECTIONS.values() for name in names]
    assert len(shown) == len({*shown}) and "--torch-compile" not in out
    for name in option_names(DynamicViTTrainingArguments):
        option = "--no-distill" if name == "distill" else as_option(name)
        assert f"  {option}" in everything and (name in shown) == (f"  {option}" in out), name
    assert "  --no-distill  " in out and "--keep_ratio" not in out + everything and "--help-all" in out
    assert "(default: 0)" in out and "dynamicvit-output" in out and "default: None" not in everything


@pytest.mark.parametrize("reducer", ["dynamicvit", "evit", "none"])
def test_training_tells_the_defaults_that_it_uses(reducer, tmp_path):
    """Of every option that the help shows a default of, and of those that depend on the method."""
    DynamicViTConfig().save_pretrained(tmp_path)
    words = ["--model", str(tmp_path), "--dataset", "d", "--reducer", reducer, "--use-cpu"]
    used = {name: value for group in parse(words) for name, value in vars(group).items()}
    for action in command_parser("train")._actions:
        if action.dest in used and action.default is not None and action.dest not in ("reducer", "use_cpu"):
            value = used[action.dest]
            assert action.default == value or (action.dest, value) == ("report_to", []), action.dest
        if action.dest in ALWAYS:
            told = action.help.split("Default: ")[1].removesuffix(".").split("; ")
            meant = {"dynamicvit": "predictors", "none": "none"}.get(reducer, "only the first")
            wanted = next((part for part in told[1:] if meant in part), told[0]).split()[0]
            value = used[action.dest]
            assert wanted == value if isinstance(value, str) else float(wanted) == value, action.dest


@every_command
def test_help_and_typing_errors_need_no_torch(name):
    """They are there at once: importing torch and Transformers takes seconds."""
    program = (
        "import sys; from hf_dynamicvit.commands.cli import main\n"
        f"for words in (['{name}', '--help'], ['{name}', '--no-such-option']):\n"
        "    try: main(words)\n    except SystemExit: pass\n"
        "print({'torch', 'transformers', 'datasets', 'numpy'} & {*sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout.splitlines()[-1] == "set()" and "there is no option --no-such-option" in run.stderr


@every_command
def test_nothing_is_abbreviated(name, capsys):
    """An abbreviation is the name of another option in another command, or in the next version."""
    options = command_parser(name)._option_string_actions
    for option in options:
        short = option[:-1]
        if option.startswith("--") and len(short) > 3 and short not in options:
            status, _, err = printed([name, short, "1"], capsys)
            assert status == 2 and f"there is no option {short}" in err, option


def test_the_options_of_training_arguments_are_all_known():
    assert trainer_option_names() == option_names(TrainingArguments)


def test_names_people_type_for_options_of_training(tmp_path):
    DynamicViTConfig().save_pretrained(tmp_path)
    words = ["--model", str(tmp_path), "--dataset", "d", "--use-cpu", "--reducer-layers", "1", "2"]
    words += ["--output", "o", "--epochs=7", "--batch-size", "3", "--lr", "1e-4", "--keep-ratio", "0.5"]
    model, _, training = parse(command_parser("train").parse_args(words).argv)
    assert (training.output_dir, training.num_train_epochs) == ("o", 7.0)
    assert (training.per_device_train_batch_size, training.learning_rate) == (3, 1e-4)
    assert (model.keep_ratio, model.reducer_layers) == ([0.5], [1, 2])


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["trian"], "there is no command 'trian'; did you mean train?"),
        (["magic"], "there is no command 'magic'; there are quickstart, train, "),
        (["--verison"], "there is no option --verison; did you mean --version?"),
        (["-x"], "there is no option -x"),
        (["convert"], "the following arguments are required: source, --output"),
        (["quickstart", "--otput", "x"], "there is no option --otput; did you mean --output?"),
        (["quickstart", "out"], "'out' is one argument too many; hf-dynamicvit quickstart --help"),
        (["quickstart", "--seed", "one"], "invalid int value: 'one'"),
        (["convert", "--source", "m"], "there is no --source; type the source itself"),
        (["evaluate", "m", "--model", "n"], "'m' and --model both name a model; type one"),
        (["evaluate", "m", "n", "--dataset", "d"], "'n' is one argument too many"),
        (["export", "m", "--model", "n", "--format", "onnx", "--output", "o"], "'m' and --model both name a model"),
        (["export", "m", "--fromat=onnx"], "there is no option --fromat; did you mean --format?"),
        (["export", "m", "--format", "onx", "--output", "m.onnx"], "there is no 'onx'; did you mean onnx?"),
        (
            ["export", "m", "--format", "pdf", "--output", "m.pdf"],
            "there is no 'pdf'; there are onnx, openvino, torch-export",
        ),
        (["convert", "m.pth", "--output", "o", "--reducer", "magic"], "there is no 'magic'; there are algm, "),
        (["convert", "m.pth", "--output", "o", "--reducer-args", "r=8"], "'r=8' is not a JSON object such as"),
        (["train", "--modle", "m"], "there is no option --modle; did you mean --model?"),
        (["train", "--model", "m"], "the following arguments are required: --dataset"),
        (["train", "--model", "m", "--dataset", "d", "--optim", "adamw"], "'adamw'; did you mean adamw_torch?"),
        (["train", "m", "--dataset", "d", "--reducer", "dynamcvit"], "'dynamcvit'; did you mean dynamicvit?"),
        (["train", "m", "--dataset", "d", "--recipe", "dynamicvit"], "did you mean dynamicvit-deit-small?"),
        (
            ["train", "m", "--dataset", "d", "--unreadable", "ignore"],
            "there is no 'ignore'; there are stop, skip",
        ),
        (["train", "m", "--dataset", "d", "--augmentation", "heavy"], "there is no 'heavy'; there are none, plain,"),
        (["train", "m", "--dataset", "d", "--teacher-dtype", "float"], "'float'; did you mean float32?"),
        (["train", "m", "--dataset", "d", "--batchsize", "8"], "there is no option --batchsize; did you mean --batch"),
        (["completion", "fish"], "there is no 'fish'; there are bash, zsh, tcsh"),
    ],
)
def test_what_is_mistyped_is_answered_with_what_to_type(arguments, message, capsys):
    status, out, err = printed(arguments, capsys)
    assert status == 2 and not out
    usage, error = err.splitlines()
    assert usage.startswith("usage: hf-dynamicvit ") and error.startswith("hf-dynamicvit") and message in error


@pytest.mark.parametrize(
    "typed, meant",
    [
        (["evaluate", "m", "--dataset", "d"], ["evaluate", *MODEL, "--dataset", "d"]),
        (
            ["visualize", "m", "--images", "d", "--output", "o"],
            ["visualize", "--images", "d", "--output", "o", *MODEL],
        ),
        (["demo", "m", "n", "--port", "1"], ["demo", "--model", "m", "n", "--port", "1"]),
        (["train", "m", "--dataset", "d"], ["train", "--model", "m", "--dataset", "d"]),
        (["benchmark", "--repeats", "2", *MODEL, "n", "--json"], ["benchmark", "m", "n", "--repeats", "2", "--json"]),
        (["benchmark", "--model=m"], ["benchmark", "m"]),
        (
            ["export", "--format", "onnx", *MODEL, "--output", "o"],
            ["export", "m", "--format", "onnx", "--output", "o"],
        ),
        (["push", "--model", "m", "me/m"], ["push", "m", "me/m"]),
        (["push", "me/m", "--private", "--model", "m"], ["push", "m", "me/m", "--private"]),
    ],
    ids=lambda words: " ".join(words),
)
def test_a_model_is_named_with_or_without_an_option(typed, meant):
    one, other = (command_parser(words[0]).parse_args(words[1:]) for words in (typed, meant))
    assert vars(one) | {"spelled": None, "argv": None} == vars(other) | {"spelled": None, "argv": None}


def outside(numbers: Range, whole: bool) -> list[float]:
    """Numbers that are none of them: too low, too high, none at all."""
    step = 1 if whole else 0.25
    found = [numbers.least if numbers.above else numbers.least - step]
    if numbers.most < float("inf"):
        found.append(numbers.most if numbers.below else numbers.most + step)
    return found if whole else [*found, float("nan"), float("inf")]


def test_numbers_that_an_option_does_not_take_are_refused_at_once(capsys):
    """In the option's own name; there are neither the model nor the images."""
    options = command_parser("train")._option_string_actions
    for name, numbers in RANGES.items():
        option = as_option(name)
        whole = options[option].type is int
        for number in outside(numbers, whole):
            word = f"{option}={number:.12g}"
            status, _, err = printed(["train", "no-model", "--dataset", "none", word], capsys)
            assert (status, err) == (1, f"hf-dynamicvit train: {option} is {number:g}; it must be {numbers}.\n")


@pytest.mark.parametrize(
    "words, message",
    [
        (["--batch-size", "0"], "--batch-size is 0; it must be 1 or more."),
        (["--epochs=-1"], "--epochs is -1; it must be above 0."),
        (["--lr", "-1"], "--lr is -1; it must be 0 or more."),
        (["--lr", "nan"], "--lr is nan; it must be 0 or more."),
        (
            ["--budget", "70"],
            "--budget is 70; it must be above 0 and at most 1, a fraction of the dense model's ",
        ),
        (["--validation-fraction", "0"], "--validation-fraction is 0; it must be above 0 and below 1, a fraction of"),
        (["--max-steps", "0"], "--max-steps is 0; it must be 1 or more, or -1 for no limit."),
        (["--keep-ratio", "0.7", "0"], "--keep-ratio is 0; it must be above 0 and at most 1."),
        (["--keep-ratio", "0.5", "0.6"], "--keep-ratio is 0.5 0.6; it must not increase."),
        (["--save-steps", "0"], "--save-steps is 0; it must be above 0."),
    ],
)
def test_a_number_out_of_range_is_told_as_it_was_typed(words, message, capsys):
    status, out, err = printed(["train", "no-model", "--dataset", "none", *words], capsys)
    assert status == 1 and not out and err.startswith(f"hf-dynamicvit train: {message}") and err.count("\n") == 1


@pytest.mark.parametrize(
    "command", [["evaluate", "--dataset", "none"], ["visualize", "--images", "none"]], ids=" ".join
)
def test_evaluate_and_visualize_refuse_numbers_as_train_does(command, capsys):
    """In the option's own name; there are neither the model nor the images."""
    refused = {
        "--keep-ratio 1.5": "--keep-ratio is 1.5; it must be above 0 and at most 1.",
        "--keep-ratio 0.5 0.6": "--keep-ratio is 0.5 0.6; it must not increase.",
        "--batch-size 0": "--batch-size is 0; it must be 1 or more.",
    }
    if command[0] == "evaluate":
        refused |= {
            "--keep-ratios 0.5 nan": "--keep-ratios is nan; it must be above 0 and at most 1.",
            "--limit 0": "--limit is 0; it must be 1 or more.",
            "--max-changed -1": "--max-changed is -1; it must be 0 or more.",
        }
    else:
        refused["--limit 0"] = "--limit is 0; it must be 1 or more."
    for words, message in refused.items():
        status, _, err = printed([*command, "--model", "no-model", "--output", "out", *words.split()], capsys)
        assert (status, err) == (1, f"hf-dynamicvit {command[0]}: {message}\n")


def test_every_option_that_takes_numbers_has_a_range():
    numbers = {"int", "float", "int | None", "float | None", "list[int] | None", "list[float] | None"}
    for group in (ModelArguments, DataArguments, DynamicViTTrainingArguments):
        for field in dataclasses.fields(group):
            kind = field.type.__name__ if isinstance(field.type, type) else str(field.type)
            assert not field.init or kind not in numbers or field.name in {*RANGES, "local_rank"}, field.name
    parser = command_parser("train")
    for action in parser._actions:
        if isinstance(action.default, int | float) and not isinstance(action.default, bool):
            assert RANGES[action.dest].holds(action.default), action.dest


@pytest.mark.parametrize("option", ["--output", "--output-dir", "--output-dir"])
def test_a_folder_that_cannot_be_written_is_refused_at_once(option, tmp_path, monkeypatch, capsys):
    """In the option's own name; the model is not there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "afile").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "model.safetensors").write_text("mine")
    for folder, message in [
        ("afile", "afile exists already and is no folder"),
        ("afile/new", "afile/new cannot be"),
        ("/proc/nope", "/proc/nope cannot be written"),
        ("full", "full exists already; name a new or an empty folder, or go on there with --resume-from-checkpoint"),
    ]:
        status, _, err = printed(["train", "no-model", "--dataset", "none", option, folder], capsys)
        assert status == 1 and err.startswith(f"hf-dynamicvit train: {option} {message}"), err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["afile", "full"]


def test_what_is_checked_at_once_needs_no_torch(tmp_path):
    program = (
        "import sys; from hf_dynamicvit.commands.cli import main\n"
        "for words in (['--lr', '-1'], ['--output', sys.executable]):\n"
        "    assert main(['train', 'no-model', '--dataset', 'none', *words]) == 1\n"
        "print({'torch', 'transformers', 'datasets', 'numpy'} & {*sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert run.stdout.splitlines()[-1] == "set()", run.stderr


def test_interrupted(monkeypatch, capsys):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(quickstart_run, "run", interrupt)
    assert printed(["quickstart"], capsys) == (130, "", "hf-dynamicvit quickstart: interrupted\n")


def test_installed_script():
    run = subprocess.run(
        [sys.executable, "-m", "hf_dynamicvit.commands.cli", "--version"], capture_output=True, text=True
    )
    assert run.stdout.split() == ["hf-dynamicvit", __version__]


@pytest.mark.slow
def test_quickstart_whole_way(tmp_path, monkeypatch, capsys):
    """Every step of the main job, with fewer images and epochs."""
    few = {split: data.select(range(64)) for split, data in quickstart_run.load_digits_dataset(3).items()}
    monkeypatch.setattr(quickstart_run, "load_digits_dataset", {3: few}.__getitem__)
    monkeypatch.setattr(quickstart_run, "DENSE_EPOCHS", 1)
    monkeypatch.setattr(quickstart_run, "SPARSE_EPOCHS", 1)
    monkeypatch.setattr(quickstart_run, "BATCH_SIZES", (1, 2))
    reloaded, trainers = [], []
    check, build = quickstart_run.check_reload, quickstart_run.DynamicViTTrainer
    monkeypatch.setattr(quickstart_run, "check_reload", lambda *args: reloaded.append(check(*args)))
    monkeypatch.setattr(
        quickstart_run, "DynamicViTTrainer", lambda *a, **k: trainers.append(build(*a, **k)) or trainers[-1]
    )
    output = tmp_path / "quickstart"
    status, out, err = printed(["quickstart", "--output", str(output), "--seed", "3", "--json"], capsys)
    assert status == 0
    text = (output / "report.md").read_text()
    assert "| dense |" in text and "| sparse |" in text and "Seed 3" in text
    table = "\n".join(line for line in text.splitlines() if line.startswith("|"))
    assert table in err
    found = json.loads(out)
    assert found["seed"] == 3 and found["output"] == str(output)
    assert len(reloaded) == 1 and trainers[0].teacher is not None
    data = quickstart_run.load_digits_dataset(3)["test"]
    for name in ("dense", "sparse"):
        model = AutoModelForImageClassification.from_pretrained(output / name).eval()
        processor = AutoImageProcessor.from_pretrained(output / name, backend="pil")
        pixels = processor([image.convert("RGB") for image in data["image"]], return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            right = model(pixels).logits.argmax(-1) == torch.tensor(data["label"])
        assert f"| {name} | {right.float().mean().item():.1%} |" in text
        assert found[name]["accuracy"] == pytest.approx(right.float().mean().item())
    sheet = Image.open(output / "kept.png")
    assert sheet.size == (4 * 100 + 4, 8 * 100 + 4)
    model = AutoModelForImageClassification.from_pretrained(output / "sparse")
    assert isinstance(model, DynamicViTForImageClassification)
    assert model.config.keep_ratio == 0.7 and model.config.id2label[7] == "7"
    assert AutoImageProcessor.from_pretrained(output / "sparse").size["height"] == 32
    assert f"{model.multiply_adds() / 1e9:.4f}" in text and str(model.token_counts()) in text
    assert found["sparse"]["multiply_adds"] == model.multiply_adds()
    assert found["sparse"]["kept"] == model.token_counts()
    assert AutoModelForImageClassification.from_pretrained(output / "dense").config.model_type == "vit"


def test_quickstart_for_people_to_read(monkeypatch, capsys):
    monkeypatch.setattr(quickstart_run, "run", lambda output, seed, overwrite: print(f"a table of {output}, {seed}"))
    assert printed(["quickstart"], capsys) == (0, "a table of quickstart, 0\n", "")


def test_quickstart_leaves_existing_files_alone(tmp_path, capsys):
    (tmp_path / "precious.txt").write_text("mine")
    assert main(["quickstart", "--output", str(tmp_path)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_quickstart_without_scikit_learn(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert main(["quickstart", "--output", str(tmp_path / "new")]) == 1
    assert 'pip install "hf-dynamicvit[quickstart]"' in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_quickstart_notices_a_checkpoint_that_differs(tmp_path):
    data = quickstart_run.load_digits_dataset(0)["test"]
    torch.manual_seed(0)
    config = {"image_size": 32, "patch_size": 8, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4}
    model = DynamicViTForImageClassification(DynamicViTConfig(**config, intermediate_size=32)).eval()
    model.save_pretrained(tmp_path)
    quickstart_run.ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    quickstart_run.check_reload(tmp_path, model, data)
    with torch.no_grad():
        model.classifier.bias[0] += 1e-7  # less than logits may differ
    with pytest.raises(ValueError, match=r"not the trained model: classifier\.bias differ"):
        quickstart_run.check_reload(tmp_path, model, data)


def test_quickstart_keeps_what_it_made_whatever_the_last_check_finds(tmp_path, monkeypatch, capsys):
    def differs(*args):
        raise ValueError("the checkpoint is not the trained model")

    for name, value in {"DENSE_EPOCHS": 1, "SPARSE_EPOCHS": 1, "BATCH_SIZES": (1,), "check_reload": differs}.items():
        monkeypatch.setattr(quickstart_run, name, value)
    few = {split: data.select(range(40)) for split, data in quickstart_run.load_digits_dataset(0).items()}
    monkeypatch.setattr(quickstart_run, "load_digits_dataset", lambda seed: few)
    status, out, err = printed(["quickstart", "--output", str(tmp_path / "q")], capsys)
    assert status == 1 and "is not the trained model" in err and "| sparse |" in out
    assert {path.name for path in (tmp_path / "q").iterdir()} == {"report.md", "kept.png", "dense", "sparse"}
