"""The trainer of the multimodal component."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from bem2.multimodal.answers import Answers
from bem2.multimodal.controller import MultimodalController
from bem2.multimodal.data import (
    Encoded,
    Pixels,
    QuestionDataset,
    evaluation_questions,
    make_loader,
    training_questions,
)
from bem2.multimodal.evaluation import MultimodalEvaluator
from bem2.multimodal.losses import answer_loss, consistency_loss, coverage_loss, hallucination_loss, weighted
from bem2.multimodal.model import Outputs, VisualQuestionModel
from bem2.multimodal.samples import Questions
from bem2.multimodal.scores import consistency, coverage
from bem2.multimodal.settings import read_settings
from bem2.multimodal.text_encoder import make_text_encoder, make_tokens
from bem2.multimodal.vision_encoder import make_encoder
from bem_core.errors import CheckpointError
from bem_core.training.base_trainer import BaseTrainer
from bem_core.training.foreign import LegacyCheckpoint


def _progress(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return the counters of an old checkpoint."""
    try:
        micro_steps, best = int(saved["step"]), saved["best_metrics"].get("f1_score")
        window = int(saved["config"]["gradient_accumulation_steps"])
        steps = micro_steps // window
    except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        expected = "step, best_metrics, and gradient_accumulation_steps in config"
        raise CheckpointError(f"the old checkpoint is not whole: expected {expected}: {error!r}") from error
    return {"step": steps, "micro_step": micro_steps, "batch": micro_steps, "best": best}


class MultimodalTrainer(BaseTrainer):
    """Trains a controller to answer questions about images, as ``experiment_type: multimodal`` asks for."""

    #: docs/legacy_repairs/multimodal.md says why.
    legacy_options: ClassVar[Mapping[str, Any]] = {
        "training.progress_unit": "micro_step",
        "training.gradient_accumulation_steps": 4,
        "training.batch_source": "sampled",
        "training.loss_weight": "equal",
        "training.last_window": "drop",
        "training.zero_grad": "after_step",
        "training.clip_interval": "micro_step",
        "training.no_decay": [],
        "training.scheduler_type": "one_cycle",
        "evaluation.eval_batch_size": 1,
        "output.metric_for_best_model": "token_f1",
    }

    #: The old trainer saved the controller only, and counted micro-steps.
    legacy_checkpoint = LegacyCheckpoint(
        model={"model_state_dict": "controller."},
        kept=(r"text\..*", r"vision\..*"),
        progress=_progress,
    )

    model: VisualQuestionModel

    def _setup_model(self) -> nn.Module:
        self._settings = read_settings(self.config)
        self._training = training_questions(self.config, self._settings)
        asked = self._training.questions
        self._answers = Answers(
            (text for one in asked for text in one.answers), (name for one in asked for name in one.objects)
        )
        text = make_text_encoder(self.config, self._settings)
        vision = make_encoder(self.config, self._settings.vision)
        controller = MultimodalController(
            text.dim, vision.dim, vision.grid, len(self._answers), self._settings.controller
        )
        model = VisualQuestionModel(text, vision, controller)
        self._evaluator(model)  # What it cannot measure is an error before training.
        return model

    def _evaluator(self, model: VisualQuestionModel) -> MultimodalEvaluator:
        return MultimodalEvaluator(model, self._answers, self.config.evaluation, self._settings.gate)

    def _setup_dataloaders(self) -> tuple[Any, Any]:
        held_out = evaluation_questions(self.config, self._settings)
        return self._loader(self._training, True), None if held_out is None else self._loader(held_out, False)

    def _loader(self, data: Questions, training: bool) -> Any:
        vision, settings = self.model.vision, self._settings.vision
        images: Encoded | Pixels
        if settings.freeze:
            images = Encoded(data.images, vision, settings.encode_batch_size)
        else:
            images = Pixels(data.images, vision.image_size)
        tokens = make_tokens(self.config, self._settings)
        dataset = QuestionDataset(data.questions, images, tokens, self._answers, vision.grid)
        return make_loader(dataset, self.config, tokens.pad_token_id, training)

    def _forward(self, batch: Any) -> Any:
        return self.wrapped_model(batch)

    def _compute_loss(self, batch: Any, outputs: Outputs) -> dict[str, Any]:
        covered, agreed = coverage(outputs.view, batch["objects"]), consistency(outputs.view)
        terms = {
            "answer": answer_loss(outputs.logits, batch["targets"]).mean(),
            "coverage": coverage_loss(covered),
            "consistency": consistency_loss(agreed),
            "hallucination": hallucination_loss(torch.softmax(outputs.logits, dim=-1), batch["wrong"]),
        }
        return {"loss": weighted(terms, self._settings.loss_weights), **terms}

    def _evaluate(self, dataloader: Any) -> dict[str, float]:
        found = self._evaluator(self.model).evaluate(dataloader).flat()
        del found["duration_s"]  # Metrics of a run that was resumed are those of one that was not.
        return found

    def _metrics(self) -> dict[str, float]:
        controller = self.model.controller
        found = {"code_norm": controller.chunk_router.ema_chunk_code.norm().item()}
        if controller.conflict_gate is not None:
            found["vision_gate"] = controller.conflict_gate.gate_ema.item()
        return found

    def _state(self) -> dict[str, Any]:
        return {"answers": self._answers.texts}

    def _load_state(self, state: dict[str, Any]) -> None:
        if state["answers"] != self._answers.texts:
            raise CheckpointError(
                f"the checkpoint has {len(state['answers'])} other answers than the {len(self._answers)} of the data"
            )
