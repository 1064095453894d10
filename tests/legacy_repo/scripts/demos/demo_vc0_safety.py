#!/usr/bin/env python3
"""The safety components, one by one."""

import torch

from bem2.safety import (
    OrthogonalSafetyBasis, SafetyBasisConfig,
    ConstitutionalScorer, ValueModelConfig,
    LagrangianOptimizer, ConstraintConfig,
    SafetyController, ControlConfig,
    ViolationDetector, ViolationConfig,
    SafetyTrainingPipeline, SafetyTrainingConfig,
    SafetyEvaluationSuite, SafetyMetrics,
)


def main():
    basis = OrthogonalSafetyBasis(SafetyBasisConfig(hidden_dim=16, safety_rank=4, num_layers=2))
    scorer = ConstitutionalScorer(ValueModelConfig(hidden_dim=16))
    ids = torch.randint(0, 100, (2, 8))
    scores = scorer(ids)
    level = SafetyController(ControlConfig())(torch.randn(2, 8, 16), scores, domain="medical")
    print(basis(torch.randn(2, 8, 16), 0, scores, level)[1], basis.validate_orthogonality())
    print(ViolationDetector(ViolationConfig())(["a friendly text", "password and poison"]))
    print(LagrangianOptimizer, ConstraintConfig, SafetyTrainingPipeline, SafetyTrainingConfig)
    print(SafetyEvaluationSuite, SafetyMetrics)


if __name__ == "__main__":
    main()
