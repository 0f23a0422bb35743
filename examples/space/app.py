# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""A Space of the Hub with the page of `hf-dynamicvit demo`. README.md says how to make one of your own.

DEMO_MODELS, a variable in the settings of the Space, names the models that it shows, separated by spaces: names on the
Hub, or folders beside this file.
"""

import os

from hf_dynamicvit.demo import start_gradio


DEFAULT = "facebook/deit-tiny-patch16-224"


def make_demo():
    """The page, a `hf_dynamicvit.demo.page.Demo`, not yet served."""
    folder = start_gradio()
    from hf_dynamicvit.demo.page import build  # imports Gradio

    return build(os.environ.get("DEMO_MODELS", DEFAULT).split(), folder=folder)


if __name__ == "__main__":
    make_demo().launch()
