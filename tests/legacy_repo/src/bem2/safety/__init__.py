"""Value-aligned safety basis (VC0)."""

import logging

logger = logging.getLogger(__name__)

try:
    from .safety_basis import OrthogonalSafetyBasis, SafetyBasisConfig
    from .constitutional_scorer import ConstitutionalScorer, ValueModelConfig
    from .lagrangian_optimizer import LagrangianOptimizer, ConstraintConfig
    from .safety_controller import SafetyController, ControlConfig
    from .violation_detector import ViolationDetector, ViolationConfig
    from .training import SafetyTrainingPipeline, SafetyTrainingConfig
    from .evaluation import SafetyEvaluationSuite, SafetyMetrics
except ImportError as error:
    logger.warning("safety components are missing: %s", error)

try:
    from .constitutional_scorer_secure import (
        SecureConstitutionalScorer,
        ConstitutionalPrinciple,
        ScoreAggregationMethod,
        create_secure_constitutional_scorer,
    )
    from .safety_basis_secure import SecureOrthogonalSafetyBasis, SafetyDimension, OrthogonalityMethod
except ImportError:
    pass

from ..security import AuthenticationManager, SecurityContext, ParameterGuard

__version__ = "1.0.0"

__all__ = [
    "OrthogonalSafetyBasis",
    "SafetyBasisConfig",
    "ConstitutionalScorer",
    "ValueModelConfig",
    "LagrangianOptimizer",
    "ConstraintConfig",
    "SafetyController",
    "ControlConfig",
    "ViolationDetector",
    "ViolationConfig",
    "SafetyTrainingPipeline",
    "SafetyTrainingConfig",
    "SafetyEvaluationSuite",
    "SafetyMetrics",
    "AuthenticationManager",
    "SecurityContext",
    "ParameterGuard",
    "VC0IntegratedSystem",
    "create_vc0_system",
]


class VC0IntegratedSystem:
    def __init__(
        self, master_key: bytes, config: dict = None, enable_monitoring: bool = True, enable_evaluation: bool = True
    ):
        self.auth, self.guard = AuthenticationManager(master_key), ParameterGuard()
        self.config, self.monitoring = config or {}, enable_monitoring

    def create_system_context(self, user_id: str, role: str = "USER") -> SecurityContext:
        return SecurityContext(user_id, role)

    def get_system_status(self, context: SecurityContext) -> dict:
        return {"user": context.user_id, "monitoring": self.monitoring}


def create_vc0_system(master_key: bytes, config: dict = None, **kwargs) -> VC0IntegratedSystem:
    return VC0IntegratedSystem(master_key, config, **kwargs)
