# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The launcher's files in examples/accelerate say what the launcher understands, and the command runs under it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import accelerate
import pytest
import yaml
from colours import write_colours
from packaging.version import Version
from paths import EXAMPLES
from programs import launch, run_program


pytestmark = pytest.mark.slow


FILES = sorted((EXAMPLES / "accelerate").glob("*.yaml"))

# What the launcher makes of a file, and Accelerate of what it sets; in a process of its own, which that changes.
READ = """
import json, os, sys

from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_multi_gpu_env

args = launch_command_parser().parse_args(["--config_file", sys.argv[1], "-m", "hf_dynamicvit"])
args, _, _ = _validate_launch_command(args)
result = {"processes": args.num_processes, "machines": args.num_machines, "precision": str(args.mixed_precision)}
result["module"] = args.module and args.training_script
if args.use_fsdp:
    os.environ.update(prepare_multi_gpu_env(args))
    plugin = FullyShardedDataParallelPlugin()
    result |= {"version": plugin.fsdp_version, "wraps": plugin.transformer_cls_names_to_wrap}
    result |= {"first_only": plugin.cpu_ram_efficient_loading, "saves": str(plugin.state_dict_type)}
print(json.dumps(result))
"""


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_launcher_files(file, tmp_path):
    written = yaml.safe_load(file.read_text())
    if written["distributed_type"] == "FSDP" and Version(accelerate.__version__) < Version("1.6"):
        pytest.skip("FSDP2 came with Accelerate 1.6")
    code = f"import torch; torch.cuda.is_available = lambda: True; torch.cuda.device_count = lambda: 8\n{READ}"
    run = run_program(code, str(file), folder=tmp_path)
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout.splitlines()[-1])
    assert result["processes"] == written["num_processes"] and result["machines"] == written["num_machines"]
    assert result["precision"] == "bf16" and result["module"] == "hf_dynamicvit"
    if written["distributed_type"] == "FSDP":
        assert result["version"] == 2 and result["wraps"] == ["DynamicViTLayer"]
        assert result["first_only"] is False and "FULL_STATE_DICT" in result["saves"]


def test_there_is_a_file_for_each_way():
    assert [file.stem for file in FILES] == ["ddp_8_gpu", "fsdp_8_gpu", "multi_node", "one_gpu"]


# The command, as both processes of a launcher start it.
COMMAND = "import sys; from hf_dynamicvit.commands.cli import main; sys.exit(main(sys.argv[1:]))"


def by_launcher(command: list[str], folder: Path) -> str:
    """Return what `torchrun` prints, whose processes import everything anew."""
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--rdzv-backend=c10d"]
    words = [sys.executable, *launcher, "--rdzv-endpoint=localhost:0", "-m", "hf_dynamicvit", *command]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run(words, cwd=folder, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stdout


def by_forks(command: list[str], folder: Path) -> str:
    """Return what two forked processes print that find each other as those of `torchrun` do."""
    return "".join(done.stdout for done in launch(COMMAND, *command, folder=folder))


@pytest.mark.parametrize("run", [by_forks, pytest.param(by_launcher, marks=pytest.mark.long)])
def test_the_command_in_two_processes(run, tmp_path):
    write_colours(tmp_path)
    options = ["--dataset", "images", "--output-dir", "out", "--use-cpu", "--max-steps", "2"]
    options += ["--teacher-epochs", "1", "--per-device-train-batch-size", "3", "--ema-decay", "0.5"]
    printed = run(["train", "--model", "other", *options], tmp_path)
    assert printed.count("top-1") == 2  # the model's and the teacher's, said once
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["steps"] == 2 and 0 <= results["teacher_top1"] <= 1
    assert (tmp_path / "out" / "ema" / "model.safetensors").is_file()
