# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Search the schedule that meets a cost or a latency and changes a model's answers least, without training."""
