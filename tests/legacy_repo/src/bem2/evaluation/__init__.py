"""Evaluation shared by the missions."""

from .latency_profiler import LatencyProfiler
from .monotonicity_tester import MonotonicityTester
from .cache_analyzer import CacheAnalyzer
from .acceptance_validator import AcceptanceValidator
from .statistical_analysis import StatisticalAnalyzer

__all__ = ["LatencyProfiler", "MonotonicityTester", "CacheAnalyzer", "AcceptanceValidator", "StatisticalAnalyzer"]
