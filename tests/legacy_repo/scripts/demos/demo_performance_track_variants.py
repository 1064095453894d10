#!/usr/bin/env python3
"""
Performance Track Demo: builds PT1 to PT4, checks what they do, compares what they cost, and writes a report.
"""

import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "src"))

import torch

from bem2.perftrack import (
    HeadGroupGatingModule, HeadGroupGatingConfig,
    DynamicRankMaskModule, DynamicRankMaskConfig,
    KroneckerModule, KroneckerConfig,
    ResidualFiLMModule, ResidualFiLMConfig,
)
try:
    from bem2.perftrack import (
        ParetoAnalyzer, BudgetValidator, PerformanceProfiler,
        BudgetConstraints, PerformanceMetrics, ComprehensiveEvaluator,
    )
except ImportError:
    # the package exports the first line only
    from bem2.perftrack.evaluation import (
        ParetoAnalyzer, BudgetValidator, PerformanceProfiler,
        BudgetConstraints, PerformanceMetrics, ComprehensiveEvaluator,
    )

logging.basicConfig(level=logging.INFO)
logger = logging.getLogger(__name__)

BATCH, LENGTH, HIDDEN, HEADS = 4, 16, 64, 8


class _Site(torch.nn.Module):
    """A variant with the one input that the profiler knows."""

    def __init__(self, module, intermediate_size=None):
        super().__init__()
        self.module = module
        self.up = torch.nn.Linear(HIDDEN, intermediate_size) if intermediate_size else None

    def forward(self, hidden):
        if self.up is not None:
            return self.module(hidden, self.up(hidden))[0]
        return self.module(hidden)[0]

    def get_flop_count(self, batch_size, seq_len):
        if hasattr(self.module, "get_flop_count"):
            return self.module.get_flop_count(batch_size, seq_len)
        return {"total": self.module.compute_budget_metrics(batch_size, seq_len)["total_flops"]}


def demo_variant(name, module, hidden, intermediate=None):
    print(f"\n{'=' * 60}\n{name}\n{'=' * 60}")
    module.eval()
    with torch.no_grad():
        args = (hidden, intermediate) if intermediate is not None else (hidden,)
        output, info = module(*args, output_attentions=True)
    change = (output - hidden).norm() / hidden.norm()
    print(f"parameters {sum(p.numel() for p in module.parameters())}, relative change {change:.4f}")
    for key, value in info.items():
        if isinstance(value, torch.Tensor):
            print(f"  {key}: shape {tuple(value.shape)}, mean {value.float().mean():.4f}")
    for key, value in module.compute_budget_metrics(BATCH, LENGTH).items():
        print(f"  {key}: {value}")


def main():
    torch.manual_seed(42)
    hidden = torch.randn(BATCH, LENGTH, HIDDEN)
    intermediate = torch.randn(BATCH, LENGTH, 256)
    variants = {
        "PT1 Head-Group Gating": HeadGroupGatingModule(HeadGroupGatingConfig(), 0, HIDDEN, HEADS),
        "PT2 Dynamic Rank Mask": DynamicRankMaskModule(DynamicRankMaskConfig(), 0, HIDDEN),
        "PT3 Kronecker": KroneckerModule(KroneckerConfig(u_dim=16, v_dim=16), 0, HIDDEN, 256),
        "PT4 Residual FiLM": ResidualFiLMModule(ResidualFiLMConfig(), 0, HIDDEN),
    }
    constraints = BudgetConstraints(baseline_params=10000)
    validator, pareto, evaluator = BudgetValidator(constraints), ParetoAnalyzer(), ComprehensiveEvaluator(constraints)
    for name, module in variants.items():
        demo_variant(name, module, hidden, intermediate if isinstance(module, KroneckerModule) else None)
        count = sum(p.numel() for p in module.parameters())
        print(f"  budget: {validator.validate_parameters(count)['message']}")
        pareto.add_result(name, PerformanceMetrics(parameters=count))
        site = _Site(module, 256 if isinstance(module, KroneckerModule) else None)
        evaluator.evaluate_variant(name, site, hidden, {"f1_score": 0.5})
    print("\nPareto frontier:", [name for name, _ in pareto.compute_pareto_frontier()])
    latency = PerformanceProfiler("cpu").profile_inference_latency(variants["PT4 Residual FiLM"], hidden, num_runs=3)
    print(f"PT4 latency: {latency['mean_latency_ms']:.3f} ms")
    evaluator.print_summary()
    print("passing:", evaluator.generate_final_report()["passing"])


if __name__ == "__main__":
    main()
