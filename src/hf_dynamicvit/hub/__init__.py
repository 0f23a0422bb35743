# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What goes to the Hub: the card, and the upload."""
