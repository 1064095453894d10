"""Evaluation: the one loop over a test set, its metrics, statistics, quality gates and budgets."""

from bem_core.evaluation.base_evaluator import BaseEvaluator
from bem_core.evaluation.result import EvaluationResult

__all__ = ["BaseEvaluator", "EvaluationResult"]
