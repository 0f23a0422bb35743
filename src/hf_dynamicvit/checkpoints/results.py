# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`results.json`, which `hf-dynamicvit train` leaves beside a model: read back, where it still is of that model."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from ..model.classification import ReducedForImageClassification


RESULTS = "results.json"

# The weights are saved ahead of the results; copies of both may be written in another order, a little later.
SECONDS_OF_COPYING = 60


def weights_fingerprint(folder: Path) -> str:
    """Compute the SHA-256 of the `*.safetensors` in `folder`, by name."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as content:
            digest.update(file.name.encode() + hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


def read_results(folder: Path) -> dict[str, Any] | None:
    """Read what training measured of the model in `folder`; `None` where nothing is, or of another program."""
    try:
        found = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    needed = {"top1": float, "gmacs": float, "reducer": str, "patches": list}
    ours = isinstance(found, dict) and all(isinstance(found.get(name), kind) for name, kind in needed.items())
    return found if ours and 0 <= found["top1"] <= 1 else None


def change_since(results: dict[str, Any], folder: Path, model: ReducedForImageClassification) -> str | None:
    """Say what of `model`, read from `folder`, has changed since `results` were written; `None`: nothing known."""
    if results["reducer"] != model.config.reducer:
        return f"the method was {results['reducer']} and is {model.config.reducer}"
    if not model.config.is_adaptive:
        if results["patches"] != model.token_counts():
            return f"it kept {results['patches']} patches and keeps {model.token_counts()}"
        gmacs = model.multiply_adds() / 1e9
        if not math.isclose(results["gmacs"], gmacs, rel_tol=1e-6):
            return f"an image took {results['gmacs']:.4g} GMACs and takes {gmacs:.4g}"
    if "weights" in results:
        return None if results["weights"] == weights_fingerprint(folder) else "its weights are others"
    saved = max(file.stat().st_mtime for file in folder.glob("*.safetensors"))
    newer = saved - (folder / RESULTS).stat().st_mtime > SECONDS_OF_COPYING
    return "its weights were saved after it" if newer else None


def wilson_interval(fraction: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """Compute the 95 % interval of a proportion (Wilson, JASA 1927): `fraction` of `count` images are right."""
    centre = fraction + z**2 / (2 * count)
    margin = z * math.sqrt(fraction * (1 - fraction) / count + z**2 / (4 * count**2))
    scale = 1 + z**2 / count
    return max(0.0, (centre - margin) / scale), min(1.0, (centre + margin) / scale)
