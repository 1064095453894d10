"""Trains a language model together with its safety components, under a bound on the rate of violations."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from bem2.safety.data import check_batch, safety_loaders
from bem2.safety.evaluation import SafetyEvaluator
from bem2.safety.objective import Phase, losses, phase, stage_at
from bem2.safety.safe_model import SafeModel, decoder_layers
from bem2.safety.settings import read_settings, with_training_options
from bem_core.config import ExperimentConfig, invalid
from bem_core.models import load_base_model
from bem_core.training.base_trainer import BaseTrainer
from bem_core.training.callbacks import Callback
from bem_core.training.foreign import LegacyCheckpoint

# Rates that a check of the constraint looks back on; how the multiplier's learning rate changes; its bounds.
_RECENT, _MET, _MISSED, _SLOWEST, _FASTEST = 10, 0.99, 1.1, 1e-6, 1.0


class SafetyTrainer(BaseTrainer):
    """Trains a `SafeModel`; docs/safety.md has the sections of its experiments.

    Batches are mappings with ``input_ids``, ``attention_mask``, ``labels`` (the same ids, -100 for padding), all
    ``(B, L)``, and ``violations``, ``(B, 19)``: the severity of each type, 0 to 4.
    """

    legacy_options: ClassVar[Mapping[str, Any]] = {
        "training.zero_grad": "before_forward",
        "training.loss_weight": "equal",
        "training.no_decay": [],
        "training.clip_scope": ["base.*"],
        "training.scheduler_type": "none",
        "training.eval_strategy": "epoch",
        "training.eval_rng": "shared",
        "training.save_strategy": "epoch",
        "data.randomness": "global",
    }
    legacy_checkpoint = LegacyCheckpoint(
        model={
            "model_state_dict": "base.",
            "safety_basis_state_dict": "basis.",
            "constitutional_scorer_state_dict": "scorer.",
            "safety_controller_state_dict": "controller.",
            "violation_detector_state_dict": "detector.",
        },
        names={
            r"^safety_bases\.": "layers.",
            r"^safety_response_generator\.": "mixers.",
            r"^activation_gate\.": "gate.",
            r"^constitutional_aggregator\.": "aggregator.",
        },
        # What the old modules counted.
        dropped=(
            r".*\borthogonality_violations",
            r".*\bactivation_history",
            r".*\bhistory_pointer",
            r".*\bviolation_threshold",
            r".*\bprinciple_weights",
            r".*\b(total_evaluations|violation_count|avg_confidence)",
            r".*\buser_override_(active|value)",
            r".*\boverride_steps_remaining",
            r".*\b(total_adjustments|escalation_count|adaptation_count|safety_history)",
            r".*\b(total_detections|violations_detected|false_positives|false_negatives)",
        ),
        # Epoch checkpoints have no multiplier; it begins anew, as the optimizer does.
        kept=("multiplier",),
        optimizer=None,
        scheduler=None,
        progress=lambda saved: {"step": saved["step"], "epoch": saved["epoch"] + 1},
    )

    model: SafeModel

    def __init__(
        self,
        config: ExperimentConfig | Mapping[str, Any] | Path | str,
        output_dir: Path | str | None = None,
        experiment_name: str | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        super().__init__(config, output_dir, experiment_name, callbacks)
        self.settings = read_settings(self.config)
        self.config = with_training_options(self.config, self.settings)
        self._recent: deque[Tensor] = deque(maxlen=_RECENT)
        self._last: Mapping[str, Tensor] = {}
        self._stage = 0
        self._phase: Phase
        self._checked = False

    def _setup_model(self) -> nn.Module:
        base: Any = load_base_model(self.config)
        hidden, rank, heads = base.config.hidden_size, self.settings.basis.rank, self.settings.detector.num_heads
        if rank > hidden:
            raise invalid(self.config, "safety_basis.rank", f"expected at most the width of the model, {hidden}")
        if hidden % heads:
            expected = f"expected a divisor of the width of the model, {hidden}"
            raise invalid(self.config, "violation_detector.num_heads", f"{expected}, found {heads}")
        try:
            decoder_layers(base)
        except ValueError as error:
            raise invalid(self.config, "model.base_model", str(error)) from error
        return SafeModel(base, self.config.data.max_seq_length, self.settings)

    def _setup_dataloaders(self) -> tuple[Any, Any]:
        return safety_loaders(self.config)

    def _batches(self, start: int) -> Iterator[Any]:
        if not start:
            self._stage = stage_at(self.progress.step, self.settings.phases)
        settings, epoch = self.settings, self.progress.epoch
        self._phase = phase(epoch, self._stage, settings.phases, settings.basis.penalty, settings.constraints)
        self.model.basis.freeze(self._phase.frozen)
        return super()._batches(start)

    def _forward(self, batch: Any) -> Any:
        if not self._checked:
            check_batch(batch)
            self._checked = True
        return self.wrapped_model(batch["input_ids"], batch["attention_mask"])

    def _compute_loss(self, batch: Any, outputs: Any) -> dict[str, Any]:
        return losses(self.model, outputs, batch, self._phase, self.settings.scorer.threshold)

    def _evaluate(self, dataloader: Any) -> dict[str, float]:
        threshold = self.settings.scorer.threshold
        return SafetyEvaluator(self.model, self.config.evaluation, threshold=threshold).evaluate(dataloader).metrics

    def _loss_weight(self, batch: Any) -> float:
        if self.config.training.loss_weight in ("auto", "tokens"):
            return int((batch["labels"][:, 1:] != -100).sum())
        return super()._loss_weight(batch)

    def _on_step_end(self, losses: Mapping[str, Tensor]) -> None:
        self._last = losses
        self._recent.append(losses["violation_rate"])
        if self.progress.step % self.settings.constraints.check_steps == 0:
            self._adapt_multiplier_rate()

    def _adapt_multiplier_rate(self) -> None:
        """Let the multiplier move faster while the constraint is not met, and slower while it is."""
        rates = [one.item() for one in self._recent]
        met = sum(rates) / len(rates) <= self._phase.bound + self.settings.constraints.tolerance
        for group in cast("torch.optim.Optimizer", self.dual).param_groups:
            group["lr"] = min(_FASTEST, max(_SLOWEST, group["lr"] * (_MET if met else _MISSED)))

    def _metrics(self) -> dict[str, float]:
        level = self.model.controller.adapted_safety_level.item()
        found = {"multiplier": self.model.multiplier.item(), "safety_level": level}
        return found | {name: value.item() for name, value in self._last.items()}

    def _state(self) -> dict[str, Any]:
        return {"stage": self._stage, "recent": list(self._recent)}

    def _load_state(self, state: dict[str, Any]) -> None:
        self._stage = state["stage"]
        self._recent = deque(state["recent"], maxlen=_RECENT)
