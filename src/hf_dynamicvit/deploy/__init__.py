# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What goes along with an exported file, so that it runs where neither torch nor this package is."""
