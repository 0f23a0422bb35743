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


@pytest.fixture(scope="module")
def kernel():
    """Yield one for all notebooks, as each start of one imports torch and Transformers anew."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel()
    yield manager
    manager.shutdown_kernel(now=True)


def run(file: Path, folder: Path, kernel: KernelManager) -> list[dict]:
    """Its outputs, executed in `folder` without names of the notebooks before it."""
    notebook = nbformat.read(file, as_version=4)
    start = nbformat.v4.new_code_cell(f"%reset -f\nimport os\nos.chdir({str(folder)!r})\ndel os")
    notebook.cells.insert(0, start)
    NotebookClient(notebook, km=kernel, timeout=120).execute()
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
