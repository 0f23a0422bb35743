# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What can be typed after `hf-dynamicvit`: a file a command, with its options and examples, and one of what it does.

The first, `train.py`, imports torch and the second, `train_run.py`, only when the command runs, so that help and typing
errors are answered at once.
"""
