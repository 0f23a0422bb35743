# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Images: where they come from, what is done to them, and in which order they are shown."""
