# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Write the tables and plots of README and docs from the files of this folder, and hold every sentence to them.

    python benchmarks/tables.py --check
    python benchmarks/tables.py --write

A file is a run, or a list of runs; each has `command`, `commit` and `machine`, or null where nobody wrote it down. A
table stands between `<!-- from NAME -->` and `<!-- end -->`, where NAME is one of `TABLES`. Numbers elsewhere are
those of `sentences.py`. `--write` replaces tables, and plots whose file has changed; it leaves sentences to you and
names those that do not hold.
"""

import argparse
import functools
import hashlib
import importlib.util
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any


HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
# docs/commands.md has the parsers' defaults, and a test of its own
PAGES = [ROOT / "README.md", *(page for page in sorted((ROOT / "docs").glob("*.md")) if page.stem != "commands")]
REGION = re.compile(r"<!-- from ([\w-]+) -->\n\n((?:(?!<!-- ).)*)<!-- end -->", re.DOTALL)
ABOUT = ("command", "commit", "machine")
# what a plot says of the file that it is drawn from
DRAWN_FROM = "benchmarks"


# ----- the files


@functools.cache
def read_results(name: str) -> Any:
    """Read one file: a run, or a list of runs."""
    return json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))


def read_runs(name: str) -> list[dict[str, Any]]:
    """Read the runs of one file."""
    found = read_results(name)
    return found if isinstance(found, list) else [found]


@functools.cache
def load_script(name: str, folder: str = "benchmarks") -> ModuleType:
    """Load a script that knows how the table of its own file is drawn."""
    spec = importlib.util.spec_from_file_location(f"{name}_script", ROOT / folder / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look
    spec.loader.exec_module(module)
    return module


# ----- tables


def draw_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Draw a table of Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def percent(value: float, decimals: int = 1) -> str:
    return f"{100 * value:.{decimals}f} %"


def own(name: str, rows: str | None = None) -> Callable[[], str]:
    """Return the table that the script of a file draws of its runs, or of their `rows`."""
    return lambda: load_script(name).table(read_results(name)[rows] if rows else read_results(name))


def columns(name: str, shown: dict[str, tuple[str, Callable[[Any], str]]]) -> Callable[[], str]:
    """Return the table of the rows of a file, whose keys are `shown` under a head each."""

    def build() -> str:
        rows = [[show(row[key]) for key, (_, show) in shown.items()] for row in read_results(name)["rows"]]
        return draw_table([head for head, _ in shown.values()], rows)

    return build


def speeds(measurements: Sequence[dict[str, Any]], kind: str = "sparse") -> dict[tuple[str, int], float]:
    """Return by model and batch size how fast it is over the dense model."""
    return {(row["model"], row["batch"]): row["over_dense"] for row in measurements if row["kind"] == kind}


def flowers() -> str:
    rows = []
    for run in read_runs("flowers"):
        low, high = (f"{100 * value:.1f}" for value in run["top1_interval"])
        kept = "/".join(f"{value:.2f}" for value in run.get("kept", []))
        patches = ", ".join(map(str, run["patches"]))
        top1 = f"{percent(run['top1'])} ({low} to {high})"
        epochs = f"{run['epochs']:g}" if "teacher_top1" not in run else f"3 + {run['epochs']:g}"
        rows.append(
            [run["run"], epochs, top1, percent(run["top1_by_epoch"][-1]), f"{run['gmacs']:.3f}", patches, kept]
        )
    heads = ["", "epochs", "top-1 of the best epoch", "of the last", "GMACs", "patches after each stage"]
    return draw_table([*heads, "kept in training"], rows)


def comparison() -> ModuleType:
    return load_script("compare_without_training", "examples")


def without_training() -> str:
    """Return top-1 of every method along its own schedule."""
    script, record = comparison(), read_results("deit_tiny_without_training")
    rows = [row for row in record["results"] if row["method"] in script.METHODS]
    cells = {(row["method"], row["fraction"]): percent(row["top1"]) for row in rows}
    fractions = sorted({row["fraction"] for row in rows}, reverse=True)
    names = [name for name in script.METHODS if any(name == method for method, _ in cells)]
    table = [[name, *(cells.get((name, fraction), "") for fraction in fractions)] for name in names]
    return draw_table(["method", *(f"{fraction:g} of dense" for fraction in fractions)], table)


# named in README: title, and the method of the file
FEW = {
    "`diffrate` with `pruned_share=0`": "diffrate (nothing dropped)",
    "`mctf`": "mctf",
    "`tome`": "tome",
    "`evit`": "evit",
    "patches at random": "random",
}


def top1s() -> dict[tuple[str, float], float]:
    """Return top-1 without training of DeiT-Tiny by method and fraction."""
    return {
        (row["method"], row["fraction"]): row["top1"] for row in read_results("deit_tiny_without_training")["results"]
    }


def few_without_training() -> str:
    record, found = read_results("deit_tiny_without_training"), top1s()
    count, dense = record["settings"]["images"], percent(record["dense"]["top1"])
    head = f"DeiT-Tiny on {count:,} ImageNet images, nothing trained (dense {dense})"
    rows = [[title, *(percent(found[name, fraction]) for fraction in (0.7, 0.5))] for title, name in FEW.items()]
    return draw_table([head, "0.7 of the multiply-adds", "half"], rows)


SCHEDULES = ("linear", "geometric", "cosine", "diffrate", "late")


def schedules() -> str:
    """Return ToMe's top-1 along schedules, from the two files that have them, and how near DINOv2-S stays."""
    found = {(row["method"], row["fraction"]): row["top1"] for row in read_results("deit_tiny_schedules")["results"]}
    found |= top1s()
    near = {(row["method"], row["fraction"]): row for row in read_results("dinov2_schedules")["results"]}
    heads = ["schedule", *(f"{fraction:g} of dense" for fraction in (0.9, 0.8, 0.7, 0.5))]
    rows = []
    for name in SCHEDULES:
        cells = [percent(found[f"tome, {name}", fraction]) for fraction in (0.9, 0.8, 0.7, 0.5)]
        cosines = [near[f"tome, {name}", fraction]["pooler_output"]["cosine"]["mean"] for fraction in (0.7, 0.5)]
        rows.append([name, *cells, *(f"{cosine:.3f}" for cosine in cosines)])
    return draw_table([*heads, "DINOv2-S at 0.7, cosine", "DINOv2-S at 0.5, cosine"], rows)


def tuned_schedules() -> str:
    """Return what `tune` found: its loss, and top-1 on images that it has not seen and on all."""
    rows = []
    for row in read_results("deit_tiny_tuned")["results"]:
        apart, found = row["unseen"]["difference"], row["tuned"]
        told = [f"{found['loss']:.4f} ({min(found['named'].values()):.4f})", f"{100 * row['unseen']['top1']:.1f}"]
        told += [f"{100 * apart['mean']:+.1f} ± {100 * apart['error']:.1f}", f"{100 * row['top1']:.1f}"]
        rows.append([row["method"].removesuffix(", tuned"), f"{row['fraction']:g}", *told])
    heads = ["method, tuned", "cost", "KL (best named schedule)", "top-1, 500 unseen", "beside dense", "top-1, all"]
    return draw_table(heads, rows)


# what of the comparison of encoders is shown, and under which line
ENCODERS = {
    "Cosine to the dense class token (`pooler_output`):": "pooler_output: cosine",
    "Cosine to the dense class token and mean of patches (`features`):": "features: cosine",
    "k-NN by the class token in the dense bank: images in % of the same class as by the dense one:": (
        "pooler_output: same class as dense in %, dense bank"
    ),
    "k-NN top-1 in % by the class token, bank of the same model, ± standard error of the difference to dense:": (
        "pooler_output: k-NN top-1 in %, own bank"
    ),
    "k-NN top-1 in % by the class token, dense bank:": "pooler_output: k-NN top-1 in %, dense bank",
}


def encoders() -> str:
    record = read_results("dinov2_without_training")
    measures = comparison().list_measures(record["dense"])
    return "\n\n".join(f"{line}\n\n{comparison().table(record, measures[key])}" for line, key in ENCODERS.items())


def backbone_features() -> str:
    shown = {
        "tome": "`tome`",
        "tps, score evit": '`tps`, `reducer_args={"score": "evit"}`',
        "evovit, representative token": '`evovit`, `reducer_args={"representative_token": True}`',
    }
    record = read_results("backbone_features")
    found = {(row["method"], row["fraction"]): row["cosine"] for row in record["rows"]}
    rows = []
    for method in dict.fromkeys(row["method"] for row in record["rows"] if row["fraction"]):
        cosines = [*found[method, 0.7], found[method, 0.9][-1], found[method, 0.5][-1]]
        rows.append([shown.get(method, f"`{method}`"), *(f"{cosine:.3f}" for cosine in cosines)])
    heads = ["method", "at 0.7 of the cost, after 3", "6", "9", "12 blocks", "at 0.9, after 12", "at 0.5, after 12"]
    return draw_table(heads, rows)


def cpu() -> str:
    """Return the suite `cpu`: a row a method, for each model and batch size over dense, and the ideal's."""
    cases = read_runs("cpu")
    names = list(dict.fromkeys(method for case in cases for method in case["methods"]))
    heads = [f"{case['model']}, batch {case['batch']}" for case in cases]
    rows = []
    for name in names:
        cells = []
        for case in cases:
            ours, ideal = (speeds(case["measurements"], kind) for kind in ("sparse", "ideal"))
            key = name, case["batch"]
            cells.append(f"{ours[key]:.2f}x ({ideal[key]:.2f}x)" if key in ours else "")
        rows.append([name, *cells])
    return draw_table(["method", *heads], rows)


def every_speed() -> dict[tuple[str, int], float]:
    """Return by method and batch size how fast DeiT-S is at 0.7 of its cost, over dense."""
    found = {}
    for run in read_runs("methods_speed"):
        for (model, batch), speed in speeds(run["measurements"]).items():
            found.setdefault((model.split()[1], batch), speed)
    return found


def methods_speed() -> str:
    """Return those speeds: a row a method, a column a batch size, the fastest at batch 1 first."""
    found = every_speed()
    batches = sorted({batch for _, batch in found})
    names = sorted({name for name, _ in found}, key=lambda name: -found[name, 1])
    rows = [[f"`{name}`", *(f"{found[name, batch]:.2f}x" for batch in batches)] for name in names]
    return draw_table(["method", *(f"batch {batch}" for batch in batches)], rows)


def kinds(name: str, titles: dict[str, str]) -> Callable[[], str]:
    """Return the speeds of a benchmark: a row a batch size, columns the models of `titles` and their ideals."""

    def build() -> str:
        measured = read_results(name)["measurements"]
        ours, ideal = speeds(measured), speeds(measured, "ideal")
        heads = ["batch", "dense, images/s"]
        for title in titles.values():
            heads += [f"{title}, ideal", title]
        rows = []
        for row in measured:
            if row["kind"] == "dense":
                cells = [str(row["batch"]), f"{row['images_per_second']:.1f}"]
                for model in titles:
                    key = model, row["batch"]
                    cells += [f"{ideal[key]:.2f}x", f"{ours[key]:.2f}x"]
                rows.append(cells)
        return draw_table(heads, rows)

    return build


def deit_tiny_speed() -> str:
    found = speeds(read_results("deit_tiny_speed")["measurements"])
    rows = []
    for method in ("dynamicvit", "evit", "tome"):
        rows.append([method, *(f"{found[f'deit-tiny {method} 0.7', batch]:.2f}x" for batch in (1, 8, 32))])
    return draw_table(["method", "batch 1", "batch 8", "batch 32"], rows)


def gpu() -> str:
    from hf_dynamicvit.benchmark.suites import build_suite_table

    return build_suite_table(read_runs("gpu"))


def exported() -> str:
    from hf_dynamicvit.evaluation.export_suite import build_export_table

    return build_export_table(read_runs("export"))


def matched() -> str:
    from hf_dynamicvit.evaluation.accuracy_suite import build_matched_table

    return build_matched_table(read_results("deit_tiny_matched"))


def quickstart() -> str:
    rows = []
    for run in read_runs("quickstart"):
        tops = [percent(run["dense"]["top1"]), percent(run["sparse"]["top1"])]
        cost = f"{run['sparse']['gmacs'] / run['dense']['gmacs']:.2f}x"
        rows.append([str(run["seed"]), *tops, cost, *(f"{run['speed'][batch]:.2f}x" for batch in ("1", "64"))])
    return draw_table(["seed", "dense top-1", "sparse top-1", "multiply-adds", "batch 1", "batch 64"], rows)


def step_time() -> str:
    runs = read_runs("step_time")
    names = [row["step"] for row in runs[0]["rows"]]
    found = [{row["step"]: row["milliseconds"] for row in run["rows"]} for run in runs]
    heads = ["step"]
    for run in runs:
        heads += [f"{run['dtype']}, ms", "of dense"]
    rows = [
        [name, *(cell for each in found for cell in (f"{each[name]}", f"{each[name] / each['dense']:.2f}x"))]
        for name in names
    ]
    return draw_table(heads, rows)


def untrained() -> str:
    titles = {
        "random": "random patches",
        "topk": "class attention (Top-K)",
        "evit": "class attention, the rest fused (EViT)",
        "at random": "predictors at random",
        "the same turned round": "the same with the sign of their last layer turned",
        "from class attention": "predictors that start from class attention",
    }
    rows = []
    for name, title in titles.items():
        tops = [row["top1"] for row in read_results("untrained_predictors")["rows"] if row["scores"] == name]
        seeds = f", {len(tops)} seeds" if len(tops) > 1 else ""
        told = percent(tops[0]) if len(tops) == 1 else f"{100 * min(tops):.1f} to {percent(max(tops))}"
        rows.append([f"{title}{seeds}", told])
    return draw_table(["scores", "top-1"], rows)


# methods of the page on choosing, under the names that the files have for them
CHOOSE = {"tps": "tps (evit scores)", "dynamicvit": "dynamicvit (untrained)"}
NOTED = {"tps": " (EViT's scores)", "dynamicvit": " (untrained)", "evovit": " (class token)"}


def choose() -> str:
    """Return what is known of each method: untrained, fine-tuned, and as fast as dense at the same cost."""
    found, beside = top1s(), fine_tuned()
    speed = every_speed()
    dense = percent(read_results("deit_tiny_without_training")["dense"]["top1"])
    rows = [["dense", dense, dense, "0", "1", "1"]]
    for method in (
        "dynamicvit",
        "topk",
        "evit",
        "tps",
        "tome",
        "mctf",
        "diffrate",
        "pitome",
        "atc",
        "ats",
        "algm",
        "bat",
        "freq",
        "idlevit",
        "evovit",
        "asvit",
    ):
        name, note = CHOOSE.get(method, method), NOTED.get(method, "")
        cells = [f"{percent(found[name, fraction])}{note}" for fraction in (0.7, 0.5)]
        fast = [f"{speed[method, batch]:.2f}x" if (method, batch) in speed else "" for batch in (1, 8)]
        rows.append([f"`{method}`", *cells, beside.get(method, ""), *fast])
    rows.append(["`random`", *(percent(found["random", fraction]) for fraction in (0.7, 0.5)), "", "", ""])
    heads = ["method", "untrained, 0.7 of the cost", "untrained, half", "fine-tuned at 0.65, beside dense"]
    return draw_table([*heads, "speed at 0.7, batch 1", "batch 8"], rows)


def fine_tuned() -> dict[str, str]:
    """Return how far each method is from the dense model after as long a training, as its table says."""
    script, found = load_script("finetuned"), {}
    for name in ("finetuned_cpu", "finetuned"):  # of a method that both have, that of the GPU
        lines = script.table(read_results(name)).splitlines()[3:]
        cells = [[cell.strip() for cell in line.split("|")] for line in lines]
        found |= {each[1]: each[-2] for each in cells}
    return found


TABLES: dict[str, Callable[[], str]] = {
    "flowers": flowers,
    "finetuned": own("finetuned"),
    "finetuned-cpu": lambda: load_script("finetuned").table(read_results("finetuned_cpu")),
    "without-training": without_training,
    "few-without-training": few_without_training,
    "matched": matched,
    "schedules": schedules,
    "tuned-schedules": tuned_schedules,
    "encoders": encoders,
    "backbone-features": backbone_features,
    "cpu": cpu,
    "latency": own("latency"),
    "methods-speed": methods_speed,
    "batch-one": own("batch_one"),
    "optimized": kinds(
        "optimized", {"deit-small dynamicvit 0.7": "DynamicViT 0.7", "deit-small dynamicvit 1.0": "DynamicViT 1.0"}
    ),
    "bfloat16": kinds("bfloat16", {"deit-small dynamicvit 0.7": "DynamicViT 0.7"}),
    "asvit": kinds("asvit", {"deit-tiny asvit 0.65 of dense": "AS-ViT"}),
    "speed": own("speed"),
    "deit-tiny-speed": deit_tiny_speed,
    "export": exported,
    "serving": own("serving"),
    "gpu": gpu,
    "alternatives": own("alternatives"),
    "quickstart": quickstart,
    "training": own("training"),
    "step-time": step_time,
    "untrained": untrained,
    "choose": choose,
    "pyramids-speed": own("pyramids_speed", "rows"),
    "pyramids-training": own("pyramids_training", "rows"),
    "image-tokens": columns(
        "image_tokens",
        {
            "model": ("model", str),
            "image tokens": ("image tokens", str),
            "seconds": ("seconds", "{:.2f}".format),
            "times as fast": ("times as fast", "{:.2f}x".format),
        },
    ),
    "retrieval": columns(
        "retrieval",
        {
            "model": ("model", str),
            "gmacs": ("GMACs", "{:.2f}".format),
            "recall, own index": ("recall, own index", percent),
            "recall, dense index": ("recall, dense index", percent),
            "same class": ("same class", percent),
            "images a CPU second": ("images a CPU second", "{:.2f}".format),
            "times as fast": ("times as fast", "{:.2f}x".format),
        },
    ),
    "high-resolution": own("high_resolution", "runs"),
    "segmentation": columns(
        "segmentation",
        {
            "model": ("model", str),
            "gmacs": ("GMACs of the backbone", "{:.2f}".format),
            "miou": ("mIoU", percent),
            "pixel_accuracy": ("pixels right", percent),
        },
    ),
    "depth": columns(
        "depth",
        {
            "model": ("model", str),
            "gmacs": ("GMACs of the backbone", lambda value: "" if value is None else f"{value:.2f}"),
            "abs_rel": ("absolute relative error", percent),
            "mae": ("mean absolute error", "{:.3f} m".format),
        },
    ),
    "detection": columns(
        "detection",
        {
            "model": ("model", str),
            "gmacs": ("GMACs", "{:.4f}".format),
            "map": ("mAP", percent),
            "map_50": ("mAP at 0.5", percent),
            "map_75": ("mAP at 0.75", percent),
        },
    ),
}


# ----- plots


def as_measurements(name: str) -> list[Any]:
    """Read the measurements of a benchmark as the plots of the package take them."""
    from hf_dynamicvit.benchmark.measure import Measurement, Setting

    rows = []
    for row in read_results(name)["measurements"]:
        setting = Setting(**{key: row[key] for key in Setting.__dataclass_fields__})
        rest = {key: value for key, value in row.items() if key not in Setting.__dataclass_fields__}
        rows.append(Measurement(**rest | {"setting": setting, "image_size": tuple(row["image_size"])}))
    return rows


def draw_benchmark(name: str, plot: str, file: Path) -> None:
    """Draw one plot of a benchmark."""
    from hf_dynamicvit.benchmark.report import draw_plots

    with tempfile.TemporaryDirectory() as folder:
        draw_plots(Path(folder), as_measurements(name), {})
        (Path(folder) / plot).replace(file)


def draw_without_training(name: str, file: Path) -> None:
    """Draw top-1 over multiply-adds of every method along its own schedule."""
    record = read_results(name)
    own_schedules = [row for row in record["results"] if row["method"] in comparison().METHODS and row["gmacs"]]
    shown = {key: record["dense"][key] for key in ("gmacs", "top1")}  # not the half that no search has seen
    comparison().draw(record | {"dense": shown, "results": own_schedules}, file)


def draw_training(name: str, file: Path) -> None:
    """Draw the log of the first run that has one."""
    log = next(run["log"] for run in read_runs(name) if "log" in run)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "DynamicViT 0.7"
        run.mkdir()
        (run / "results.json").write_text(json.dumps({"log": log}), encoding="utf-8")
        load_script("plot_training", "examples").draw([run], file)


def draw_alternatives(name: str, file: Path) -> None:
    """Draw accuracy over latency of what else makes a model faster."""
    load_script(name).draw(read_results(name), file)


# file of docs/images -> file of results, and what draws it
PLOTS: dict[str, tuple[str, Callable[[str, Path], None]]] = {
    "speed_keep_ratio.png": ("keep_ratios", lambda name, file: draw_benchmark(name, "keep_ratio.png", file)),
    "speed_image_size.png": ("image_sizes", lambda name, file: draw_benchmark(name, "image_size.png", file)),
    "without_training.png": ("deit_tiny_without_training", draw_without_training),
    "flowers_training.png": ("flowers", draw_training),
    "alternatives.png": ("alternatives", draw_alternatives),
}


def hash_results(name: str) -> str:
    """Return what a plot says that it is drawn from: the file, and the hash of what is in it."""
    text = json.dumps(read_results(name), sort_keys=True)
    return f"{name}.json {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def is_drawn_from(file: Path, name: str) -> bool:
    from PIL import Image

    with Image.open(file) as image:
        return image.info.get(DRAWN_FROM) == hash_results(name)


def draw(file: Path, name: str, how: Callable[[str, Path], None]) -> None:
    """Draw a plot, and let it say what it is drawn from."""
    from PIL import Image, PngImagePlugin

    how(name, file)
    about = PngImagePlugin.PngInfo()
    about.add_text(DRAWN_FROM, hash_results(name))
    with Image.open(file) as image:
        image.load()
        image.save(file, pnginfo=about)


# ----- pages


def name_page(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def write_tables(text: str) -> str:
    """Return the text of a page with its tables as they are now."""
    return REGION.sub(lambda found: f"<!-- from {found[1]} -->\n\n{TABLES[found[1]]()}\n\n<!-- end -->", text)


def check() -> Iterator[str]:
    """Name everything that is not as the files say."""
    import sentences

    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for name, table in REGION.findall(text):
            if name not in TABLES:
                yield f"{name_page(page)}: there is no table {name}"
            elif TABLES[name]() != table.strip():
                yield f"{name_page(page)}: table {name} is another than its file says; --write it"
        yield from (f"{name_page(page)}: {problem}" for problem in sentences.check(name_page(page), text))
    for image, (name, _) in PLOTS.items():
        if not is_drawn_from(ROOT / "docs" / "images" / image, name):
            yield f"docs/images/{image}: {name}.json is another now; --write it"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", action="store_true", help="say what is not as the files say, and fail where there is")
    what.add_argument("--write", action="store_true", help="write tables and plots, then check")
    args = parser.parse_args()
    if args.write:
        for page in PAGES:
            page.write_text(write_tables(page.read_text(encoding="utf-8")), encoding="utf-8")
        for image, (name, how) in PLOTS.items():
            file = ROOT / "docs" / "images" / image
            if not file.is_file() or not is_drawn_from(file, name):
                draw(file, name, how)
    problems = [*check()]
    print("\n".join(problems))
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
