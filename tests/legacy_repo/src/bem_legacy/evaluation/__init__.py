from .bem_evaluator import BEMEvaluator, BEMv11Evaluator

__all__ = ["BEMEvaluator", "BEMv11Evaluator"]
