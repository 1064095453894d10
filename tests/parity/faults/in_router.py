"""Faults that only the router can have, which learns from its task."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bem2.router import rollouts
from bem2.router import unified_trainer as router
from bem2.router.macro_policy import MacroPolicy
from bem2.router.unified_trainer import RouterTrainer
from tests.parity.faults.catalogue import Run, fault, unseen

# What happens once an epoch must still happen.
EARLY = (2, 40)
PG = ("router_pg",)


def other_rollout(owner: Any, name: str, change: Callable[..., Any]) -> Callable[[Run], None]:
    """Replace what a function returns between the steps, where a rollout is gathered and prepared."""

    def put(run: Run) -> None:
        def wrapper(original: Any, *args: Any) -> Any:
            right = original(*args)
            return run.instead(right, change(right, *args)) if run.next_hit else right

        run.around(owner, name, wrapper)

    return put


@fault("loss", "GAE with another discount", PG, EARLY)
def _(run: Run) -> None:
    original = rollouts.advantages
    other_rollout(
        rollouts, "advantages", lambda right, rewards, values, gamma, lam: original(rewards, values, 0.98 * gamma, lam)
    )(run)


@fault("loss", "GAE with another lambda", PG, EARLY)
def _(run: Run) -> None:
    original = rollouts.advantages
    other_rollout(
        rollouts, "advantages", lambda right, rewards, values, gamma, lam: original(rewards, values, gamma, 0.98 * lam)
    )(run)


@fault("loss", "advantages are not normalised", PG, EARLY)
def _(run: Run) -> None:
    other_rollout(rollouts, "normalized", lambda right, values: values)(run)


@fault("loss", "advantages are normalised without Bessel's correction", PG, EARLY)
def _(run: Run) -> None:
    other_rollout(
        rollouts,
        "normalized",
        lambda right, values: (values - values.mean()) / (values.flatten().std(correction=0) + 1e-8),
    )(run)


@fault("loss", "the targets of values are returns", PG, EARLY)
def _(run: Run) -> None:
    def batches(original: Any, rollout: Any, config: Any) -> Any:
        if not run.next_hit:
            return original(rollout, config)
        run.effect()
        return original(rollout, dataclasses.replace(config, value_target="returns"))

    run.around(router, "batches", batches)


def other_objective(change: Callable[[Any, Any, Any], tuple[Any, Any]]) -> Callable[[Run], None]:
    """Compute the objective with another batch or other coefficients."""

    def put(run: Run) -> None:
        def objective(original: Any, output: Any, batch: Any, config: Any) -> Any:
            if not run.training_now:
                return original(output, batch, config)
            right = unseen(original, output, batch, config)
            wrong = original(output, *change(output, batch, config))
            run.instead(right["loss"], wrong["loss"])
            return wrong

        run.around(router, "ppo_loss", objective)

    return put


@fault("loss", "another range of ratios is kept", PG)
def _(run: Run) -> None:
    other_objective(lambda output, batch, config: (batch, dataclasses.replace(config, clip_ratio=0.02)))(run)


@fault("loss", "an entropy bonus where there was none", PG)
def _(run: Run) -> None:
    other_objective(lambda output, batch, config: (batch, dataclasses.replace(config, entropy_coeff=0.01)))(run)


@fault("loss", "the sign of the entropy", PG)
def _(run: Run) -> None:
    other_objective(lambda output, batch, config: (batch, dataclasses.replace(config, entropy_coeff=-0.01)))(run)


@fault("loss", "the old policy is the new one", PG)
def _(run: Run) -> None:
    def change(output: Any, batch: Any, config: Any) -> Any:
        return batch | {"log_probs": output.log_prob(batch["actions"]).detach()}, config

    other_objective(change)(run)


@fault("loss", "the baseline of the advantage is the value of now", PG)
def _(run: Run) -> None:
    def change(output: Any, batch: Any, config: Any) -> Any:
        return batch | {"advantages": batch["advantages"] - 0.1 * output.value}, config

    other_objective(change)(run)


@fault("rng", "the KL stop looks at the last step only", PG, EARLY)
def _(run: Run) -> None:
    """Where one side ends a pass, it draws a new rollout."""

    def divergence(original: Any, trainer: Any, window: int) -> float:
        right = float(original(trainer, window))
        if not run.next_hit:
            return right
        wrong = float(original(trainer, 1))
        ppo = trainer._settings.ppo
        stop = [value > 1.5 * ppo.kl_target for value in (right, wrong)]
        passes, left = divmod(len(trainer._divergences), len(trainer._rollout.states))
        assert not left
        if stop[0] != stop[1] and passes < ppo.ppo_epochs:
            last = trainer.progress.epoch + 1 == trainer.config.training.max_epochs
            run.effect(run.calls if last else None, "end" if last else "rng")
        return wrong

    run.around(RouterTrainer, "_divergence", divergence)


@fault("rng", "the KL stop is half a target later", PG, EARLY)
def _(run: Run) -> None:
    def divergence(original: Any, trainer: Any, window: int) -> float:
        right = float(original(trainer, window))
        if not run.next_hit:
            return right
        wrong = right * 1.5 / 2.0
        ppo = trainer._settings.ppo
        stop = [value > 1.5 * ppo.kl_target for value in (right, wrong)]
        passes = len(trainer._divergences) // len(trainer._rollout.states)
        if stop[0] != stop[1] and passes < ppo.ppo_epochs:
            last = trainer.progress.epoch + 1 == trainer.config.training.max_epochs
            run.effect(run.calls if last else None, "end" if last else "rng")
        return wrong

    run.around(RouterTrainer, "_divergence", divergence)


@fault("data", "actions are kept for longer", PG, EARLY)
def _(run: Run) -> None:
    """What is gathered has the last action in it."""

    def hold(original: Any, policy: MacroPolicy, output: Any, chosen: Tensor, last: Tensor) -> Tensor:
        right: Tensor = original(policy, output, chosen, last)
        if not run.next_hit:
            return right
        free = last[:, 3:4] <= 0
        return torch.as_tensor(run.instead(right, torch.where(free, chosen, last)))

    run.around(MacroPolicy, "hold", hold)
