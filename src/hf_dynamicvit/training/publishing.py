# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The half of the Trainer that faces the Hub: what is pushed, and the card."""

import shutil
from pathlib import Path
from typing import Any, cast

from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from transformers import PreTrainedModel, Trainer
from transformers.trainer_utils import HubStrategy

from ..hub.card import UPLOADED, Measurements, accuracy_of, inherited_license, may_write, model_card, recipe_of
from ..model.logger import logger
from ..model.remote_code import code_travels
from .adapters import acting_reducer, inner_model, is_adapted
from .teacher import teacher_name


class PublishingTrainer(Trainer):
    """A `Trainer` whose pushes and cards are ours; `DynamicViTTrainer` is the one to use."""

    loss_weights: dict[str, float]
    teacher: PreTrainedModel | None
    _evaluated: tuple | None  # the settings that the last evaluation was of

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs,
    ):
        """As in `Trainer`, but only what a user of the model needs goes: weights, configuration, processor, card and
        the code that loads them without this package; no `training_args.bin`, which is a pickle, and no logs.

        Raises:
            ValueError: PEFT has wrapped the model.
        """
        refuse_adapters(self.model)
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        token = token or self.args.hub_token
        if self.hub_model_id is None:
            self.args.hub_private_repo = self.args.hub_private_repo if private is None else private
            self.init_hf_repo(token=token)
        folder = Path(cast(str, self.args.output_dir)) / "_push"  # nothing else of output_dir goes
        model = self.accelerator.unwrap_model(self.model)
        if self.is_world_process_zero():
            shutil.rmtree(folder, ignore_errors=True)
        with code_travels(model.config, model.auto_classes()):
            self.save_model(str(folder), _internal_call=True)
        if not self.is_world_process_zero():
            return None
        kwargs.setdefault("model_name", cast(str, self.hub_model_id).split("/")[-1])
        self.create_model_card(**kwargs)
        shutil.copy(folder.parent / "README.md", folder)
        self._finish_current_push()
        return HfApi(token=token).upload_folder(
            repo_id=cast(str, self.hub_model_id),
            folder_path=folder,
            commit_message=commit_message,
            run_as_future=not blocking,
            allow_patterns=UPLOADED,
            ignore_patterns=["*/*"],
            revision=revision or self.args.hub_revision,
        )

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Pushing while training would upload pickles: optimizer, random states, arguments."""
        if self.args.hub_strategy != HubStrategy.END:
            logger.warning_once(
                f"hub_strategy is {HubStrategy(self.args.hub_strategy).value!r}; checkpoints hold pickles and stay "
                "here. The model is pushed at the end."
            )

    def _kept_settings(self) -> tuple:
        """What decides how much is kept: an accuracy holds for these."""
        model = self.accelerator.unwrap_model(self.model)
        reducer = acting_reducer(model)
        thresholds = reducer.state_dict() if model.config.is_adaptive else {}
        return model.config.keep_ratio, model.config.reducer_args, [value.tolist() for value in thresholds.values()]

    def create_model_card(
        self,
        language: str | None = None,
        license: str | None = None,
        tags: str | list[str] | None = None,
        model_name: str | None = None,
        finetuned_from: str | None = None,
        tasks: str | list[str] | None = None,
        dataset_tags: str | list[str] | None = None,
        dataset: str | list[str] | None = None,
        dataset_args: str | list[str] | None = None,
    ) -> None:
        """Write our card to `output_dir/README.md`, unless that is somebody's own; arguments as in `Trainer`.

        The accuracy is there if the model as training left it was evaluated, the data set if it is named.

        Raises:
            ValueError: PEFT has wrapped the model.
        """
        refuse_adapters(self.model)
        path = Path(cast(str, self.args.output_dir)) / "README.md"
        if not self.is_world_process_zero() or not may_write(path):
            return
        model = self.accelerator.unwrap_model(self.model)
        source = finetuned_from or getattr(model.config, "_name_or_path", "") or None
        base_model = source if is_repository(source) else None
        measured = Measurements(
            top1=accuracy_of(self.state, self.args) if self._evaluated == self._kept_settings() else None,
            dataset=first_of(dataset_tags),
            dataset_name=first_of(dataset),
            recipe=recipe_of(self.args, self.state, self.loss_weights, teacher_name(self.teacher)),
        )
        license = license or inherited_license(source)
        repo_id = self.args.hub_model_id or model_name or path.parent.name
        tags = [tags] if isinstance(tags, str) else tags
        card = model_card(model, repo_id, measured, base_model, license, language=language, tags=tags)
        path.parent.mkdir(parents=True, exist_ok=True)
        card.save(path)


def refuse_adapters(model: Any) -> None:
    """Refuse to publish adapters alone: the card and the code are those of a whole model."""
    if is_adapted(model):
        name = type(inner_model(model)).__name__
        raise ValueError(
            f"model is a {type(model).__name__}, whose adapters alone are no {name}; merge them first: "
            "trainer.model.merge_and_unload() gives the whole model, which has save_pretrained and push_to_hub."
        )


def first_of(names: str | list[str] | None) -> str | None:
    """One name of one or several."""
    return names if names is None or isinstance(names, str) else next(iter(names), None)


def is_repository(name: str | None) -> bool:
    """Whether a model's source is the name of a Hub repository, and no folder that is or was here."""
    try:
        validate_repo_id(name or "")
    except HFValidationError:
        return False
    return not Path(cast(str, name)).exists()
