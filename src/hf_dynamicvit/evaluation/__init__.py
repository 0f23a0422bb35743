# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""How a sparse model does on a whole data set, beside the dense one."""
