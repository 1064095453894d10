"""The evaluation loop that component evaluators fill in."""

import logging
import time
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple, Union

import torch
import torch.nn as nn
from torch.utils.data import DataLoader

from .metrics import MetricCalculator
from ..config.base_config import BaseConfig
from ..utils.logging_utils import setup_logger


@dataclass
class EvaluationConfig(BaseConfig):
    batch_size: int = 32
    max_eval_samples: Optional[int] = None
    metrics: List[str] = field(default_factory=lambda: ["accuracy", "f1_score", "exact_match", "perplexity"])
    max_new_tokens: int = 128
    temperature: float = 1.0
    top_p: float = 0.9
    do_sample: bool = True
    measure_latency: bool = True
    measure_memory: bool = True
    num_warmup_steps: int = 10
    save_predictions: bool = False
    save_detailed_results: bool = False
    output_file: Optional[str] = None
    confidence_level: float = 0.95
    significance_threshold: float = 0.05
    bootstrap_samples: int = 1000


@dataclass
class EvaluationResult:
    metrics: Dict[str, float] = field(default_factory=dict)
    latency_stats: Dict[str, float] = field(default_factory=dict)
    memory_stats: Dict[str, float] = field(default_factory=dict)
    confidence_intervals: Dict[str, Tuple[float, float]] = field(default_factory=dict)
    statistical_tests: Dict[str, Dict[str, float]] = field(default_factory=dict)
    num_samples: int = 0
    evaluation_time: float = 0.0
    predictions: Optional[List[Any]] = None
    targets: Optional[List[Any]] = None
    detailed_metrics: Optional[Dict[str, List[float]]] = None

    def to_dict(self) -> Dict[str, Any]:
        return asdict(self)

    def summary_string(self) -> str:
        return ", ".join(f"{name}={value:.4f}" for name, value in sorted(self.metrics.items()))


class BaseEvaluator(ABC):
    def __init__(
        self,
        model: nn.Module,
        config: Union[EvaluationConfig, Dict[str, Any]],
        device: Optional[torch.device] = None,
        logger: Optional[logging.Logger] = None,
    ):
        self.model = model
        self.config = EvaluationConfig(**config) if isinstance(config, dict) else config
        self.device = device or torch.device("cpu")
        self.logger = logger or setup_logger("bem_evaluator_base")
        self.metric_calculator = MetricCalculator(self.config.metrics)

    @abstractmethod
    def _run_inference(self, batch: Dict[str, Any]) -> Tuple[List[Any], List[Any]]:
        """Return predictions and targets of one batch."""

    def _compute_component_metrics(self, predictions: List[Any], targets: List[Any]) -> Dict[str, float]:
        return {}

    def evaluate(self, dataloader: DataLoader) -> EvaluationResult:
        started = time.time()
        predictions, targets = [], []
        self.model.eval()
        with torch.no_grad():
            for batch in dataloader:
                predicted, expected = self._run_inference(batch)
                predictions.extend(predicted)
                targets.extend(expected)
        metrics = self.metric_calculator.compute(predictions, targets)
        metrics.update(self._compute_component_metrics(predictions, targets))
        result = EvaluationResult(
            metrics=metrics, num_samples=len(predictions), evaluation_time=time.time() - started
        )
        if self.config.output_file:
            self._save_results(result)
        return result

    def compare_with_baseline(
        self, current_result: EvaluationResult, baseline_result: EvaluationResult
    ) -> Dict[str, Dict[str, float]]:
        shared = current_result.metrics.keys() & baseline_result.metrics.keys()
        return {
            name: {
                "current": current_result.metrics[name],
                "baseline": baseline_result.metrics[name],
                "difference": current_result.metrics[name] - baseline_result.metrics[name],
            }
            for name in sorted(shared)
        }

    def _save_results(self, result: EvaluationResult) -> None:
        import json

        Path(self.config.output_file).write_text(json.dumps(result.to_dict(), default=str))
