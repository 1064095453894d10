"""Faults that only the performance track can have."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from torch import Tensor

from bem2.perftrack import pt1_head_gating, pt2_dynamic_mask, pt3_kronecker, pt4_residual_film
from bem_core.training.step import Stepper
from tests.parity.faults.catalogue import PT, Run, fault, other_result


def other_attribute(owner: Callable[[Run], list[Any]], name: str, value: Any) -> Callable[[Run], None]:
    """Set an attribute of modules, and say so when one of them is called."""

    def put(run: Run) -> None:
        def begin(stepper: Stepper) -> None:
            for module in owner(run):
                config = dataclasses.replace(module.config, **{name: value(getattr(module.config, name))})
                module.config = config
            run.effect()

        run.before_step(begin, once=True)

    return put


def parts(kind: type[Any]) -> Callable[[Run], list[Any]]:
    return lambda run: [module for module in run.trainer.model.modules() if isinstance(module, kind)]


@fault("forward", "another temperature of the gates", ("pt1",))
def _(run: Run) -> None:
    other_attribute(parts(pt1_head_gating.GateController), "gate_temperature", lambda one: 1.01 * one)(run)


@fault("loss", "another momentum of the gates' correlation", ("pt1",))
def _(run: Run) -> None:
    def begin(stepper: Stepper) -> None:
        pt1_head_gating._MOMENTUM = 0.98
        run.effect()

    run.before_step(begin, once=True)


@fault("loss", "another strength of decorrelation", ("pt1",))
def _(run: Run) -> None:
    other_attribute(parts(pt1_head_gating.HeadGroupGatingModule), "decorrelation_strength", lambda one: 1.1 * one)(run)


@fault("forward", "another temperature of the mask", ("pt2",))
def _(run: Run) -> None:
    other_attribute(parts(pt2_dynamic_mask.MaskController), "mask_temperature", lambda one: 1.1 * one)(run)


@fault("forward", "one rank more is active", ("pt2",))
def _(run: Run) -> None:
    other_attribute(parts(pt2_dynamic_mask.MaskController), "active_rank", lambda one: one + 1)(run)


@fault("buffers", "another momentum of the mask", ("pt2",))
def _(run: Run) -> None:
    other_attribute(parts(pt2_dynamic_mask.MaskController), "mask_momentum", lambda one: one - 0.01)(run)


@fault("loss", "another aim for the share of active ranks", ("pt2",))
def _(run: Run) -> None:
    other_attribute(parts(pt2_dynamic_mask.DynamicRankMaskModule), "target_sparsity", lambda one: one + 0.01)(run)


@fault("loss", "another strength of orthogonality", ("pt3",))
def _(run: Run) -> None:
    def begin(stepper: Stepper) -> None:
        weights = run.trainer.objective.weights
        for name, value in list(weights.items()):
            weights[name] = value + 0.001
        run.effect()

    run.before_step(begin, once=True)


@fault("forward", "the scales are clamped to a smaller range", ("pt4",))
def _(run: Run) -> None:
    def forward(original: Any, module: Any, hidden: Tensor) -> Any:
        gamma, beta = original(module, hidden)
        if not run.training_now:
            return gamma, beta
        wrong = gamma.clamp(1 - 1e-5, 1 + 1e-5), beta.clamp(-1e-5, 1e-5)
        return run.instead((gamma, beta), wrong)

    run.around(pt4_residual_film.MicroModulationController, "forward", forward)


@fault("forward", "another bound of the spectral norm", PT)
def _(run: Run) -> None:
    modules = {"pt1": pt1_head_gating, "pt2": pt2_dynamic_mask, "pt3": pt3_kronecker, "pt4": pt4_residual_film}
    module = modules[run.training]
    original = module.limit
    other_result(module, "limit", lambda right, sigma, bound: original(sigma, 1e-3))(run)


@fault("loss", "the penalty of singular values has another bound", PT)
def _(run: Run) -> None:
    """Where its weight is 0, nothing changes."""

    def begin(stepper: Stepper) -> None:
        run.trainer.objective.penalty.bound = 1e-3
        if run.trainer.objective.weights["spectral"]:
            run.effect()

    run.before_step(begin, once=True)
