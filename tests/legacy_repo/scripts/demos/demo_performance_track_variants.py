#!/usr/bin/env python3
"""Build the four variants of the performance track and compare their sizes."""

import torch

from bem2.perftrack import (
    HeadGroupGatingModule, HeadGroupGatingConfig,
    DynamicRankMaskModule, DynamicRankMaskConfig,
    KroneckerModule, KroneckerConfig,
    ResidualFiLMModule, ResidualFiLMConfig,
    ParetoAnalyzer, BudgetValidator, PerformanceProfiler,
    BudgetConstraints, PerformanceMetrics, ComprehensiveEvaluator,
)


def main():
    variants = {
        "PT1": HeadGroupGatingModule(HeadGroupGatingConfig(), 0, 64, 8),
        "PT2": DynamicRankMaskModule(DynamicRankMaskConfig(), 0, 64),
        "PT3": KroneckerModule(KroneckerConfig(u_dim=16, v_dim=16), 0, 64, 256),
        "PT4": ResidualFiLMModule(ResidualFiLMConfig(), 0, 64),
    }
    pareto, validator = ParetoAnalyzer(), BudgetValidator(BudgetConstraints(baseline_params=5000))
    evaluator = ComprehensiveEvaluator(BudgetConstraints())
    for name, module in variants.items():
        count = sum(p.numel() for p in module.parameters())
        pareto.add_result(name, PerformanceMetrics(parameters=count))
        print(name, count, validator.validate_parameters(count), evaluator.evaluate_variant(name, module, {}))
    hidden = torch.randn(2, 8, 64)
    print(PerformanceProfiler("cpu").profile_inference_latency(variants["PT4"], hidden, num_runs=3))


if __name__ == "__main__":
    main()
