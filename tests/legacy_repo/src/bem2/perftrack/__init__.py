"""
BEM 2.0 Performance Track: four adapters at the same parameter budget.

PT1 head-group gating, PT2 dynamic rank mask, PT3 Kronecker @ W_down, PT4 residual FiLM.
"""

from .pt1_head_gating import HeadGroupGatingConfig, HeadGroupGatingModule, AttentionGateController
from .pt2_dynamic_mask import DynamicRankMaskConfig, DynamicRankMaskModule, SparseMaskController
from .pt3_kronecker import KroneckerConfig, KroneckerModule, FusedKroneckerOp
from .pt4_residual_film import ResidualFiLMConfig, ResidualFiLMModule, MicroModulationController
from .evaluation import ParetoAnalyzer, BudgetValidator, PerformanceProfiler
from .training import PTTrainingConfig, PTTrainer, run_pt_variant_training

__all__ = [
    "HeadGroupGatingConfig",
    "HeadGroupGatingModule",
    "AttentionGateController",
    "DynamicRankMaskConfig",
    "DynamicRankMaskModule",
    "SparseMaskController",
    "KroneckerConfig",
    "KroneckerModule",
    "FusedKroneckerOp",
    "ResidualFiLMConfig",
    "ResidualFiLMModule",
    "MicroModulationController",
    "ParetoAnalyzer",
    "BudgetValidator",
    "PerformanceProfiler",
    "PTTrainingConfig",
    "PTTrainer",
    "run_pt_variant_training",
]
