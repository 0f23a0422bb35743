# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""README and docs: every code block runs as printed, every link leads somewhere, numbers are measured ones.

A page runs from top to bottom in a folder that holds small models and images under the names that the docs use.
`SHORTER`, `PARSED`, `REWRITTEN` and the fixture `workshop` say all that is not as printed.
"""

import ast
import builtins
import dataclasses
import html
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
import yaml
from datasets import Dataset
from methods import usual
from paths import ROOT
from shelf import fill_shelf

import hf_dynamicvit
from hf_dynamicvit.adoption import native_class
from hf_dynamicvit.commands.cli import command_parser, main
from hf_dynamicvit.data.digits import load_digits_dataset
from hf_dynamicvit.families import FAMILIES
from hf_dynamicvit.model.refused import REFUSED
from hf_dynamicvit.training.options import DynamicViTOptions


DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# command -> options after those of the page, of which the last of a name counts (full augmentation takes torchvision)
SHORTER = {
    "train": "--use-cpu --max-steps 1 --augmentation plain --mixup 0 --cutmix 0",
    "benchmark": "--repeats 1 --warmup 0 --threads 1 --batch-sizes 1",
    "evaluate": "--batch-size 4",
    "tune": "--step 64 --refinements 1 --limit 4 --threads 1",
    "examples/finetune_flowers.py": "--batch-size 4 --epochs 0.5 --budget 0.8",
    "examples/compare_without_training.py": "--batch-size 4 --calibrate 4 --fractions 0.8",
    "examples/publish.py": "--fractions 0.8 --threads 1 --tune-options='--step 64 --refinements 1 --limit 4'",
    "examples/retrieve.py compare": "--fractions 0.8",
    "examples/train_object_detection.py": "--images 8 --test-images 4 --epochs 1 --fine-epochs 1 --batch-size 4",
    # photographs that have masks, since finding some takes OpenCV
    "examples/train_semantic_segmentation.py": "--train scenes/train.parquet --test scenes/test.parquet --images 4 "
    "--test-images 4 --image-size 56 --classes tree road --batch-size 2 --fractions 0.8 --reducers tome --epochs 1 "
    "--fine-epochs 1",
    "examples/train_depth_estimation.py": "--image-size 56 --steps 1 --fine-steps 1 --batch-size 2 --fractions 0.8 "
    "--reducers tome",
}

# Commands of which the page's arguments are parsed and nothing more: a server that runs until it is stopped.
PARSED = ("demo", "serve")

# data set of `evaluate` -> what measures it, without which the command is only parsed
MEASURED_BY = {
    "my_boxes": ("torchmetrics", "torchvision", "faster_coco_eval"),
    "my_masks": ("torchmetrics",),
    "my_depth": ("torchmetrics",),
}

# page -> what takes a GPU, a C++ compiler or long, and what takes its place
REWRITTEN = {
    "deploy.md": [
        ("fullgraph=True)", 'fullgraph=True, backend="eager")'),
        ('mode="reduce-overhead", ', ""),
        ("repeats=5", "repeats=1"),
    ],
    "detection.md": [("max_steps=2", "max_steps=2, use_cpu=True")],
    "finetune.md": [("num_train_epochs=5", "num_train_epochs=5, max_steps=1, use_cpu=True")],
}

# (page, command) -> the page that has the same words and runs them, as they take long
RUN_ELSEWHERE = {("README.md", "export"): "deploy.md"}

# Columns of code that fit beside the menus of the site on a screen of 1280 pixels.
WIDTH = 88

# Pages of measurements and of trainings that other tests run, whose commands are only parsed but for `pytest -m long`.
TAKE_LONG = (
    *("benchmarks.md", "deploy.md", "depth.md", "detection.md", "finetune.md", "recipes.md", "segmentation.md"),
    "start.md",
)

# Launchers start several processes; their arguments begin after these words.
LAUNCHED = {"accelerate": "-m hf_dynamicvit", "torchrun": "-m hf_dynamicvit"}

# What may be installed besides this project.
OTHER_PACKAGES = {"torchao"}


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block: its language, its lines without their indentation, and the line it begins at."""

    language: str
    code: str
    line: int


def blocks_of(text: str) -> list[Block]:
    found, opened = [], None
    for number, line in enumerate(text.splitlines(), start=1):
        fence = re.match(r"( *)```(.*)$", line)
        if opened is None and fence:
            opened = (len(fence[1]), fence[2].strip(), number, [])
        elif opened is not None and fence and not fence[2].strip():
            found.append(Block(opened[1], "".join(opened[3]), opened[2] + 1))
            opened = None
        elif opened is not None:
            opened[3].append(line[opened[0] :] + "\n")
    assert opened is None, f"a block that begins in line {opened[2]} does not end"
    return found


@pytest.fixture(scope="module")
def shelf(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shelf")
    fill_shelf(folder)
    return folder


def few_digits(seed: int) -> dict[str, Dataset]:
    """32 training and 16 test images of the quickstart."""
    digits = load_digits_dataset(seed)
    return {"train": digits["train"].select(range(32)), "test": digits["test"].select(range(16))}


class Uploads:
    """Stands in for the Hub's client: remembers what would have gone up."""

    seen: list[tuple[str, list[str]]] = []

    def __init__(self, token: str | None = None):
        pass

    def whoami(self) -> None:
        pass

    def create_repo(self, repo_id: str, **options) -> SimpleNamespace:
        return SimpleNamespace(repo_id=repo_id)

    def upload_folder(self, repo_id: str, folder_path: Path, **options) -> SimpleNamespace:
        self.seen.append((repo_id, sorted(path.name for path in folder_path.iterdir())))
        return SimpleNamespace(commit_url=f"https://example.org/{repo_id}")


def torchao() -> dict[str, ModuleType]:
    """Stands in for torchao, which is no dependency of the tests: visits the layers that it would quantise."""
    package, quantization = ModuleType("torchao"), ModuleType("torchao.quantization")
    quantization.Int8WeightOnlyConfig = object  # ty: ignore[unresolved-attribute]

    def quantize_(model, config, filter_fn):
        assert any(filter_fn(module, name) for name, module in model.named_modules())

    quantization.quantize_ = quantize_  # ty: ignore[unresolved-attribute]
    return {"torchao": package, "torchao.quantization": quantization}


@pytest.fixture
def workshop(shelf, tmp_path, monkeypatch) -> Path:
    """A copy of the shelf as the working folder; pushes go nowhere, all that is trained or measured is tiny."""
    folder = shutil.copytree(shelf, tmp_path / "workshop", symlinks=True)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(Uploads, "seen", [])
    monkeypatch.setattr("hf_dynamicvit.hub.push.HfApi", Uploads)
    to_hub = {
        "hf_dynamicvit.DynamicViTTrainer": lambda self: Uploads.seen.append((self.args.hub_model_id, [])),
        "transformers.PreTrainedModel": lambda self, repo_id: Uploads.seen.append((repo_id, [])),
        "transformers.image_processing_base.ImageProcessingMixin": lambda self, repo_id: None,
    }
    for owner, stand_in in to_hub.items():
        monkeypatch.setattr(f"{owner}.push_to_hub", stand_in)
    shapes = dict.fromkeys(("deit-tiny", "deit-small", "deit-base"), (32, 4))
    monkeypatch.setattr("hf_dynamicvit.commands.benchmark_run.SHAPES", shapes)
    for module in ("hf_dynamicvit.data.digits", "hf_dynamicvit.commands.quickstart_run"):
        monkeypatch.setattr(f"{module}.load_digits_dataset", few_digits)
    for name, value in {"DENSE_EPOCHS": 1, "SPARSE_EPOCHS": 1, "BATCH_SIZES": (1, 2)}.items():
        monkeypatch.setattr(f"hf_dynamicvit.commands.quickstart_run.{name}", value)
    monkeypatch.setattr("hf_dynamicvit.training.predictor_start.STEPS", 2)
    torch.compiler.reset()
    return folder


def run_python(page: Path, block: Block, namespace: dict) -> None:
    code = block.code
    for printed, instead in REWRITTEN.get(page.name, []):
        code = code.replace(printed, instead)
    exec(compile("\n" * (block.line - 1) + code, str(page), "exec"), namespace)


def run_shell(page: Path, block: Block, namespace: dict) -> None:
    lines = [line.split("#")[0].strip() for line in block.code.replace("\\\n", " ").splitlines()]
    commands = [shlex.split(command) for line in lines if line for command in line.split("&&")]
    assert commands
    for words in commands:
        if elsewhere := RUN_ELSEWHERE.get((page.name, *words[1:2])):
            assert f"{shlex.join(words)}\n" in (DOCS / elsewhere).read_text(encoding="utf-8")
        else:
            SHELL[words[0]](words)


def run_command(words: list[str]) -> None:
    """`hf-dynamicvit COMMAND ...`, in this process."""
    command, *options = words[1:]
    needed = {module for name in options for module in MEASURED_BY.get(name, ()) if command == "evaluate"}
    missing = any(find_spec(module) is None for module in needed)
    if command in PARSED or "--suite" in options or missing:  # suites take long; tests/benchmark runs them on toys
        command_parser(command).parse_args(options)
        return
    if command == "train":  # the shelf has some of these already, and training refuses to write over anything
        shutil.rmtree(command_parser(command).parse_args(options).output_dir, ignore_errors=True)
    assert main([command, *options, *SHORTER.get(command, "").split()]) == 0, words


def run_launched(words: list[str]) -> None:
    """The files of the launcher are there; what it starts runs in this process alone."""
    launcher, command = shlex.join(words).split(f" {LAUNCHED[words[0]]} ")
    options = launcher.split()
    assert "--config_file" not in options or Path(options[options.index("--config_file") + 1]).is_file()
    run_command(["hf-dynamicvit", *shlex.split(command)])


def run_example(words: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        shorter = SHORTER.get(words[1]) or SHORTER.get(" ".join(words[1:3])) or ""
        patch.setattr(sys, "argv", [*words[1:], *shlex.split(shorter)])
        runpy.run_path(words[1], run_name="__main__")


def check_install(words: list[str]) -> None:
    """`pip install ...` asks for extras that there are."""
    assert words[:2] == ["pip", "install"]
    for requirement in (word for word in words[2:] if not word.startswith("-")):
        name, extras = re.fullmatch(r"([\w.-]+?)(?:\[([\w,]+)\])?", requirement).groups()
        wanted = set(extras.split(",")) if extras else set()
        assert name in (".", PROJECT["name"]) or (name in OTHER_PACKAGES and not wanted), requirement
        assert wanted <= set(PROJECT["optional-dependencies"]), requirement


def check_ci(words: list[str]) -> None:
    """`pytest` and the like: what CI runs too."""
    assert shlex.join(words) in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


SHELL: dict[str, Callable[[list[str]], None]] = {
    "hf-dynamicvit": run_command,
    "python": run_example,
    "accelerate": run_launched,
    "torchrun": run_launched,
    "pip": check_install,
    "pytest": check_ci,
    "zensical": check_ci,
}
# language -> what is done with a block; output is only read
RUN: dict[str, Callable[[Path, Block, dict], object]] = {
    "python": run_python,
    "bash": run_shell,
    "json": lambda page, block, namespace: json.loads(block.code),
    "yaml": lambda page, block, namespace: yaml.safe_load(block.code),
    "text": lambda page, block, namespace: None,
}


def check_readme(folder: Path, namespace: dict, printed: str) -> None:
    assert [repo_id for repo_id, _ in Uploads.seen] == ["me/my-dynamicvit"]
    assert namespace["result"][0]["label"] in ("cat", "dog") and "of the multiply-adds" in printed
    for name in ("my-dynamicvit/model.safetensors", "my-vit-tuned/tune.json", "bench/benchmark.md", "report", "seen"):
        assert (folder / name).exists()


def check_deploy(folder: Path, namespace: dict, printed: str) -> None:
    assert namespace["logits"].shape == (8, 2) and namespace["half"].dtype == torch.bfloat16
    assert "('dense', 1, 1.0)" in printed and printed.rstrip().endswith(("cat", "dog"))
    assert all((folder / name).exists() for name in ("bench", "my-dynamicvit.onnx", "my-dynamicvit.pt2"))


def check_hub(folder: Path, namespace: dict, printed: str) -> None:
    assert [repo_id for repo_id, _ in Uploads.seen] == ["me/my-dynamicvit"] * 2
    assert {"model.safetensors", "kept.png", "README.md", "modeling_dynamicvit.py"} <= set(Uploads.seen[0][1])
    card = (folder / "card" / "README.md").read_text(encoding="utf-8")
    assert "| top-1 on my images | 94.00 % | 93.00 % |" in card
    for model in (namespace["classify"].model, namespace["model"]):  # the package goes before the repository's code
        assert isinstance(model, hf_dynamicvit.DynamicViTForImageClassification)


# page -> what must be there after it
AFTER = {"README.md": check_readme, "deploy.md": check_deploy, "hub.md": check_hub}


def command_lines(page: Path) -> list[list[str]]:
    """The calls of this package's commands in the blocks of a page."""
    shell = [block.code for block in blocks_of(page.read_text(encoding="utf-8")) if block.language == "bash"]
    lines = [line.split("#")[0] for code in shell for line in code.replace("\\\n", " ").splitlines()]
    words = [shlex.split(command) for line in lines for command in line.split("&&") if command.strip()]
    return [each[1:] for each in words if each[0] == "hf-dynamicvit"]


@pytest.mark.parametrize("page", sorted(TAKE_LONG))
def test_commands_of_pages_that_take_long_are_understood(page):
    commands = command_lines(DOCS / page)
    assert commands
    for command, *options in commands:
        command_parser(command).parse_args(options)


@usual(page=[page for page in PAGES if page.name not in TAKE_LONG])
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
@pytest.mark.slow
def test_every_block_runs(page, request, monkeypatch, capsys):
    text = page.read_text(encoding="utf-8")
    if "torchao" in text and find_spec("torchao") is None:  # on no other page: PEFT would take it for real
        for name, module in torchao().items():
            monkeypatch.setitem(sys.modules, name, module)
    blocks, run = blocks_of(text), 0
    folder = request.getfixturevalue("workshop") if blocks else ROOT
    namespace: dict = {"__name__": "page"}
    for block in blocks:
        assert block.language in RUN, f"{page.name}, line {block.line}: say what language it is, of {', '.join(RUN)}"
        RUN[block.language](page, block, namespace)
        run += 1
    assert run == text.count("```") / 2 and "~~~" not in text
    for printed, _ in REWRITTEN.get(page.name, []):
        assert printed in text
    AFTER.get(page.name, lambda *found: None)(folder, namespace, capsys.readouterr().out)


def test_every_block_of_the_readme_stands_alone():
    """A block that is pasted alone imports and defines every name that it uses."""
    blocks = [block for block in blocks_of(PAGES[0].read_text(encoding="utf-8")) if block.language == "python"]
    assert blocks
    for block in blocks:
        nodes = [*ast.walk(ast.parse(block.code))]
        known = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        imported = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
        known |= {name.asname or name.name.split(".")[0] for node in imported for name in node.names}
        used = {node.id for node in nodes if isinstance(node, ast.Name)}
        assert not used - known - {*dir(builtins)}, f"line {block.line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_code_fits_the_page(page):
    """At the width of a laptop, without a bar below it."""
    for block in blocks_of(page.read_text(encoding="utf-8")):
        wide = [line for line in block.code.splitlines() if len(line) > WIDTH]
        assert not wide, f"below line {block.line}: {wide[0]}"


def docstring_blocks() -> list[tuple[str, str]]:
    """The code in the docstrings of classes and functions, which the API reference shows."""
    found = []
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                found += [(node.name, block.code) for block in blocks_of(ast.get_docstring(node) or "")]
    return found


@pytest.mark.parametrize(("name", "code"), docstring_blocks())
@pytest.mark.slow
def test_code_in_docstrings_runs(name, code, workshop):
    assert max(map(len, code.splitlines())) <= WIDTH
    namespace = {public: getattr(hf_dynamicvit, public) for public in hf_dynamicvit.__all__}
    exec(compile(code, name, "exec"), namespace)


@cache
def anchors(page: Path) -> set[str]:
    """Those of the headings of a page, as code hosts and the site both make them."""
    text = page.read_text(encoding="utf-8")
    for block in blocks_of(text):
        text = text.replace(block.code, "")
    found = set()
    for heading in re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE):
        anchor = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        assert "--" not in anchor and anchor not in found, f"{page.name}: {heading}: not the same anchor everywhere"
        found.add(anchor)
    return found


def links() -> list[tuple[Path, str]]:
    """Links and images of every page that lead to the repository."""
    found = set()
    for page in [*PAGES, ROOT / "CHANGELOG.md"]:
        text = page.read_text(encoding="utf-8")
        for block in blocks_of(text):
            text = text.replace(block.code, "")
        found |= {(page, target) for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target}
    return sorted(found)


@pytest.mark.parametrize(
    ("page", "target"), links(), ids=lambda value: value.name if isinstance(value, Path) else value
)
def test_links_lead_somewhere(page, target):
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    assert file.is_file()
    assert not anchor or anchor in anchors(file)
    if page.is_relative_to(DOCS):  # the site has nothing else
        assert file.is_relative_to(DOCS)
    assert page.name != "CHANGELOG.md"  # it is a page of the site too, in another folder


def test_the_site_has_all_pages():
    """In the order of `mkdocs.yml`, each once."""
    listed = re.findall(r"^ +- .+: ([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(page.relative_to(DOCS).as_posix() for page in PAGES[1:])


def check_signatures(name: str, text: str) -> None:
    """Signatures of the reference are broken into lines, as ruff formats them."""
    for signature in re.findall(r'class="[^"]*doc-signature[^"]*".*?</pre>', text, re.DOTALL):
        lines = html.unescape(re.sub(r"<[^>]+>", "", signature.partition(">")[2])).splitlines()
        assert max(map(len, lines)) <= WIDTH, f"{name}: {lines}"


@pytest.mark.long
def test_the_site_builds_and_fetches_nothing(tmp_path):
    pytest.importorskip("zensical", reason="the site needs the extra [docs]")
    for name in ("mkdocs.yml", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("docs", "src"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert built.returncode == 0 and "No issues found" in built.stderr, built.stdout + built.stderr
    pages = [*(tmp_path / "site").rglob("*.html")]
    assert len(pages) >= len(PAGES) and (tmp_path / "site" / "search.json").is_file()
    for page in pages:
        text = page.read_text(encoding="utf-8")
        check_signatures(page.name, text)
        assert not re.search(r"""<(?:script|img|link|iframe)[^>]*\s(?:src|href)=["']?(?:https?:)?//""", text), page
        assert "[<code>" not in text, f"{page.name}: a reference in square brackets that leads nowhere"


def test_the_reference_has_everything_public():
    pages = "".join(page.read_text(encoding="utf-8") for page in (DOCS / "api").glob("*.md"))
    shown = set(re.findall(r"^::: hf_dynamicvit\.[\w.]*?(\w+)$", pages, re.MULTILINE))
    assert set(hf_dynamicvit.__all__) - {"REDUCERS", "__version__"} <= shown
    reducers = {reducer.__name__ for reducer in hf_dynamicvit.REDUCERS.values()}
    assert reducers <= shown and all(f"`{name}`" in pages for name in hf_dynamicvit.REDUCERS)
    own = {option.name for option in dataclasses.fields(DynamicViTOptions)}
    assert own == set(re.findall(r"^\| `(\w+)` \|", (DOCS / "api" / "training.md").read_text(), re.MULTILINE))


def test_the_extras_are_listed():
    listed = set(re.findall(r"^\| `(\w+)` \|", (DOCS / "start.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert listed == set(PROJECT["optional-dependencies"]) - {"docs", "test", "dev"}


def test_the_backbones_are_those_of_the_table():
    page = (DOCS / "backbones.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \| `(\w+Backbone)` \| `(\w+)` \|$", page, re.MULTILINE)
    backbones = [getattr(hf_dynamicvit, each.backbone) for each in FAMILIES.values() if each.backbone]
    titles = [each.title for each in FAMILIES.values() if each.backbone]
    natives = [native_class(each).__name__ for each in backbones]
    assert rows == [*zip(titles, natives, (each.__name__ for each in backbones), strict=True)]


def test_the_families_are_those_of_the_table():
    page = (DOCS / "families.md").read_text(encoding="utf-8")
    served, refused = page.split("## What is not served")
    rows = re.findall(r"^\| (.+?) \| `(\w+)` \| `(\w+)` \| (\S+) \| .+? \| (\S+) \|$", served, re.MULTILINE)
    expected = [
        (
            each.title,
            each.dense,
            each.model,
            *(f"`{name}`" if name else "-" for name in (each.classifier, each.zero_shot)),
        )
        for each in FAMILIES.values()
    ]
    assert rows == expected
    named = set(re.findall(r"\(`([\w-]+)`\)", refused))
    assert named <= {*REFUSED, "timm_wrapper"} and {reason for name, reason in REFUSED.items() if name in named} == {
        *REFUSED.values()
    }
