"""First generation of BEM modules (phases 1 to 5)."""

from .controller import HierarchicalController, RoutingLevel, create_hierarchical_controller
from .simple_bem import BEMController, SimpleBEMModule, analyze_code_distribution, compute_effective_rank
from .hierarchical_bem import HierarchicalBEMConfig, HierarchicalBEMModule, create_hierarchical_bem
from .trust_region import TrustRegionBudget, TrustRegionProjector, create_trust_region_projector
from .telemetry import TelemetryCollector, TrustStatus
from .banked_experts import (
    BankedExpertsConfig,
    BankedExpertsModule,
    create_banked_experts_module,  # factory
    create_default_banked_experts_config,
)
from .advanced_variants import AdvancedBEMFactory, AdvancedVariantsRunner
from .bem_v11_stable import BEMv11Stable

__all__ = [
    "HierarchicalController",
    "RoutingLevel",
    "create_hierarchical_controller",
    "BEMController",
    "SimpleBEMModule",
    "analyze_code_distribution",
    "compute_effective_rank",
    "HierarchicalBEMConfig",
    "HierarchicalBEMModule",
    "create_hierarchical_bem",
    "TrustRegionBudget",
    "TrustRegionProjector",
    "create_trust_region_projector",
    "TelemetryCollector",
    "TrustStatus",
    "BankedExpertsConfig",
    "BankedExpertsModule",
    "create_banked_experts_module",
    "create_default_banked_experts_config",
    "AdvancedBEMFactory",
    "AdvancedVariantsRunner",
    "BEMv11Stable",
]
