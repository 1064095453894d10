"""Train the multimodal controller."""

import logging
import math
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

from .vision_encoder import VisionEncoder, VisionFeatures
from .controller_integration import MultimodalController, MultimodalRoutingState
from .coverage_analysis import ConsistencyGate, CoverageMetrics, ConsistencyMetrics, boxes_to_patch_mask
from .evaluation import VQAEvaluator, HallucinationDetector
from .preprocessing import VisionPreprocessor

logger = logging.getLogger(__name__)

MAX_TEXT_LENGTH = 128


@dataclass
class MultimodalTrainingConfig:
    vision_dim: int = 512
    controller_dim: int = 512
    code_dim: int = 8
    learning_rate: float = 1e-4
    weight_decay: float = 1e-5
    warmup_steps: int = 1000
    max_steps: int = 50000
    gradient_clip_norm: float = 1.0
    primary_loss_weight: float = 1.0
    coverage_loss_weight: float = 0.1
    consistency_loss_weight: float = 0.1
    conflict_loss_weight: float = 0.05
    hallucination_loss_weight: float = 0.1
    batch_size: int = 8
    gradient_accumulation_steps: int = 4
    evaluation_steps: int = 1000
    save_steps: int = 5000
    vision_dropout: float = 0.1
    consistency_threshold: float = 0.5
    coverage_threshold: float = 0.3
    enable_conflict_supervision: bool = True
    validate_cache_safety: bool = True
    generator_gradient_check: bool = True


@dataclass
class TrainingStep:
    step: int
    losses: Dict[str, float]
    metrics: Dict[str, float]
    learning_rate: float
    gradient_norm: float
    batch_time: float


@dataclass
class EvaluationResult:
    step: int
    vqa_metrics: Dict[str, float]
    hallucination_metrics: Dict[str, float]
    coverage_stats: Dict[str, float]
    consistency_stats: Dict[str, float]
    gate_stats: Dict[str, float]


_TEXT_TABLES: Dict[int, torch.Tensor] = {}


def text_table(dim: int) -> torch.Tensor:
    """A fixed vector for each byte, and for begin, end and padding."""
    if dim not in _TEXT_TABLES:
        _TEXT_TABLES[dim] = torch.randn(259, dim, generator=torch.Generator().manual_seed(0))
    return _TEXT_TABLES[dim]


def text_positions(length: int, dim: int) -> torch.Tensor:
    position = torch.arange(length).float().unsqueeze(1)
    rate = torch.exp(torch.arange(0, dim, 2).float() * (-math.log(10000.0) / dim))
    table = torch.zeros(length, dim)
    table[:, 0::2] = torch.sin(position * rate)
    table[:, 1::2] = torch.cos(position * rate)[:, : dim // 2]
    return table


def encode_text(texts: List[str], dim: int, max_length: int = MAX_TEXT_LENGTH) -> Tuple[torch.Tensor, torch.Tensor]:
    ids = torch.full((len(texts), max_length), 258, dtype=torch.long)
    mask = torch.zeros(len(texts), max_length, dtype=torch.long)
    for i, text in enumerate(texts):
        tokens = ([256] + list(text.encode("utf-8")) + [257])[:max_length]
        ids[i, : len(tokens)] = torch.tensor(tokens)
        mask[i, : len(tokens)] = 1
    hidden = text_table(dim)[ids] + text_positions(max_length, dim)
    return hidden, mask


class MultimodalLoss(nn.Module):
    def __init__(self, config: MultimodalTrainingConfig):
        super().__init__()
        self.config = config
        self.vqa_evaluator = VQAEvaluator()
        self.hallucination_detector = HallucinationDetector()
        self.coverage_loss = nn.BCELoss()
        self.consistency_loss = nn.MSELoss()
        self.conflict_loss = nn.BCEWithLogitsLoss()

    def compute_coverage_loss(
        self, coverage_metrics: CoverageMetrics, target_coverage: float = 0.7
    ) -> torch.Tensor:
        losses = []
        for value, target in [
            (coverage_metrics.overall_score, target_coverage),
            (coverage_metrics.spatial_entropy, 0.8),
            (coverage_metrics.region_diversity, 0.6),
        ]:
            # diversity goes from 0 to 2 and sums of weights round up
            value = value.clamp(1e-6, 1.0 - 1e-6)
            losses.append(self.coverage_loss(value, torch.full_like(value, target)))
        return torch.stack(losses).mean()

    def compute_consistency_loss(
        self, consistency_metrics: ConsistencyMetrics, target_consistency: float = 0.8
    ) -> torch.Tensor:
        score = consistency_metrics.overall_score
        target = torch.full_like(score, target_consistency)
        losses = [
            self.consistency_loss(score, target),
            2 * self.consistency_loss(consistency_metrics.cross_modal_alignment, target),
            self.consistency_loss(consistency_metrics.global_local_consistency, target),
        ]
        return torch.stack(losses).mean()

    def compute_conflict_loss(self, gate_logits: torch.Tensor, true_conflicts: torch.Tensor) -> torch.Tensor:
        return self.conflict_loss(gate_logits, true_conflicts.float())

    def compute_hallucination_penalty(
        self,
        answer_probabilities: torch.Tensor,
        answer_vocab: List[str],
        detected_objects: List[List[str]],
        penalty_scale: float = 1.0,
    ) -> torch.Tensor:
        """Probability of naming an object that is not there."""
        rows = []
        for detected in detected_objects:
            rows.append(
                [self.hallucination_detector.detect_object_hallucinations(a, detected) for a in answer_vocab]
            )
        wrong = torch.tensor(rows, device=answer_probabilities.device)
        return penalty_scale * (answer_probabilities * wrong).sum(dim=-1).mean()

    def forward(
        self,
        primary_loss: torch.Tensor,
        answer_probabilities: Optional[torch.Tensor] = None,
        answer_vocab: Optional[List[str]] = None,
        coverage_metrics: Optional[CoverageMetrics] = None,
        consistency_metrics: Optional[ConsistencyMetrics] = None,
        gate_logits: Optional[torch.Tensor] = None,
        true_conflicts: Optional[torch.Tensor] = None,
        detected_objects: Optional[List[List[str]]] = None,
    ) -> Tuple[torch.Tensor, Dict[str, torch.Tensor]]:
        losses = {"primary": primary_loss}
        total = self.config.primary_loss_weight * primary_loss
        if coverage_metrics is not None:
            losses["coverage"] = self.compute_coverage_loss(coverage_metrics)
            total = total + self.config.coverage_loss_weight * losses["coverage"]
        if consistency_metrics is not None:
            losses["consistency"] = self.compute_consistency_loss(consistency_metrics)
            total = total + self.config.consistency_loss_weight * losses["consistency"]
        if gate_logits is not None and true_conflicts is not None:
            losses["conflict"] = self.compute_conflict_loss(gate_logits, true_conflicts)
            total = total + self.config.conflict_loss_weight * losses["conflict"]
        if answer_probabilities is not None and detected_objects is not None:
            losses["hallucination"] = self.compute_hallucination_penalty(
                answer_probabilities, answer_vocab, detected_objects
            )
            total = total + self.config.hallucination_loss_weight * losses["hallucination"]
        losses["total"] = total
        return total, losses


class CacheSafetyValidator:
    """Cached features are only right as long as nothing that made them is trained."""

    def __init__(self):
        self.violation_count = 0
        self.total_checks = 0
        self.generator_param_names: List[str] = []

    def register_generator_params(self, model: nn.Module):
        self.generator_param_names = [name for name, _ in model.named_parameters()]

    def validate_gradients(self, model: nn.Module, loss: torch.Tensor) -> bool:
        self.total_checks += 1
        params = dict(model.named_parameters())
        safe = all(params[name].grad is None for name in self.generator_param_names if name in params)
        if not safe:
            self.violation_count += 1
        return safe

    def get_stats(self) -> Dict[str, float]:
        return {
            "violation_count": self.violation_count,
            "total_checks": self.total_checks,
            "violation_rate": self.violation_count / max(self.total_checks, 1),
        }


class MultimodalTrainer:
    def __init__(
        self,
        model: MultimodalController,
        vision_encoder: VisionEncoder,
        preprocessor: VisionPreprocessor,
        consistency_gate: ConsistencyGate,
        config: MultimodalTrainingConfig,
        output_dir: str = "outputs/multimodal_training",
    ):
        self.model = model
        self.vision_encoder = vision_encoder
        self.preprocessor = preprocessor
        self.consistency_gate = consistency_gate
        self.config = config
        self.output_dir = Path(output_dir)
        self.output_dir.mkdir(parents=True, exist_ok=True)
        self.loss_fn = MultimodalLoss(config)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        # OneCycleLR divides by pct_start * total_steps - 1
        warmup = min(max(config.warmup_steps, 2), config.max_steps - 1)
        self.scheduler = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            max_lr=config.learning_rate,
            total_steps=config.max_steps,
            pct_start=warmup / config.max_steps,
        )
        self.step = 0
        self.training_history: List[TrainingStep] = []
        self.evaluation_history: List[EvaluationResult] = []
        self.best_metrics: Dict[str, float] = {}
        self.stats = {"total_samples": 0, "cache_violations": 0}
        self.cache_validator = CacheSafetyValidator()
        if config.validate_cache_safety:
            self.cache_validator.register_generator_params(self.vision_encoder)

    def save_checkpoint(self, step: int, metrics: Optional[Dict[str, float]] = None, is_best: bool = False):
        checkpoint = {
            "step": step,
            "model_state_dict": self.model.state_dict(),
            "optimizer_state_dict": self.optimizer.state_dict(),
            "scheduler_state_dict": self.scheduler.state_dict(),
            "config": asdict(self.config),
            "training_history": self.training_history,
            "evaluation_history": self.evaluation_history,
            "best_metrics": self.best_metrics,
            "stats": self.stats,
        }
        if metrics is not None:
            checkpoint["current_metrics"] = metrics
        torch.save(checkpoint, self.output_dir / f"checkpoint_step_{step}.pt")
        torch.save(checkpoint, self.output_dir / "latest_checkpoint.pt")
        if is_best:
            torch.save(checkpoint, self.output_dir / "best_model.pt")
        logger.info(f"saved checkpoint at step {step}")

    def load_checkpoint(self, checkpoint_path: str):
        # the histories are pickled dataclasses
        checkpoint = torch.load(checkpoint_path, map_location="cpu", weights_only=False)
        self.model.load_state_dict(checkpoint["model_state_dict"])
        self.optimizer.load_state_dict(checkpoint["optimizer_state_dict"])
        self.scheduler.load_state_dict(checkpoint["scheduler_state_dict"])
        self.step = checkpoint["step"]
        self.training_history = checkpoint["training_history"]
        self.evaluation_history = checkpoint["evaluation_history"]
        self.best_metrics = checkpoint["best_metrics"]
        self.stats = checkpoint["stats"]
        logger.info(f"resumed at step {self.step}")

    def _batch_features(self, images: List) -> VisionFeatures:
        cached = self.preprocessor.preprocess_batch(images)
        fields: Dict[str, Any] = {}
        for name in VisionFeatures.__dataclass_fields__:
            values = [getattr(c.features, name) for c in cached]
            fields[name] = None if values[0] is None else torch.cat(values, dim=0)
        return VisionFeatures(**fields)

    def _object_mask(self, batch: Dict[str, Any], features: VisionFeatures) -> Optional[torch.Tensor]:
        if not any(batch.get("object_boxes") or []):
            return None
        side = int(features.num_patches**0.5)
        return torch.stack([boxes_to_patch_mask(boxes or [], (side, side)) for boxes in batch["object_boxes"]])

    def train_step(self, batch: Dict[str, Any]) -> TrainingStep:
        start = time.time()
        self.model.train()
        self.vision_encoder.eval()
        self.consistency_gate.eval()

        features = self._batch_features(batch["image"])
        hidden_states, attention_mask = self._encode_text(batch["question"])
        codes, state = self.model(
            hidden_states,
            attention_mask,
            vision_features=features,
            routing_level=self.model.finest_level,
            return_routing_state=True,
        )
        logits = self.model.answer_logits(codes, attention_mask)
        text = self.model._summarize(hidden_states, attention_mask)
        object_mask = self._object_mask(batch, features)
        coverage_metrics = self.consistency_gate.coverage_analyzer(state.vision_features, object_mask)
        consistency_metrics = self.consistency_gate.consistency_analyzer(state.vision_features, text)

        generated_texts = self._generate_text(logits, hidden_states)
        primary_loss = self._compute_primary_loss(logits, batch["answers"])
        with torch.no_grad():
            _, analysis = self.consistency_gate(state.vision_features, text, object_mask=object_mask)

        detected = batch.get("detected_objects")
        if detected is None or any(d is None for d in detected):
            detected = None
        total_loss, losses = self.loss_fn(
            primary_loss,
            answer_probabilities=torch.softmax(logits, dim=-1),
            answer_vocab=self.model.answer_vocab,
            coverage_metrics=coverage_metrics,
            consistency_metrics=consistency_metrics,
            detected_objects=detected,
        )

        (total_loss / self.config.gradient_accumulation_steps).backward()
        if self.config.validate_cache_safety:
            if not self.cache_validator.validate_gradients(self.vision_encoder, total_loss):
                self.stats["cache_violations"] += 1
                logger.warning("the vision encoder got gradients, cached features are stale")
        gradient_norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip_norm)
        if (self.step + 1) % self.config.gradient_accumulation_steps == 0:
            self.optimizer.step()
            self.scheduler.step()
            self.optimizer.zero_grad()

        self.stats["total_samples"] += len(batch["question"])
        vqa = self.loss_fn.vqa_evaluator.evaluate_batch(generated_texts, batch["answers"], batch["question"])
        return TrainingStep(
            step=self.step,
            losses={k: float(v.detach()) for k, v in losses.items()},
            metrics={
                "coverage": float(coverage_metrics.overall_score.detach().mean()),
                "consistency": float(consistency_metrics.overall_score.detach().mean()),
                "gate_weight": analysis.coverage_score,
                "exact_match": vqa.exact_match,
                "f1_score": vqa.f1_score,
            },
            learning_rate=self.optimizer.param_groups[0]["lr"],
            gradient_norm=float(gradient_norm),
            batch_time=time.time() - start,
        )

    def _encode_text(self, texts: List[str]) -> Tuple[torch.Tensor, torch.Tensor]:
        return encode_text(texts, self.config.controller_dim)

    def _generate_text(self, logits: torch.Tensor, hidden_states: torch.Tensor) -> List[str]:
        return [self.model.answer_vocab[i] for i in logits.argmax(dim=-1).tolist()]

    def _compute_primary_loss(self, logits: torch.Tensor, ground_truth_answers: List[List[str]]) -> torch.Tensor:
        """Cross-entropy with the answers of a question as equally good targets."""
        targets = torch.zeros_like(logits)
        for i, answers in enumerate(ground_truth_answers):
            known = [self.model.answer_vocab.index(a) for a in answers if a in self.model.answer_vocab]
            for j in known:
                targets[i, j] += 1.0 / len(known)
        return -(targets * F.log_softmax(logits, dim=-1)).sum(dim=-1).mean()

    def evaluate(
        self, eval_dataset: List[Dict[str, Any]], num_samples: Optional[int] = None
    ) -> Tuple[EvaluationResult, bool]:
        self.model.eval()
        self.vision_encoder.eval()
        self.consistency_gate.eval()
        samples = eval_dataset if num_samples is None else eval_dataset[:num_samples]
        predictions, coverage, entropy, consistency, alignment, weights = [], [], [], [], [], []
        with torch.no_grad():
            for sample in samples:
                features = self.preprocessor.preprocess_image(sample["image"]).features
                hidden_states, attention_mask = self._encode_text([sample["question"]])
                codes, state = self.model(
                    hidden_states,
                    attention_mask,
                    vision_features=features,
                    routing_level=self.model.finest_level,
                    return_routing_state=True,
                )
                logits = self.model.answer_logits(codes, attention_mask)
                predictions += self._generate_text(logits, hidden_states)
                text = self.model._summarize(hidden_states, attention_mask)
                mask = self._object_mask({"object_boxes": [sample.get("object_boxes")]}, features)
                covered = self.consistency_gate.coverage_analyzer(state.vision_features, mask)
                consistent = self.consistency_gate.consistency_analyzer(state.vision_features, text)
                weight, _ = self.consistency_gate(state.vision_features, text, object_mask=mask)
                coverage.append(float(covered.overall_score))
                entropy.append(float(covered.spatial_entropy))
                consistency.append(float(consistent.overall_score))
                alignment.append(float(consistent.cross_modal_alignment))
                weights.append(float(weight))
        vqa = self.loss_fn.vqa_evaluator.evaluate_batch(
            predictions, [s["answers"] for s in samples], [s["question"] for s in samples]
        )
        hallucination = self.loss_fn.hallucination_detector.evaluate_hallucinations(
            predictions,
            [s.get("detected_objects") or [] for s in samples],
            [s.get("object_attributes") or {} for s in samples],
            [s.get("spatial_facts") or [] for s in samples],
            [s.get("visual_facts") or [] for s in samples],
        )
        result = EvaluationResult(
            step=self.step,
            vqa_metrics={
                "exact_match": vqa.exact_match,
                "f1_score": vqa.f1_score,
                "accuracy": vqa.accuracy,
                "answer_relevance": vqa.answer_relevance,
            },
            hallucination_metrics=dict(hallucination._asdict()),
            coverage_stats={"mean": statistics.fmean(coverage), "spatial_entropy": statistics.fmean(entropy)},
            consistency_stats={"mean": statistics.fmean(consistency), "alignment": statistics.fmean(alignment)},
            gate_stats={"mean_weight": statistics.fmean(weights)},
        )
        self.evaluation_history.append(result)
        is_best = not self.best_metrics or result.vqa_metrics["f1_score"] > self.best_metrics.get("f1_score", 0.0)
        if is_best:
            self.best_metrics = dict(result.vqa_metrics)
        return result, is_best

    def train(
        self,
        train_dataset: List[Dict[str, Any]],
        eval_dataset: Optional[List[Dict[str, Any]]] = None,
        resume_from: Optional[str] = None,
    ) -> None:
        if resume_from:
            self.load_checkpoint(resume_from)
        logger.info(f"training for {self.config.max_steps} steps")
        while self.step < self.config.max_steps:
            indices = np.random.choice(len(train_dataset), self.config.batch_size, replace=True)
            rows = [train_dataset[i] for i in indices]
            batch = {
                "image": [r["image"] for r in rows],
                "question": [r["question"] for r in rows],
                "answers": [r["answers"] for r in rows],
                "detected_objects": [r.get("detected_objects") for r in rows],
                "object_boxes": [r.get("object_boxes") for r in rows],
            }
            step_result = self.train_step(batch)
            self.step += 1
            self.training_history.append(step_result)
            if self.step % 100 == 0:
                logger.info(
                    f"step {self.step}: loss {step_result.losses['total']:.4f} lr {step_result.learning_rate:.2e}"
                )
            if eval_dataset and self.step % self.config.evaluation_steps == 0:
                result, is_best = self.evaluate(eval_dataset)
                self.save_checkpoint(self.step, result.vqa_metrics, is_best)
            elif self.step % self.config.save_steps == 0:
                self.save_checkpoint(self.step)
        if eval_dataset:
            result, is_best = self.evaluate(eval_dataset)
            self.save_checkpoint(self.step, result.vqa_metrics, is_best)
        else:
            self.save_checkpoint(self.step)

    def get_training_summary(self) -> Dict[str, Any]:
        recent = [s.losses["total"] for s in self.training_history[-100:]]
        return {
            "config": asdict(self.config),
            "total_steps": self.step,
            "training_history_length": len(self.training_history),
            "evaluation_history_length": len(self.evaluation_history),
            "best_metrics": self.best_metrics,
            "recent_loss_mean": float(np.mean(recent)) if recent else 0.0,
            "recent_loss_std": float(np.std(recent)) if recent else 0.0,
            "best_f1": self.best_metrics.get("f1_score", 0.0),
            "best_exact_match": self.best_metrics.get("exact_match", 0.0),
            "cache_safety_stats": self.cache_validator.get_stats(),
            "preprocessing_stats": self.preprocessor.get_preprocessing_stats(),
        }


def create_multimodal_trainer(
    model: MultimodalController,
    vision_encoder: VisionEncoder,
    preprocessor: VisionPreprocessor,
    consistency_gate: ConsistencyGate,
    config: Optional[Dict[str, Any]] = None,
    output_dir: str = "outputs/multimodal_training",
) -> MultimodalTrainer:
    settings = MultimodalTrainingConfig()
    for key, value in (config or {}).items():
        if not hasattr(settings, key):
            logger.warning(f"unknown training option {key}")
            continue
        kind = type(getattr(settings, key))
        setattr(settings, key, bool(value) if kind is bool else kind(value))  # YAML reads 1e-4 as text
    return MultimodalTrainer(model, vision_encoder, preprocessor, consistency_gate, settings, output_dir)
