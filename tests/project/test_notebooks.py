# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The notebooks run from top to bottom, without network, on a checkpoint laid out as the quickstart's."""

from pathlib import Path

import nbformat
import pytest
from jupyter_client import KernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from paths import EXAMPLES
from toys import toy_dense, toy_model

from hf_dynamicvit.commands.quickstart_run import ViTImageProcessorPil
from hf_dynamicvit.data.digits import IMAGE_SIZE


pytestmark = pytest.mark.slow


NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


# Ahead of a notebook: its folder, and no names of the notebook before it.
START = "%reset -f\nimport os\nos.chdir({!r})\ndel os"
# Fewer images and methods than the notebooks have.
FEWER = """
import hf_dynamicvit
from hf_dynamicvit.data import digits
def few_digits(seed, whole=digits.load_digits_dataset):
    return {name: part.select(range(64)) for name, part in whole(seed).items()}
digits.load_digits_dataset = few_digits
hf_dynamicvit.REDUCERS = {name: hf_dynamicvit.REDUCERS[name] for name in ("dynamicvit", "idlevit", "tome", "topk")}
"""


@pytest.fixture(scope="module", params=[FEWER, pytest.param("", marks=pytest.mark.long)], ids=["few", "all"])
def kernel(request):
    """Start one for all notebooks, as each imports torch and Transformers anew."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel()
    execute(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(request.param)]), manager)
    yield manager
    manager.shutdown_kernel(now=True)


def execute(notebook, kernel: KernelManager) -> None:
    NotebookClient(notebook, km=kernel, timeout=300).execute()


def run(file: Path, folder: Path, kernel: KernelManager) -> list[dict]:
    """Its outputs, executed anew in `folder`."""
    notebook = nbformat.read(file, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(START.format(str(folder))))
    execute(notebook, kernel)
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


@pytest.fixture
def quickstart(tmp_path) -> Path:
    digits = {"num_labels": 10, "id2label": {index: str(index) for index in range(10)}}
    for name, model in (("dense", toy_dense(**digits)), ("sparse", toy_model(**digits))):
        model.save_pretrained(tmp_path / "quickstart" / name)
        processor = ViTImageProcessorPil(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE})
        processor.save_pretrained(tmp_path / "quickstart" / name)
    return tmp_path


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


def test_without_a_quickstart_it_says_so(tmp_path, kernel):
    with pytest.raises(CellExecutionError, match="run `hf-dynamicvit quickstart` first"):
        run(NOTEBOOKS[0], tmp_path, kernel)
