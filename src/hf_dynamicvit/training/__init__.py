# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Training: the Trainer, its arguments, losses and metrics."""
