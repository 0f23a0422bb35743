# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What can be typed after `hf-dynamicvit`: a file a command, with its options and examples.

Each imports torch, and what it runs, only when it runs, so that help and typing errors are answered at once.
"""
