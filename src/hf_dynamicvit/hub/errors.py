# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Say in words what goes wrong with the Hub."""

from collections.abc import Generator
from contextlib import contextmanager

from huggingface_hub.errors import HTTPError


@contextmanager
def hub_errors_in_words(repo_id: str) -> Generator[None]:
    """Raise an `OSError` in words where the Hub cannot be reached, or lost what was sent."""
    try:
        yield
    except OSError:  # what the Hub answered
        raise
    except HTTPError as error:
        raise OSError(f"the Hub cannot be reached ({error}); nothing was committed to {repo_id}.") from error
    except RuntimeError as error:  # how the client says that a large file did not get through
        raise OSError(f"{error} {error.__cause__ or ''} Nothing was committed to {repo_id}.") from error
