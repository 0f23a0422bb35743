# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What stands behind the numbers that README and docs have outside of tables.

Each number with a unit, or of three digits and more behind the point, is one of these: measured, in a sentence that is
made of a file here; published, with its source in the same section; counted, which follows from sizes; or set, as an
option or a limit of the program. `check` names those that are none, and sentences that the files do not bear out.
"""

import re
import statistics
from collections.abc import Callable, Iterator

import tables


UNITS = r"%|ms\b|us\b|seconds?\b|minutes?\b|s of\b|G\b|GFLOP/s|GMACs|MB\b|MiB\b|points?\b|images/s|times\b"
NUMBER = re.compile(
    r"(?<![\w.,^*-])(?<!torch )(?<!Transformers )(?<!Python )(?<!CUDA )(?<!on )"
    rf"(?:[+-]?\d[\d,]*(?:\.\d+)?(?=\s?(?:{UNITS})|x\b| ±)|(?<=± )[\d.]+|\d{{2,}}\.\d+|\d*\.\d{{2,}})"
)
# where a published number is from: a paper or another page that names it
SOURCE = re.compile(r"https?://|\]\(methods\.md|released code|as published|\*\*from the paper")
# fractions of the cost that are asked for
ASKED = ("0.65",)
# what has no number of ours: code, names, addresses, comments
SKIPPED = re.compile(r"```.*?```|`[^`\n]*`|\]\([^)]*\)|<!--.*?-->|<[^>\n]+>|https?://\S+", re.DOTALL)


def squeeze(text: str) -> str:
    """Put one space in place of each run of white space, in which lines are broken."""
    return re.sub(r"\s+", " ", text)


def blank(text: str, pattern: re.Pattern[str]) -> str:
    """Replace what `pattern` finds by spaces, so that places stay."""
    return pattern.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def check(page: str, text: str) -> Iterator[str]:
    """Name the sentences of a page that do not hold, and its numbers of which nothing is known."""
    sections = [squeeze(section) for section in re.split(r"^## ", text, flags=re.MULTILINE)]
    text = squeeze(blank(text, tables.REGION))
    known = [(sentence, "its file says otherwise") for sentence in MEASURED.get(page, list)()]
    known += [(sentence, "it is not there") for _, sentence in OTHERS.get(page, [])]
    for kind, sentence in OTHERS.get(page, []):
        if kind == PUBLISHED and not any(sentence in each and SOURCE.search(each) for each in sections):
            yield f"{sentence!r} is published, and its section names no source"
    plain = blank(text, SKIPPED)
    for sentence, problem in known:
        start = text.find(squeeze(sentence))
        if start < 0:
            yield f"{sentence!r} is not on the page: {problem}"
        while start >= 0:
            plain = plain[:start] + " " * len(squeeze(sentence)) + plain[start + len(squeeze(sentence)) :]
            start = text.find(squeeze(sentence), start + 1)
    for found in NUMBER.finditer(plain):
        if found[0] not in ASKED:
            around = text[max(0, found.start() - 50) : found.end() + 30]
            yield f"nothing is known of {found[0]} in ...{around}..."


# ----- measured


def top1(method: str, fraction: float) -> str:
    """Tell top-1 of DeiT-Tiny without training."""
    return tables.percent(tables.top1s()[method, fraction])


def whole(method: str) -> str:
    """Tell top-1 in % without training at 0.7 of the cost, without a decimal."""
    return f"{100 * tables.top1s()[method, 0.7]:.0f}"


def flowers(run: str) -> tuple[float, float]:
    """Return top-1 in % of a run on flowers: of its best epoch and of its last."""
    found = next(each for each in tables.read_runs("flowers") if each["run"] == run)
    return 100 * found["top1"], 100 * found["top1_by_epoch"][-1]


def deit_tiny() -> tuple[str, str]:
    """Tell how fast DeiT-Tiny is with DynamicViT at batch 1, and how many multiply-adds it saves."""
    rows = tables.read_results("deit_tiny_speed")["measurements"]
    row = next(
        row
        for row in rows
        if (row["model"], row["batch"]) == ("deit-tiny dynamicvit 0.7", 1) and row["kind"] == "sparse"
    )
    return f"{row['over_dense']:.2f}x", f"{100 - 100 * row['multiply_adds'] / row['dense_multiply_adds']:.0f} %"


def gpu(model: str, batch: int, how: str = "eager", fraction: float = 0.7) -> dict[str, float]:
    """Return by method how fast a model was on the GPU, over dense, with the best ideal and the dense milliseconds."""
    wanted = model, batch, how, fraction
    found = [
        each["measurements"]
        for each in tables.read_runs("gpu")
        if (each["model"], each["batch"], each["setting"]["compiled"], each["fraction"]) == wanted
    ]
    rows = found[-1 if model == "dinov2-base" and batch != 256 else 0]
    speeds = {row["model"]: row["over_dense"] for row in rows if row["kind"] == "sparse"}
    speeds["ideal"] = max(row["over_dense"] for row in rows if row["kind"] == "ideal")
    speeds["dense ms"] = next(row["milliseconds"] for row in rows if row["kind"] == "dense")
    return speeds


THREE = ("evit", "dynamicvit", "tome, three-stage")


def spread(values: list[float], decimals: int = 2) -> str:
    return f"{min(values):.{decimals}f} to {max(values):.{decimals}f}"


def tuned(method: str, fraction: float = 0.7, name: str = "deit_tiny_tuned") -> str:
    """Tell top-1 of a tuned schedule on images that its search has not seen."""
    rows = tables.read_results(name)["results"]
    wanted = f"{method}, tuned", fraction
    return tables.percent(next(row["unseen"]["top1"] for row in rows if (row["method"], row["fraction"]) == wanted))


def encoder(method: str, fraction: float, name: str = "pooler_output") -> dict:
    rows = tables.read_results("dinov2_without_training")["results"]
    return next(row[name] for row in rows if (row["method"], row["fraction"]) == (method, fraction))


def fall(method: str, fraction: float, bank: str) -> str:
    """Tell by how many points k-NN top-1 falls, with the standard error."""
    apart = encoder(method, fraction)[bank]["difference"]
    return f"{-100 * apart['mean']:.1f} ± {100 * apart['error']:.1f}"


def step(name: str, dtype: str = "float32") -> float:
    """Return how long a training step takes over a dense one."""
    run = next(run for run in tables.read_runs("step_time") if run["dtype"] == dtype)
    taken = {row["step"]: row["milliseconds"] for row in run["rows"]}
    return taken[name] / taken["dense"]


def quickstart() -> dict[str, str]:
    run = tables.read_runs("quickstart")[0]
    speeds = {batch: f"{value:.2f}x" for batch, value in run["speed"].items()}
    return speeds | {"cost": f"{run['sparse']['gmacs'] / run['dense']['gmacs']:.2f}x"}


def readme() -> list[str]:
    speed, saved = deit_tiny()
    found, start = gpu("deit-base", 256)["tome, three-stage"], flowers("dense")[1]
    half = gpu("deit-base", 256, fraction=0.5)["tome, three-stage"]
    dense = tables.percent(tables.read_results("deit_tiny_tuned")["dense"]["unseen"]["top1"])
    assert dense == tuned("tome")  # "and so has the dense model"
    return [
        f"keeps {flowers('DynamicViT 0.7')[1]:.1f} of its {start:.1f} % top-1 with {saved} fewer multiply-adds",
        f"runs {speed} as fast at batch 1 on one thread of a CPU",
        f"runs {found:.2f}x as fast in batches of 256, at half {half:.1f}x",
        f"tuned schedule has {tuned('tome')} on 500 ImageNet images",
        "One image is 0.1 points, and the standard error of each number about 1.4.",
        f"the quickstart's runs at {quickstart()['1']}",
        f"has {whole('dynamicvit (untrained)')} % where `tome` has {whole('tome')} %",
    ]


def index() -> list[str]:
    speed, _ = deit_tiny()
    costs = [run["gmacs"] for run in tables.read_runs("flowers")[:2]]
    return [
        f"goes from {flowers('dense')[1]:.1f} % to {flowers('DynamicViT 0.7')[1]:.1f} % top-1",
        f"at {costs[1]:.3f} instead of {costs[0]:.3f} G",
        f"runs {speed} as fast at batch 1 on one thread of a CPU",
        f"at 0.7 of the cost runs {gpu('deit-base', 256)['tome, three-stage']:.2f}x as fast on an H200",
    ]


def alternatives() -> list[str]:
    rows = tables.read_results("alternatives")["rows"]
    whole = rows["dense, float32"]

    def apart(name: str) -> str:
        _, difference, error = tables.load_script("alternatives").compare(rows[name], whole)
        return f"{difference:+.1f} ± {error:.1f}"

    def told(name: str, batch: str) -> str:
        return f"{100 * statistics.fmean(rows[name]['right']):.1f} % at {rows[name]['milliseconds'][batch]:.1f} ms"

    def faster(name: str, batch: str) -> str:
        return f"{whole['milliseconds'][batch] / rows[name]['milliseconds'][batch]:.2f}x"

    return [
        f"{faster('dense, int8', '1')} as fast at batch 1 and {faster('dense, int8', '8')} at batch 8, in bfloat16 "
        f"{faster('dense, bfloat16', '1')} and {faster('dense, bfloat16', '8')}",
        f"160 pixels in int8 have {told('160 px, int8', '1')}",
        f"not below the dense model ({apart('tome 0.65, float32')}) and {faster('tome 0.65, float32', '8')} as fast "
        f"at batch 8, but {faster('tome 0.65, float32', '1')} at batch 1",
        f"`evit` is {faster('evit 0.65, float32', '1')} as fast at batch 1 and loses "
        f"{apart('evit 0.65, float32').lstrip('-')} points",
        f"`evit` at 192 pixels in int8 has {told('evit 0.65, 192 px, int8', '8')}, beside {told('160 px, int8', '8')} "
        f"for 160 pixels alone, and `tome` at 192 pixels {told('tome 0.65, 192 px, int8', '8')}",
        f"9 of 12 cost {apart('9 blocks, float32').lstrip('-')} points, 6 cost "
        f"{apart('6 blocks, float32').lstrip('-')}",
    ]


def benchmarks() -> list[str]:
    every, other = (tables.read_results(name) for name in ("deit_tiny_without_training", "deit_tiny_schedules"))
    dense = every["dense"]
    rows = [row["top1"] for row in other["results"] if row["fraction"] > 0.7]
    large = [gpu(model, 256) for model in ("deit-base", "vit-large", "dinov2-base")]
    ours = [each[name] for each in large for name in THREE if name in each]
    of_ideal = [
        row["over_ideal"]
        for case in tables.read_runs("gpu")
        if (case["batch"], case["setting"]["compiled"], case["fraction"]) == (256, "eager", 0.7)
        for row in case["measurements"]
        if row["kind"] == "sparse" and row["model"] in THREE and case["model"] != "siglip-base"
    ]
    small, base, half = gpu("deit-small", 256), gpu("deit-base", 256), gpu("deit-base", 256, fraction=0.5)
    ones = [gpu(model, 1, "cuda-graph")["ideal"] for model in ("deit-small", "deit-base", "vit-large")]
    eights = [gpu(model, 8, "cuda-graph") for model in ("deit-small", "deit-base", "vit-large")]
    siglip = gpu("siglip-base", 256)
    unseen = {(row["method"], row["fraction"]): row.get("unseen") for row in every["results"]}
    fused = unseen["mctf", 0.5]
    losses = [
        flowers(a)[1] - flowers(b)[1]
        for a, b in (("dense", "DynamicViT 0.7"), ("dense at 1e-4", "DynamicViT 0.7 from it"))
    ]
    fall_own = (
        f"{fall('tome', 0.7, 'own bank')} points below the dense model at 0.7, EViT {fall('evit', 0.7, 'own bank')}"
    )
    native = tables.read_results("dinov2_without_training")["dense"]
    knn = [100 * native[name]["own bank"]["top1"] for name in ("pooler_output", "features")]
    served = tables.read_results("serving")["settings"]
    return [
        *alternatives(),
        f"One run each with seed 42; one image is {100 / tables.read_runs('flowers')[0]['images']:.2f} points.",
        f"DynamicViT is {losses[0]:.1f} and {losses[1]:.1f} points below its dense model",
        f"dense {tables.percent(dense['top1'])} at {dense['gmacs']:.3f} G multiply-adds",
        "One image is 0.1 points, and the standard error of each accuracy about 1.4.",
        f"no search of schedules below has seen; dense {tables.percent(dense['unseen']['top1'])}) `diffrate` that "
        f"drops nothing has {tables.percent(unseen['diffrate (nothing dropped)', 0.7]['top1'])} at 0.7 of the cost, "
        f"and `mctf` {tables.percent(fused['top1'])} at half of it, which is "
        f"{-100 * fused['difference']['mean']:.1f} ± {100 * fused['difference']['error']:.1f} points below dense",
        f"whose dense model has {tables.percent(other['dense']['top1'])}",
        f"({100 * min(rows):.1f} to {tables.percent(max(rows))})",
        f"(256 patches, {native['gmacs']:.2f} G multiply-adds)",
        f"right for {knn[0]:.1f} % by the class token and {knn[1]:.1f} % by class token and mean",
        f"falls by {fall('idlevit', 0.7, 'dense bank')} points",
        f"points, among themselves by {fall('idlevit', 0.7, 'own bank')}",
        f"At half, ToMe loses {fall('tome', 0.5, 'dense bank')} points in a dense bank",
        f"ToMe is not ahead: {fall_own}; at half {fall('tome', 0.5, 'own bank')} and {fall('evit', 0.5, 'own bank')}",
        f"Medians of {served['turns']} turns of {served['seconds']} seconds",
        f"reach {spread(of_ideal)} of their ideal: at 0.7 of the cost {spread(ours)} times the dense DeiT-B, ViT-L "
        f"and DINOv2-B, and {spread([small[name] for name in THREE])} times DeiT-S; at half {half['evit']:.2f} and "
        f"{half['tome, three-stage']:.2f} (EViT, ToMe, DeiT-B)",
        f"({base['diffrate, three-stage']:.2f} and {base['mctf, three-stage']:.2f}, DeiT-B)",
        f"the ideal is no faster ({spread(ones)} with CUDA graphs)",
        f"(DeiT-S {eights[0]['ideal']:.2f}, DeiT-B {eights[1]['ideal']:.2f}, ViT-L {eights[2]['ideal']:.2f})",
        f"but for EViT on ViT-L ({eights[2]['evit']:.2f})",
        f"runs the backbone {at_half('DINOv2-S backbone', DROPPING)} times as fast",
        f"of whose time more is overhead, {at_half('YOLOS-tiny encoder', DROPPING)} times",
        f"(eager): {gpu('deit-small', 64)['dense ms']:.1f} ms, as at batch 1",
        f"({gpu('deit-base', 256, 'default')['dense ms']:.1f} and {base['dense ms']:.1f} ms)",
        f"ours exceed their ideal ({siglip['evit']:.2f}, {siglip['ideal']:.2f})",
    ]


def choose() -> list[str]:
    return [
        "The standard error of each is about 1.4 points.",
        "1.2 to 1.3 times the dense model at 0.7 of its cost, 1.55 to 1.6 at half",
        f"({top1('diffrate (nothing dropped)', 0.7)} and {top1('diffrate (nothing dropped)', 0.5)})",
        f"A step took {step('evit, no teacher'):.2f}x of a dense one",
        f"of `dynamicvit` {step('dynamicvit, no teacher'):.2f}x without a teacher and "
        f"{step('dynamicvit, teacher'):.2f}x with one",
        f"was {flowers('dense')[1] - flowers('DynamicViT 0.7')[1]:.1f} points below its dense model",
    ]


def backbones() -> list[str]:
    other = tables.read_results("backbone_features")["rows"][0]["cosine"]
    found = {row["model"]: row["times as fast"] for row in tables.read_results("retrieval")["rows"]}
    return [
        f"that of two images is {', '.join(f'{value:.3f}' for value in other[:3])} and {other[3]:.3f}",
        f"gain in full: {at_half('DINOv2-S backbone', ('tome',))} times at half the cost",
        f"ran DINOv2-S at {found['tome at 0.7']:.2f} and {found['tome at 0.5']:.2f} times the native speed",
    ]


def retrieval() -> list[str]:
    found = {row["model"]: row["cosine"] for row in tables.read_results("retrieval")["rows"]}
    return [f"the dense one is {found['tome at 0.7']:.3f} and {found['tome at 0.5']:.3f}"]


def families() -> list[str]:
    def near(method: str, name: str) -> str:
        return f"{encoder(method, 0.7, name)['cosine']['mean']:.3f}"[1:]

    first, second = (
        [near(method, name) for method in ("tome", "evit", "random")] for name in ("pooler_output", "features")
    )
    return [
        f"is {first[0]} with `tome`, {first[1]} with `evit`, {first[2]} with `random`; to class token and mean of "
        f"patches {second[0]}, {second[1]} and {second[2]}."
    ]


def methods() -> list[str]:
    return [
        f"{top1('diffrate (nothing dropped)', 0.5)} with `pruned_share` 0 and {top1('diffrate', 0.5)} with 0.4",
        f"{top1('bat', 0.7)} at 0.7 of the multiply-adds, `evit` {top1('evit', 0.7)}, and {top1('bat', 0.5)} at half, "
        f"`evit` {top1('evit', 0.5)}",
        f"{top1('freq', 0.7)} at 0.7 of the multiply-adds and {top1('freq', 0.5)} at half",
    ]


def tune() -> list[str]:
    found, old = tables.read_results("deit_tiny_tuned"), "deit_tiny_schedules"
    without = "diffrate (nothing dropped)"
    errors = [100 * row["unseen"]["difference"]["error"] for row in found["results"]]
    before = tables.read_results(old)["dense"]["unseen"]["top1"]
    assert tuned("mctf", name=old) == tuned(without, name=old)
    return [
        f"(dense {tables.percent(found['dense']['unseen']['top1'])} there): at 0.7 of the cost `tome` "
        f"{tuned('tome')}, `mctf` {tuned('mctf')}, `diffrate` {tuned(without)}; at half `mctf` {tuned('mctf', 0.5)}, "
        f"`diffrate` {tuned(without, 0.5)}, `tome` {tuned('tome', 0.5)}; standard errors of the differences to dense "
        f"are {spread(errors, 1)} points",
        f"(H200, dense {tables.percent(before)} there), had {tuned('tome', name=old)} with `tome`, "
        f"{tuned('mctf', name=old)} with `mctf` and `diffrate`, {tuned('evit', name=old)} with `evit`",
    ]


def by_seed(setting: str, data: str = "emoji") -> dict[int, float]:
    """Return top-1 in % by seed of a setting of the runs that the defaults were chosen by."""
    runs = tables.read_runs("training")
    return {run["seed"]: 100 * run["top1"] for run in runs if (run["setting"], run["data"]) == (setting, data)}


def recipes() -> list[str]:
    faster, slower = by_seed("backbone 2e-4, crops from 0.7"), by_seed("crops from 0.7")
    apart = [faster[seed] - slower[seed] for seed in faster]
    ours, published = by_seed("sparse: ratio 10, attention, crops from 0.7"), by_seed("sparse: published, no crops")
    classifier = by_seed("classifier 5e-3")[42] - by_seed("one rate")[42]
    seconds = sum(run["seconds"] for run in tables.read_runs("flowers")[:2])
    half, full = (
        next(run for run in tables.read_runs("step_time") if run["dtype"] == dtype)["rows"]
        for dtype in ("bfloat16", "float32")
    )
    taken = [
        next(row["milliseconds"] for row in rows if row["step"] == "dynamicvit, teacher") for rows in (half, full)
    ]
    masked = 100 * step("dynamicvit, no teacher") - 100
    return [
        f"a step with teacher then takes {taken[0] / taken[1]:.2f} of the time here",
        f"(predictors, masks, the gradient of the decisions) is {masked:.0f} % here",
        f"emoji lose {ours[42] - published[42]:.1f} points to the defaults",
        f"{classifier:.0f} points on emoji",
        f"{min(apart):.1f} and {max(apart):.1f} points on emoji",
        f"(dense {tables.percent(tables.read_results('deit_tiny_without_training')['dense']['top1'])} of 1,000",
        f"that other jobs shared: {seconds / 60:.0f} minutes for both phases",
    ]


def finetune() -> list[str]:
    first, second = (run["seconds"] / 60 for run in tables.read_runs("flowers")[:2])
    return [f"{first:.0f} minutes for three epochs of the dense model and {second:.0f} for four of DynamicViT"]


def start() -> list[str]:
    found = quickstart()
    return [
        f"Expect about 98 % top-1 from both, at {found['cost']} of the multiply-adds",
        f"*slower* at batch 1 ({found['1']}) and faster at batch 64 ({found['64']})",
    ]


def at_half(shape: str, methods: tuple[str, ...]) -> str:
    """Tell how fast a model of large images is at half the cost, from the slowest to the fastest."""
    found = []
    for run in tables.read_results("high_resolution")["runs"]:
        taken = {row["method"]: statistics.median(row["seconds"]) for row in run["rows"]}
        if run["shape"] == shape:
            found += [taken["native"] / taken[f"{method} at 0.5"] for method in methods]
    return spread(found, 1)


DROPPING = ("tome", "evit", "dynamicvit")


def lost(name: str, measure: str, first: str, second: str) -> str:
    """Tell how many points of a measure two rows of a task lie from the dense model."""
    found = {row["model"]: 100 * row[measure] for row in tables.read_results(name)["rows"]}
    apart = [abs(found[each] - found["dense"]) for each in (first, second)]
    return f"lost {apart[0]:.0f} and {apart[1]:.0f} points"


def depth() -> list[str]:
    return [lost("depth", "abs_rel", "evit at 0.7, not trained", "evit at 0.5, not trained")]


def segmentation() -> list[str]:
    found = tables.read_results("segmentation")["evaluated"]
    dense, sparse = (100 * found[name]["miou"] for name in ("dense", "sparse"))
    low, high = (100 * bound for bound in found["difference"]["miou"]["interval"])
    costs = [found[name] + found["head_gmacs"] for name in ("sparse_gmacs", "dense_gmacs")]
    svit = lost("segmentation", "miou", "svit at 0.7, not trained", "svit at 0.7, head trained")
    random, trained = re.findall(r"\d+", svit)
    return [
        lost("segmentation", "miou", "idlevit at 0.7, not trained", "evit at 0.7, not trained"),
        f"it lost {random} points",
        f"for two epochs on a frozen backbone, {trained}.",
        f"mIoU {dense:.1f} % dense and {sparse:.1f} % sparse, a difference of {low:.1f} to {high:.1f} points",
        f"for {100 * (1 - costs[0] / costs[1]):.0f} % fewer multiply-adds of the whole model",
    ]


def detection() -> list[str]:
    return [f"{at_half('YOLOS-tiny encoder', DROPPING)} times at half the cost"]


MEASURED: dict[str, Callable[[], list[str]]] = {
    "README.md": readme,
    "docs/index.md": index,
    "docs/benchmarks.md": benchmarks,
    "docs/choose.md": choose,
    "docs/backbones.md": backbones,
    "docs/retrieval.md": retrieval,
    "docs/families.md": families,
    "docs/methods.md": methods,
    "docs/tune.md": tune,
    "docs/recipes.md": recipes,
    "docs/finetune.md": finetune,
    "docs/start.md": start,
    "docs/depth.md": depth,
    "docs/segmentation.md": segmentation,
    "docs/detection.md": detection,
}


# ----- not measured

# Published numbers have their source in the same section; others follow from sizes, or are options, limits, versions.
PUBLISHED, COUNTED, SET = "published", "counted", "set"
OTHERS: dict[str, list[tuple[str, str]]] = {
    "docs/add_a_method.md": [
        (SET, "down to 5 % of the patches"),
    ],
    "docs/benchmarks.md": [
        (SET, "the 95 % interval"),
        (COUNTED, "(2.88 of 4.60 G, 1.60x)"),
        (SET, "bodies of 12 MB"),
        (COUNTED, "are 2 % of the dense model's multiply-adds"),
    ],
    "docs/deploy.md": [
        (SET, "the middle 80 % of the times"),
        (COUNTED, "they are 4 % of the cost"),
        (SET, "tried with 2026.4 on a CPU"),
    ],
    "docs/depth.md": [
        (SET, "the share of pixels within 25 %"),
    ],
    "docs/families.md": [
        (COUNTED, "It prints 4.650 G of 6.551 G."),
        (COUNTED, "the stem takes 1.351 G of it"),
        (COUNTED, "has 12.678 G, and 8.593 G at 0.7"),
        (COUNTED, "LeViT-128S takes 0.256 G multiply-adds, 128 0.305 G, 192 0.510 G, 256 0.880 G, 384 1.849 G"),
    ],
    "docs/finetune.md": [
        (SET, "15 % of each class are then held out"),
        (SET, "which 95 % interval"),
        (COUNTED, "the interval is 20 points wide"),
        (SET, "keeps 0.7, 0.49 and 0.343 of the patches"),
        (COUNTED, "0.64 of DeiT-Tiny's multiply-adds"),
    ],
    "docs/hub.md": [
        (SET, "its 95 % interval"),
    ],
    "docs/look.md": [
        (SET, "their 95 % intervals"),
    ],
    "docs/methods.md": [
        (SET, "means 0.7, 0.49, 0.343 after the stages"),
        (PUBLISHED, "the rest at 1 % of it after being frozen"),
        (COUNTED, "0.55 of 100 is 55"),
        (PUBLISHED, "the rest at 1 % of it. `reducer_args`"),
        (PUBLISHED, "as published (0.9 to 0.975)"),
        (COUNTED, "takes 2.881 G multiply-adds instead of 3.007 G"),
        (SET, "within about 0.001 of it"),
        (SET, "Thresholds start at 0.001, 0.002 and 0.003"),
        (SET, "means 0.7, 0.49 and 0.343 in a third"),
        (PUBLISHED, "DeiT-S 79.8 to 79.4 at 1.47 times the throughput"),
        (SET, "`threshold` (0.88)"),
        (PUBLISHED, "0.88 small, 0.94 base and 0.95 large models"),
    ],
    "docs/pyramids.md": [
        (PUBLISHED, "Swin-T 80.9 %, Swin-S 83.2 %, ConvNeXt-T 81.6 %, ConvNeXt-S 82.6 %"),
        (COUNTED, "| Swin-T | 4.491 | 4.247 | 4.041 |"),
        (COUNTED, "| Swin-S | 8.741 | 7.505 | 6.846 |"),
        (COUNTED, "| Swin-B | 15.431 | 13.234 | 12.063 |"),
        (COUNTED, "| ConvNeXt-T | 4.456 | 3.908 | 3.579 |"),
        (COUNTED, "| ConvNeXt-S | 8.684 | 6.759 | 5.771 |"),
        (COUNTED, "| ConvNeXt-B | 15.355 | 11.934 | 10.177 |"),
        (COUNTED, "differences of 2 or 3 points at best"),
        (PUBLISHED, "backbone 20 % of the rate"),
    ],
    "docs/recipes.md": [
        (SET, "15 % of each class"),
        (SET, "their 95 % intervals"),
        (PUBLISHED, "1e-3, backbone 1 % of it"),
        (PUBLISHED, "EMA 0.9999, class token and positions frozen"),
        (PUBLISHED, "| `diffrate-search` | 3 | 256 | 0.01 |"),
        (PUBLISHED, "weight decay 0.025, EMA 0.99996"),
        (PUBLISHED, "4e-3, backbone 20 % of it"),
        (PUBLISHED, "stochastic depth 0.2, EMA 0.9999, no clipping"),
        (SET, "(before: 0.35)"),
        (SET, "(asked for: 0.70/0.49/0.34)"),
        (COUNTED, "so that 1.1 points are one standard error"),
        (SET, "weight decay 0.05, crops from 0.35 of the area"),
        (PUBLISHED, "(backbone at 1 %)"),
    ],
    "docs/segmentation.md": [
        (SET, "points (95 %)"),
    ],
    "docs/serve.md": [
        (SET, "`Retry-After` is 1 second"),
        (SET, "one edge more than 64 times the other"),
    ],
    "docs/troubleshooting.md": [
        (SET, "learns at 1 % of the rate"),
        (SET, "wants 0.99 or less"),
    ],
    "docs/tune.md": [
        (SET, "is within 3 % of what was asked for"),
        (SET, "more than 5 % off"),
    ],
}
