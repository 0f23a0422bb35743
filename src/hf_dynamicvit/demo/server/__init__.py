# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Protect the demo: limits, refusals, and uploads that are forgotten."""
