"""Evaluation of trained models."""

from .base_evaluator import BaseEvaluator, EvaluationConfig, EvaluationResult
from .metrics import (
    MetricCalculator,
    compute_accuracy,
    compute_f1_score,
    compute_bleu_score,
    compute_rouge_scores,
    compute_perplexity,
)

try:
    from .validation import (
        ValidationProtocol,
        validate_model_outputs,
        check_convergence,
        statistical_significance_test,
    )
    from .analysis_utils import AnalysisRunner, generate_evaluation_report, plot_training_curves, compare_experiments
except ImportError:  # the second half of this package was never written
    pass

__all__ = [
    "BaseEvaluator",
    "EvaluationConfig",
    "EvaluationResult",
    "MetricCalculator",
    "compute_accuracy",
    "compute_f1_score",
    "compute_bleu_score",
    "compute_rouge_scores",
    "compute_perplexity",
]
