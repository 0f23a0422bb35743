# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The model, in a flat folder that travels with a checkpoint as remote code."""
