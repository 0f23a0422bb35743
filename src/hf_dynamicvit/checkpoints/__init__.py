# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Checkpoints: what a user typed for one, loading it, its classes, and those of other projects."""
