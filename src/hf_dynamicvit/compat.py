# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What the package, beside `model/`, uses of others that they do not promise to keep: why, and until when.

`model/compat.py` has what the models need, as it must travel with them. Not here are methods that a subclass of
`Trainer` or `ArgumentParser` overrides or calls by name, as subclasses do (`tests/test_compat.py` lists them), nor
`auto.py`, whose docstring says so of all of it. Who needs one of these needs no other, so nothing is imported ahead.
"""

from typing import Any


# The logger that tells which operators of torchvision are left out of an export, once for each. Can go when torch
# tells it at a lower level.
ONNX_REGISTRATION_LOGGER = "torch.onnx._internal.exporter._registration"


def multiplies_bfloat16() -> bool:
    """Return whether this CPU has instructions for bfloat16 products; can go when torch has a public question."""
    import torch

    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def memory_events(profile: Any) -> list[Any]:
    """List the allocations that `torch.profiler.profile(profile_memory=True)` saw, in order.

    `profile.events()` has sums only; can go when it has each with its time.
    """
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    return sorted(events, key=lambda event: event.start_ns())


def waiting_requests(blocks: Any) -> list[Any]:
    """List the requests in Gradio's queue, to bound them by sender; can go with a public list."""
    queues = blocks._queue.event_queue_per_concurrency_id.values()
    return [event.request for queue in queues for event in queue.queue]


def uploaded_files(blocks: Any) -> set[str]:
    """Return the paths that Gradio takes for its uploads, to delete old ones; can go when it bounds their size."""
    return blocks.upload_file_set


def forget_session(blocks: Any, session: str) -> None:
    """Free what Gradio keeps of a session, its image included, at its end; can go when Gradio does so at once."""
    blocks.state_holder.session_data.pop(session, None)
