#!/usr/bin/env python3
"""Two BEMs in one model; "bem2" is the name of the second one here, not of a package."""

from bem.subspace import SubspacePlanner, CapacityManager, create_subspace_planner
from bem.trust_region import TrustRegionProjector, TrustRegionBudget, create_trust_region_projector
from bem.multi_bem import MultiBEMComposer, create_multi_bem_composer
from bem.interference_testing import InterferenceTester
from bem.composition_training import CompositionTrainer


def check_subspaces():
    planner: SubspacePlanner = create_subspace_planner(512)
    planner.allocate_subspace("bem1", 64)
    planner.allocate_subspace("bem2", 64)
    allocations = {"bem1": (0, 64), "bem2": (64, 128)}
    return planner.get_allocation("bem2") == allocations["bem2"]


def check_capacity():
    capacity_manager = CapacityManager()
    for value in (0.5, 0.6):
        capacity_manager.record_utilization("bem2", value)
        capacity_manager.record_performance("bem2", value)
    return capacity_manager.get_performance_stats("bem2")["count"] == 2


def check_composition():
    composer: MultiBEMComposer = create_multi_bem_composer(["mlp.w_down"])
    composer.register_bem("bem1", object())
    composer.register_bem("bem2", object())
    others = [bem_id for bem_id in composer.bems if bem_id != "bem2"]
    plan = dict(target="bem2", others=others)
    return plan, CompositionTrainer(composer).check({"a": 0.9}, {"a": 0.89}), InterferenceTester


if __name__ == "__main__":
    print(check_subspaces(), check_capacity(), check_composition())
    print(TrustRegionProjector, TrustRegionBudget, create_trust_region_projector)
