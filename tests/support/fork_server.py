# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Fork programs off a process that has imported torch and Transformers and nothing of `hf_dynamicvit`.

`python fork_server.py` reads requests from standard input, a line of JSON each: a list of processes to run beside each
other. It answers each with the list of their exit statuses. `programs.py` asks it.
"""

import atexit
import gc
import json
import os
import signal
import sys
import tempfile
import threading
import traceback
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import NoReturn, TextIO


PRELOADED = """
    torch torch.distributed torch.distributed.fsdp torch.distributed.run numpy PIL.Image safetensors.torch accelerate
    datasets evaluate huggingface_hub transformers transformers.trainer transformers.pipelines
    transformers.models.auto.modeling_auto transformers.models.auto.image_processing_auto
    transformers.models.vit.image_processing_pil_vit
"""
# The native models that `hf_dynamicvit.model` imports, half of the time that it takes.
FAMILIES = """
    aimv2 beit clip convnext deit dinov2 dinov2_with_registers dinov3_vit idefics3 ijepa levit metaclip_2 siglip
    smolvlm swin vit vit_msn yolos
"""


def serve(requests: TextIO, answers: TextIO) -> dict | None:
    """Answer requests to their end and return None; in a process that was forked off, return what it is to run."""
    for line in requests:
        children = []
        for process in json.loads(line):
            child = os.fork()
            if child == 0:
                return process
            children.append(child)
        statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(json.dumps(statuses), file=answers, flush=True)
    return None


def begin(process: dict) -> None:
    """Make this process what `python` with such arguments, in such a folder and environment, would be."""
    for stream, (file, flags) in enumerate(
        [(os.devnull, os.O_RDONLY), (process["stdout"], os.O_WRONLY), (process["stderr"], os.O_WRONLY)]
    ):
        opened = os.open(file, flags | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, stream)
        os.close(opened)
    os.chdir(process["folder"])
    os.environ.clear()
    os.environ.update(process["environment"])
    tempfile.tempdir = None  # which is of the environment
    sys.argv = process["arguments"]
    sys.path[0] = process["path"]
    signal.setitimer(signal.ITIMER_REAL, process["timeout"])  # whose signal ends a process that hangs


def run(code: str, file: str) -> int:
    """Run `code` as the main module and return the exit status."""
    main = ModuleType("__main__")
    main.__dict__["__file__"] = file
    sys.modules["__main__"] = main
    try:
        exec(compile(code, file, "exec"), main.__dict__)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def end(status: int) -> NoReturn:
    """End as the interpreter does, but leave the memory of all modules to the system: freeing it takes a second."""
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def main() -> int:
    answers = os.fdopen(os.dup(1), "w")
    for module in PRELOADED.split():
        import_module(module)
    for family in FAMILIES.split():
        import_module(f"transformers.models.{family}.modeling_{family}")
    gc.freeze()  # what is loaded stays: forked processes need not copy its pages to look for cycles
    assert not [name for name in sys.modules if name.startswith("hf_dynamicvit")]
    with suppress(BrokenPipeError):
        process = serve(sys.stdin, answers)
    if process is None:
        return 0
    answers.close()
    begin(process)
    end(run(process["code"], process["file"]))


if __name__ == "__main__":
    sys.exit(main())
