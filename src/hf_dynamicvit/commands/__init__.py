# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What can be typed after `hf-dynamicvit`: a file a command, with its options and examples, and one of what it does.

The first, such as `train.py`, needs no torch; the second, `train_run.py`, is imported when the command runs. So help
and typing errors are answered at once.
"""
