#!/usr/bin/env python3
"""Plain imports of modules, used through the whole chain."""

import bem.controller
import bem.modules.governance
import src.bem2.router.macro_policy
import src.bem_core.utils.logging_utils as log_utils
import bem.trust_region as tr, json
import bem2.perftrack.evaluation


def build(size: int):
    controller = bem.controller.HierarchicalController(size, 4)
    governance = bem.modules.governance.SpectralGovernance(max_singular_value=2.0)
    policy = src.bem2.router.macro_policy.MacroPolicy(hidden_dim=32, num_layers=1)
    budget = tr.TrustRegionBudget(1.0, 5.0, "mlp.w_down")
    return controller, governance, policy, budget


def describe(module) -> str:
    return json.dumps({"name": module.__name__})


if __name__ == "__main__":
    logger = log_utils.get_logger(__name__)
    logger.info("%s", build(16))
    print(describe(bem.controller), bem2.perftrack.evaluation.ParetoAnalyzer())
