"""
Safety training pipeline (VC0).

Trains a language model together with the safety basis, the constitutional scorer, the controller and the violation
detector, under a bound on the violation rate, with warm-ups, a curriculum and a rollback when performance drops.
"""

import logging
from collections import deque
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import yaml
from torch.nn.utils import parametrize

from .safety_basis import OrthogonalSafetyBasis, SafetyBasisConfig
from .constitutional_scorer import ConstitutionalScorer, ValueModelConfig, scorer_loss
from .lagrangian_optimizer import LagrangianOptimizer, ConstraintConfig
from .safety_controller import SafetyController, ControlConfig
from .violation_detector import ViolationDetector, ViolationConfig, detector_loss

try:
    import wandb
except ImportError:
    wandb = None

logger = logging.getLogger(__name__)


@dataclass
class SafetyTrainingConfig:
    """Configuration of the pipeline."""

    num_epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    safety_warmup_epochs: int = 2
    orthogonality_warmup_epochs: int = 3
    constraint_warmup_epochs: int = 1
    utility_weight: float = 1.0
    safety_weight: float = 1.0
    orthogonality_weight: float = 0.5
    violation_constraint_weight: float = 2.0
    performance_check_frequency: int = 100
    max_performance_drop: float = 0.01
    rollback_threshold: int = 3
    eval_frequency: int = 500
    eval_samples: int = 100
    track_violation_reduction: bool = True
    enable_curriculum: bool = True
    curriculum_stages: int = 4
    stage_warmup_steps: int = 200
    save_frequency: int = 1000
    keep_best_checkpoint: bool = True
    checkpoint_dir: str = "checkpoints"
    log_frequency: int = 10
    track_gradients: bool = True
    track_activations: bool = True
    use_wandb: bool = True


def load_safety_configs(path: str) -> Dict[str, Any]:
    """Read an experiment like VC0.yml into the keyword arguments of the pipeline."""
    with open(path) as f:
        raw = yaml.safe_load(f) or {}
    safety = raw.get("safety", {}) or {}

    def make(cls, section):
        values = {}
        for field in fields(cls):
            if section.get(field.name) is None:
                continue
            value = section[field.name]
            # PyYAML reads 1e-4 as a string.
            if isinstance(field.default, float):
                value = float(value)
            values[field.name] = value
        return cls(**values)

    hidden = (raw.get("model", {}) or {}).get("hidden_dim", 768)
    basis = {"hidden_dim": hidden, "num_layers": (raw.get("model", {}) or {}).get("num_layers", 12)}
    training = dict(raw.get("training", {}) or {})
    training.update({k: v for k, v in (raw.get("logging", {}) or {}).items() if k in ("log_frequency", "use_wandb")})
    training.update(raw.get("checkpointing", {}) or {})
    training.setdefault("eval_frequency", (raw.get("evaluation", {}) or {}).get("eval_frequency"))
    return {
        "config": make(SafetyTrainingConfig, training),
        "safety_basis_config": make(SafetyBasisConfig, {**basis, **(safety.get("safety_basis") or {})}),
        "value_model_config": make(ValueModelConfig, safety.get("constitutional_scorer") or {}),
        "constraint_config": make(ConstraintConfig, safety.get("lagrangian_constraints") or {}),
        "control_config": make(ControlConfig, {"hidden_dim": hidden, **(safety.get("safety_controller") or {})}),
        "violation_config": make(ViolationConfig, {"hidden_dim": hidden, **(safety.get("violation_detector") or {})}),
    }


class SafetyAugmentedModel(nn.Module):
    """The language model with the safety components around it; what the optimizer sees."""

    def __init__(self, base_model, safety_basis, constitutional_scorer, safety_controller, violation_detector):
        super().__init__()
        self.base_model = base_model
        self.safety_basis = safety_basis
        self.constitutional_scorer = constitutional_scorer
        self.safety_controller = safety_controller
        self.violation_detector = violation_detector

    def _decoder_layers(self) -> nn.ModuleList:
        wanted = self.safety_basis.config.num_layers
        for module in self.base_model.modules():
            if isinstance(module, nn.ModuleList) and len(module) == wanted:
                return module
        raise ValueError(f"the model has no list of {wanted} layers")

    @contextmanager
    def _transformed_layers(self, scores: torch.Tensor, level: torch.Tensor):
        handles = []
        for i, layer in enumerate(self._decoder_layers()):

            def hook(module, args, output, i=i):
                hidden = output[0] if isinstance(output, tuple) else output
                hidden, _ = self.safety_basis(hidden, i, scores, level)
                return (hidden,) + output[1:] if isinstance(output, tuple) else hidden

            handles.append(layer.register_forward_hook(hook))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: Optional[torch.Tensor] = None,
        labels: Optional[torch.Tensor] = None,
        safety_outputs: Optional[Dict[str, torch.Tensor]] = None,
        constitutional_scores: Optional[torch.Tensor] = None,
        **kwargs,
    ) -> Dict[str, torch.Tensor]:
        with self._transformed_layers(constitutional_scores, safety_outputs["safety_level"]):
            logits = self.base_model(input_ids=input_ids, attention_mask=attention_mask).logits
        output_scores, judged = self._judge(logits, attention_mask)
        detection = self.violation_detector.analyze(input_ids, attention_mask, safety_outputs["hidden_states"])
        return {
            "logits": logits,
            "output_scores": output_scores,
            "output_logits": judged["logits"],
            "detection": detection,
            "scores": constitutional_scores,
            "score_details": safety_outputs["score_details"],
        }

    def _judge(self, logits: torch.Tensor, attention_mask: torch.Tensor):
        """Score what the model says; the gradient goes to the model and not to the judge."""
        scorer = self.constitutional_scorer
        trained = [p for p in scorer.parameters() if p.requires_grad]
        was_training = scorer.training
        scorer.eval()
        for p in trained:
            p.requires_grad_(False)
        try:
            embeddings = scorer.embed_distribution(logits)
            return scorer(None, attention_mask, return_details=True, embeddings=embeddings)
        finally:
            for p in trained:
                p.requires_grad_(True)
            scorer.train(was_training)


class SafetyTrainingPipeline:
    def __init__(
        self,
        model: nn.Module,
        config: SafetyTrainingConfig,
        safety_basis_config: SafetyBasisConfig,
        value_model_config: ValueModelConfig,
        constraint_config: ConstraintConfig,
        control_config: ControlConfig,
        violation_config: ViolationConfig,
    ):
        self.config = config
        self.model = model
        self.safety_basis = OrthogonalSafetyBasis(safety_basis_config)
        self.constitutional_scorer = ConstitutionalScorer(value_model_config)
        self.safety_controller = SafetyController(control_config)
        self.violation_detector = ViolationDetector(violation_config)
        self.augmented_model = SafetyAugmentedModel(
            model, self.safety_basis, self.constitutional_scorer, self.safety_controller, self.violation_detector
        )

        self.configured_violation_rate = constraint_config.max_violation_rate
        self.configured_penalty = safety_basis_config.orthogonal_penalty
        constraint_config.learning_rate = config.learning_rate
        constraint_config.weight_decay = config.weight_decay
        bases = [
            p
            for basis in self.safety_basis.safety_bases
            for name, p in basis.named_parameters()
            if name.startswith("parametrizations.")
        ]
        self.lagrangian_optimizer = LagrangianOptimizer(
            model=self.augmented_model,
            config=constraint_config,
            utility_loss_fn=self._compute_utility_loss,
            violation_loss_fn=self._compute_violation_loss,
            orthogonality_loss_fn=self.safety_basis.compute_orthogonality_penalty,
            safety_loss_fn=self._compute_safety_loss,
            undecayed_parameters=bases,
            clipped_parameters=list(model.parameters()),
        )

        self.current_epoch = 0
        self.current_step = 0
        self.best_performance = float("inf")
        self.best_violation_rate = float("inf")
        self.performance_degradation_count = 0
        self.performance_history = deque(maxlen=1000)
        self.violation_history = deque(maxlen=1000)
        self.safety_metrics_history = []
        self.num_rollbacks = 0
        self.checkpoint_dir = Path(config.checkpoint_dir)
        self.checkpoint_dir.mkdir(parents=True, exist_ok=True)
        self.best_model_state = None
        self.curriculum_stage = 0
        self.curriculum_progress = 0
        self.curriculum_scheduler = self._create_curriculum_scheduler()

        self.use_wandb = config.use_wandb and wandb is not None
        if config.use_wandb and wandb is None:
            logger.warning("wandb is not installed, so nothing is sent to it")
        if self.use_wandb:
            wandb.init(project="bem2-safety-training", config=asdict(config))

    # ------------------------------------------------------------------ training

    def train(
        self, train_dataloader, val_dataloader, safety_evaluation_fn: Optional[Callable] = None
    ) -> Dict[str, Any]:
        for epoch in range(self.config.num_epochs):
            self.current_epoch = epoch
            self._setup_epoch_training()
            epoch_metrics = self._train_epoch(train_dataloader)
            if val_dataloader is not None:
                epoch_metrics.update(self._validate_epoch(val_dataloader, safety_evaluation_fn))
            self._progress_curriculum()
            self._save_epoch_checkpoint(epoch_metrics)
            self._log_epoch_metrics(epoch, epoch_metrics)
            if self._should_early_stop(epoch_metrics):
                logger.info("early stop after epoch %d", epoch)
                break
        return self._finalize_training()

    def _train_epoch(self, dataloader) -> Dict[str, float]:
        self.augmented_model.train()
        all_metrics = []
        for batch_idx, batch in enumerate(dataloader):
            metrics = self._train_step(batch, batch_idx)
            self._update_training_tracking(metrics)
            all_metrics.append(metrics)
            if self.current_step % self.config.eval_frequency == 0:
                self._periodic_evaluation()
            if self.current_step % self.config.performance_check_frequency == 0:
                self._check_performance_degradation()
            if self.current_step % self.config.save_frequency == 0:
                self._save_step_checkpoint()
            if self.current_step % self.config.log_frequency == 0:
                self._log_step_metrics(metrics)
        if not all_metrics:
            return {}
        return {key: float(np.mean([m[key] for m in all_metrics])) for key in all_metrics[0]}

    def _train_step(self, batch: Dict[str, torch.Tensor], batch_idx: int) -> Dict[str, float]:
        self.current_step += 1
        input_ids = batch["input_ids"]
        attention_mask = batch.get("attention_mask")
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)

        outputs = self.model(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True)
        hidden_states = outputs.hidden_states[-1].detach()
        scores, details = self.constitutional_scorer(input_ids, attention_mask, return_details=True)
        safety_level = self.safety_controller(hidden_states, scores, domain="general")

        safety_batch = batch.copy()
        safety_batch["attention_mask"] = attention_mask
        safety_batch["safety_outputs"] = {
            "safety_level": safety_level,
            "hidden_states": hidden_states,
            "score_details": details,
        }
        safety_batch["constitutional_scores"] = scores.detach()
        with parametrize.cached():
            metrics = self.lagrangian_optimizer.step(safety_batch, scores, return_metrics=True)

        if self.violation_detector.config.real_time_detection:
            screening = self.violation_detector.real_time_violation_screening(hidden_states, attention_mask)
            metrics["real_time_violations"] = float(screening["violations_detected"].float().mean())
        metrics["safety_level"] = float(safety_level.detach())
        metrics["constitutional_score"] = float(scores.detach().mean())
        return metrics

    def _compute_utility_loss(self, model_output, batch) -> torch.Tensor:
        # Without the shift the model learned to repeat its input.
        logits, labels = model_output["logits"][:, :-1], batch["labels"][:, 1:]
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten())

    def _compute_violation_loss(self, model_output, safety_scores) -> torch.Tensor:
        # 1 - score has no gradient where the scorer is sure.
        return F.softplus(-model_output["output_logits"]).mean()

    def _compute_safety_loss(self, model_output, batch) -> torch.Tensor:
        """What teaches the scorer and the detector; batches without labels teach them nothing."""
        violations = batch.get("violations")
        if violations is None:
            return model_output["logits"].new_zeros(())
        safe = (violations.max(dim=1).values == 0).float()
        scored = scorer_loss(
            torch.sigmoid(model_output["score_details"]["logits"]),
            model_output["score_details"],
            safe,
            self.constitutional_scorer.config.score_threshold,
        )
        threshold = self.violation_detector.config.violation_threshold
        return scored + detector_loss(model_output["detection"], violations, threshold)

    def _recompute_model_outputs(self, transformed_hidden_states, attention_mask):
        """Logits of hidden states of the last layer; the training step runs the transformed layers instead."""
        head = getattr(self.model, "head", None) or getattr(self.model, "lm_head", None)
        return head(transformed_hidden_states[-1])

    def _setup_epoch_training(self):
        config = self.config
        self.safety_basis.freeze_safety_bases(self.current_epoch < config.safety_warmup_epochs)
        # Was `*= 0.1` in each of these epochs, and never restored.
        factor = 0.1 if self.current_epoch < config.orthogonality_warmup_epochs else 1.0
        self.safety_basis.config.orthogonal_penalty = self.configured_penalty * factor
        warming_up = self.current_epoch < config.constraint_warmup_epochs
        self.lagrangian_optimizer.update_constraint_target(1.0 if warming_up else self.configured_violation_rate)
        # The weights were in no loss.
        constraint = self.lagrangian_optimizer.config
        constraint.utility_weight = config.utility_weight
        constraint.safety_weight = config.safety_weight
        constraint.orthogonality_weight = config.orthogonality_weight
        constraint.violation_weight = config.violation_constraint_weight

    # ------------------------------------------------------------------ validation

    def _validate_epoch(self, val_dataloader, safety_evaluation_fn) -> Dict[str, float]:
        # The controller and the detector stayed in training mode, so that validation moved the level.
        self.augmented_model.eval()
        collected: Dict[str, List[float]] = {}
        with torch.no_grad():
            for batch in val_dataloader:
                for key, value in self._validate_step(batch).items():
                    collected.setdefault(key, []).append(value)
            if safety_evaluation_fn is not None:
                for key, value in safety_evaluation_fn(self.model).items():
                    # Floats were not iterable.
                    collected.setdefault(key, []).extend(value if isinstance(value, (list, tuple)) else [value])
        self.augmented_model.train()
        return {f"val_{key}": sum(values) / len(values) for key, values in collected.items()}

    def _validate_step(self, batch: Dict[str, torch.Tensor]) -> Dict[str, float]:
        input_ids = batch["input_ids"]
        attention_mask = batch.get("attention_mask")
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        outputs = self.model(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True)
        hidden_states = outputs.hidden_states[-1]
        scores = self.constitutional_scorer(input_ids, attention_mask)
        safety_level = self.safety_controller(hidden_states, scores, domain="general")
        results = self.violation_detector(
            input_ids, hidden_states=hidden_states, fast_mode=True, attention_mask=attention_mask
        )
        return {
            "constitutional_score": float(scores.double().mean()),
            "safety_level": float(safety_level),
            "violations_detected": float(sum(r.violation_detected for r in results)),
            "average_confidence": sum(r.confidence for r in results) / len(results),
        }

    def _convert_ids_to_text(self, input_ids: torch.Tensor) -> List[str]:
        return [" ".join(str(i) for i in row) for row in input_ids.tolist()]

    def _periodic_evaluation(self):
        statistics = {
            "orthogonality": self.safety_basis.validate_orthogonality()["max_error"],
            "activation": self.safety_basis.get_activation_statistics()["mean_activation"],
            **self.constitutional_scorer.get_constitutional_statistics(),
        }
        logger.info("step %d: %s", self.current_step, statistics)
        if self.use_wandb:
            wandb.log({f"periodic/{k}": v for k, v in statistics.items()}, step=self.current_step)

    # ------------------------------------------------------------------ rollback

    def _check_performance_degradation(self):
        if len(self.performance_history) < 10:
            return
        history = list(self.performance_history)
        recent = history[-10:]
        baseline = history[:10] if len(history) > 20 else recent
        drop = sum(recent) / len(recent) - sum(baseline) / len(baseline)
        if drop > self.config.max_performance_drop:
            self.performance_degradation_count += 1
            logger.warning("performance dropped by %.4f (%d)", drop, self.performance_degradation_count)
            if self.performance_degradation_count >= self.config.rollback_threshold:
                self._trigger_performance_rollback()
                self.performance_degradation_count = 0
        else:
            self.performance_degradation_count = 0

    def _trigger_performance_rollback(self):
        if self.best_model_state is None:
            return
        state = dict(self.best_model_state)
        self.lagrangian_optimizer.lambda_param.data.copy_(state.pop("lambda_param"))
        self.augmented_model.load_state_dict(state)
        # Its copy may be older than ours, from before the constraint was as tight as it is.
        if self.lagrangian_optimizer.best_violation_rate <= self.best_violation_rate:
            self.lagrangian_optimizer.restore_best_model()
        self.num_rollbacks += 1
        logger.warning("step %d: rolled back", self.current_step)

    # ------------------------------------------------------------------ curriculum

    def _create_curriculum_scheduler(self):
        if not self.config.enable_curriculum:
            return None
        stages = [
            {"safety_weight": 0.1, "constraint_weight": 0.0, "orthogonality_weight": 0.1},
            {"safety_weight": 0.3, "constraint_weight": 0.2, "orthogonality_weight": 0.2},
            {"safety_weight": 0.6, "constraint_weight": 0.5, "orthogonality_weight": 0.3},
            {"safety_weight": 1.0, "constraint_weight": 1.0, "orthogonality_weight": 0.5},
        ]
        stages = stages[: self.config.curriculum_stages]
        self._apply_curriculum_stage(stages[0])
        return stages

    def _apply_curriculum_stage(self, stage: Dict[str, float]):
        self.config.safety_weight = stage["safety_weight"]
        self.config.violation_constraint_weight = stage["constraint_weight"]
        self.config.orthogonality_weight = stage["orthogonality_weight"]

    def _progress_curriculum(self):
        if self.curriculum_scheduler is None:
            return
        # Counted its calls, one an epoch, against a number of steps.
        self.curriculum_progress = self.current_step
        stage = min(len(self.curriculum_scheduler) - 1, self.current_step // self.config.stage_warmup_steps)
        if stage != self.curriculum_stage:
            self.curriculum_stage = stage
            self._apply_curriculum_stage(self.curriculum_scheduler[stage])
            logger.info("curriculum stage %d", stage)

    # ------------------------------------------------------------------ tracking, checkpoints, logging

    def _update_training_tracking(self, metrics: Dict[str, float]):
        self.performance_history.append(metrics["utility_loss"])
        self.violation_history.append(metrics["violation_rate"])
        self.safety_metrics_history.append(metrics)
        if metrics["violation_rate"] < self.best_violation_rate:
            self.best_violation_rate = metrics["violation_rate"]
            state = {k: v.detach().clone() for k, v in self.augmented_model.state_dict().items()}
            state["lambda_param"] = self.lagrangian_optimizer.lambda_param.detach().clone()
            self.best_model_state = state

    def _save_epoch_checkpoint(self, metrics: Dict[str, float]):
        torch.save(
            {
                "epoch": self.current_epoch,
                "step": self.current_step,
                "model_state_dict": self.model.state_dict(),
                "safety_basis_state_dict": self.safety_basis.state_dict(),
                "constitutional_scorer_state_dict": self.constitutional_scorer.state_dict(),
                "safety_controller_state_dict": self.safety_controller.state_dict(),
                "violation_detector_state_dict": self.violation_detector.state_dict(),
                "metrics": metrics,
                "config": self.config,
                "best_violation_rate": self.best_violation_rate,
                "curriculum_stage": self.curriculum_stage,
            },
            self.checkpoint_dir / f"epoch_{self.current_epoch}.pt",
        )

    def _save_step_checkpoint(self):
        torch.save(
            {
                "step": self.current_step,
                "model_state_dict": self.model.state_dict(),
                "lagrangian_state": self.lagrangian_optimizer.lambda_param.item(),
                "best_violation_rate": self.best_violation_rate,
            },
            self.checkpoint_dir / f"step_{self.current_step}.pt",
        )

    def _log_step_metrics(self, metrics: Dict[str, float]):
        logger.info("step %d: %s", self.current_step, {k: round(v, 4) for k, v in metrics.items()})
        if self.use_wandb:
            wandb.log({f"train/{k}": v for k, v in metrics.items()}, step=self.current_step)

    def _log_epoch_metrics(self, epoch: int, metrics: Dict[str, float]):
        logger.info("epoch %d: %s", epoch, {k: round(v, 4) for k, v in metrics.items()})
        if self.use_wandb:
            # With step=epoch it went back in time.
            wandb.log({f"epoch/{k}": v for k, v in metrics.items()}, step=self.current_step)

    def _should_early_stop(self, metrics: Dict[str, float]) -> bool:
        violation_rate = metrics.get("val_violation_rate", 1.0)
        utility_loss = metrics.get("val_utility_loss", float("inf"))
        return (
            violation_rate <= self.configured_violation_rate
            and utility_loss - self.best_performance <= self.config.max_performance_drop
        )

    def _finalize_training(self) -> Dict[str, Any]:
        final_metrics = {
            "training_completed": True,
            "total_epochs": self.current_epoch,
            "total_steps": self.current_step,
            "best_violation_rate": self.best_violation_rate,
            "final_performance": list(self.performance_history)[-10:],
            "orthogonality_validation": self.safety_basis.validate_orthogonality(),
            "constitutional_stats": self.constitutional_scorer.get_constitutional_statistics(),
            "detection_stats": self.violation_detector.get_detection_statistics(),
            "constraint_analysis": self.lagrangian_optimizer.get_constraint_analysis(),
        }
        if len(self.violation_history) >= 100:
            history = list(self.violation_history)
            first, last = float(np.mean(history[:50])), float(np.mean(history[-50:]))
            final_metrics["violation_reduction_percentage"] = (first - last) / max(first, 1e-8) * 100
        torch.save(
            {
                "model_state_dict": self.model.state_dict(),
                "safety_system": {
                    "safety_basis": self.safety_basis.state_dict(),
                    "constitutional_scorer": self.constitutional_scorer.state_dict(),
                    "safety_controller": self.safety_controller.state_dict(),
                    "violation_detector": self.violation_detector.state_dict(),
                },
                "final_metrics": final_metrics,
                "config": self.config,
            },
            self.checkpoint_dir / "final_model.pt",
        )
        if self.use_wandb:
            wandb.finish()
        return final_metrics
