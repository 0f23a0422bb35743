# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The notebooks run from top to bottom, without network, on a checkpoint laid out as the quickstart's."""

from pathlib import Path

import matplotlib
import nbformat
import pytest
from jupyter_client import KernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from paths import EXAMPLES
from toys import toy_dense, toy_model

import hf_dynamicvit
from hf_dynamicvit import REDUCERS
from hf_dynamicvit.commands.quickstart_run import ViTImageProcessorPil
from hf_dynamicvit.data import digits
from hf_dynamicvit.data.digits import IMAGE_SIZE


pytestmark = pytest.mark.slow


NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


# Ahead of a notebook: its folder, and no names of the notebook before it.
START = "%reset -f\nimport os\nos.chdir({!r})\ndel os"


def cells(file: Path) -> list[str]:
    return [cell.source for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def kernel():
    """Start one for all notebooks, as each imports torch and Transformers anew."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel()
    yield manager
    manager.shutdown_kernel(now=True)


def run(file: Path, folder: Path, kernel: KernelManager) -> list[dict]:
    """Its outputs, executed anew in `folder`."""
    notebook = nbformat.read(file, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(START.format(str(folder))))
    NotebookClient(notebook, km=kernel, timeout=300).execute()
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


@pytest.fixture
def quickstart(tmp_path) -> Path:
    labels = {"num_labels": 10, "id2label": {index: str(index) for index in range(10)}}
    for name, model in (("dense", toy_dense(**labels)), ("sparse", toy_model(**labels))):
        model.save_pretrained(tmp_path / "quickstart" / name)
        processor = ViTImageProcessorPil(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE})
        processor.save_pretrained(tmp_path / "quickstart" / name)
    return tmp_path


@pytest.fixture
def few(monkeypatch):
    """Fewer images and methods than the notebooks have, and figures that nobody sees."""
    whole = digits.load_digits_dataset
    less = lambda seed: {name: part.select(range(64)) for name, part in whole(seed).items()}  # noqa: E731
    monkeypatch.setattr(digits, "load_digits_dataset", less)
    methods = {name: REDUCERS[name] for name in ("dynamicvit", "idlevit", "tome", "topk")}
    monkeypatch.setattr(hf_dynamicvit, "REDUCERS", methods)
    backend = matplotlib.get_backend()
    matplotlib.use("agg")
    yield
    matplotlib.use(backend)


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
def test_its_code_runs(file, quickstart, few, monkeypatch):
    monkeypatch.chdir(quickstart)
    namespace: dict = {}
    for source in cells(file):
        exec(compile(source, file.name, "exec"), namespace)


@pytest.mark.long
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_runs(file, quickstart, kernel):
    outputs = run(file, quickstart, kernel)
    images = sum(any(kind.startswith("image/") for kind in output.get("data", {})) for output in outputs)
    assert images >= 3
    kept = [output.outputs for output in nbformat.read(file, as_version=4).cells if output.cell_type == "code"]
    assert all(output["output_type"] != "error" for outputs in kept for output in outputs)
    assert file.stat().st_size < 400_000  # images are kept for those who only read


def test_there_are_two():
    assert len(NOTEBOOKS) == 2


def test_without_a_quickstart_it_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for file in NOTEBOOKS:
        with pytest.raises(SystemExit, match="run `hf-dynamicvit quickstart` first"):
            exec(compile(cells(file)[0], file.name, "exec"), {})


@pytest.mark.long
def test_without_a_quickstart_a_kernel_says_so(tmp_path, kernel):
    with pytest.raises(CellExecutionError, match="run `hf-dynamicvit quickstart` first"):
        run(NOTEBOOKS[0], tmp_path, kernel)
