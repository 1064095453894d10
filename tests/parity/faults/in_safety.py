"""Faults that only the safety component can have."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from bem2.safety import safety_controller
from bem2.safety import unified_trainer as safety
from bem2.safety.safety_basis import OrthogonalSafetyBasis
from bem2.safety.unified_trainer import SafetyTrainer
from bem_core.training import step as stepping
from bem_core.training.rollback import Rollback
from bem_core.training.step import Stepper
from tests.parity.faults.catalogue import Run, fault, other_result, same, unseen
from tests.parity.faults.updating import watched

START = (1, 10**6)
# What happens once an epoch must still happen.
EARLY = (2, 40)
SAFETY = ("safety",)


@fault("loss", "the curriculum is a stage ahead", SAFETY, EARLY)
def _(run: Run) -> None:
    def stage(original: Any, step: int, settings: Any) -> int:
        right = int(original(step, settings))
        if not run.next_hit:
            return right
        return int(run.instead(right, min(right + 1, settings.curriculum_stages - 1)))

    run.around(safety, "stage_at", stage)


@fault("loss", "the curriculum counts one step less", SAFETY, EARLY)
def _(run: Run) -> None:
    def stage(original: Any, step: int, settings: Any) -> int:
        right = int(original(step, settings))
        return int(run.instead(right, int(original(max(step - 1, 0), settings)))) if run.next_hit else right

    run.around(safety, "stage_at", stage)


@fault("loss", "the warm-ups are an epoch longer", SAFETY, EARLY)
def _(run: Run) -> None:
    """What is frozen longer has no gradient, and the overlap counts less for longer."""

    def phase(original: Any, epoch: int, *args: Any) -> Any:
        right = original(epoch, *args)
        if not run.next_hit:
            return right
        wrong = original(epoch - 1, *args)
        if right != wrong:
            weighs = dataclasses.replace(right, frozen=False) != dataclasses.replace(wrong, frozen=False)
            bound = dataclasses.replace(right, frozen=False, bound=0) == dataclasses.replace(
                wrong, frozen=False, bound=0
            )
            silent = not weighs or (bound and not right.constraint)
            run.effect(phase="backward" if silent else "loss")
        return wrong

    run.around(safety, "phase", phase)


def other_phase(run: Run, **values: Callable[[float], float]) -> None:
    def losses_of(original: Any, model: Any, outputs: Any, batch: Any, now: Any, threshold: float) -> Any:
        if not run.training_now:
            return original(model, outputs, batch, now, threshold)
        right = unseen(original, model, outputs, batch, now, threshold)
        changed = {name: change(getattr(now, name)) for name, change in values.items() if hasattr(now, name)}
        limit = values["threshold"](threshold) if "threshold" in values else threshold
        wrong = original(model, outputs, batch, dataclasses.replace(now, **changed), limit)
        run.instead(right["loss"], wrong["loss"])
        return wrong

    run.around(safety, "losses", losses_of)


@fault("loss", "another bound of violations", SAFETY)
def _(run: Run) -> None:
    other_phase(run, bound=lambda value: value + 0.01)


@fault("loss", "another threshold of violations", SAFETY)
def _(run: Run) -> None:
    other_phase(run, threshold=lambda value: value + 0.02)


@fault("loss", "another weight of the overlap", SAFETY)
def _(run: Run) -> None:
    other_phase(run, penalty=lambda value: value * 1.01)


@fault("loss", "another weight of the constraint", SAFETY)
def _(run: Run) -> None:
    other_phase(run, constraint=lambda value: value * 1.01)


@fault("backward", "the rate has no gradient", SAFETY)
def _(run: Run) -> None:
    """The step function of the scores in place of its surrogate."""

    def losses_of(original: Any, model: Any, outputs: Any, batch: Any, now: Any, threshold: float) -> Any:
        found = original(model, outputs, batch, now, threshold)
        if not run.training_now or not now.constraint:
            return found
        run.effect()
        surprise = found["violation_loss"]
        lost = now.constraint * outputs.multiplier.detach() * (surprise - surprise.detach())
        # The value is the same, bit for bit: what is taken away is zero.
        return found | {"loss": found["loss"] - lost}

    run.around(safety, "losses", losses_of)


@fault("backward", "the multiplier gets the gradient of a minimum", SAFETY)
def _(run: Run) -> None:
    def raised(original: Any, optimizer: Any, config: Any, step: int) -> None:
        for group in optimizer.param_groups:
            for multiplier in group["params"]:
                if run.hit and multiplier.grad is not None and step >= config.start_step:
                    right = multiplier.grad.clone()
                    run.instead(right, multiplier.grad.neg_())
        original(optimizer, config, step)

    run.around(stepping, "_update_multipliers", raised)


@fault("update", "the multiplier rises before the weights move", SAFETY)
def _(run: Run) -> None:
    def update(original: Any, stepper: Any, step: int) -> bool:
        dual, config = stepper._parts.dual, stepper._config.dual
        if not run.hit or step < config.start_step:
            return bool(original(stepper, step))
        run.effect()
        stepping._update_multipliers(dual, config, step)
        stepper._parts, parts = dataclasses.replace(stepper._parts, dual=None), stepper._parts
        done = bool(original(stepper, step))
        stepper._parts = parts
        return done

    run.around(Stepper, "_update", update)


@fault("update", "the multiplier begins to rise a step early", SAFETY, START)
def _(run: Run) -> None:
    def raised(original: Any, optimizer: Any, config: Any, step: int) -> None:
        if step == config.start_step - 1:
            run.effect()
        original(optimizer, dataclasses.replace(config, start_step=config.start_step - 1), step)

    run.around(stepping, "_update_multipliers", raised)


@fault("update", "the multiplier begins to rise a step late", SAFETY, START)
def _(run: Run) -> None:
    def raised(original: Any, optimizer: Any, config: Any, step: int) -> None:
        if step == config.start_step:
            run.effect()
        original(optimizer, dataclasses.replace(config, start_step=config.start_step + 1), step)

    run.around(stepping, "_update_multipliers", raised)


@fault("loss", "the multiplier has another upper bound", SAFETY)
def _(run: Run) -> None:
    """It is put back after the optimizer's step, so what counts it differs in the next one."""

    def raised(original: Any, optimizer: Any, config: Any, step: int) -> None:
        original(optimizer, config, step)
        for group in optimizer.param_groups if run.hit else ():
            for multiplier in group["params"]:
                right = multiplier.detach().clone()
                multiplier.data.clamp_(max=1.0)
                if not same(right, multiplier.detach()) and run.trainer._phase.constraint:
                    run.effect()

    run.around(stepping, "_update_multipliers", raised)


@fault("hyper", "another rate of the multiplier", SAFETY)
def _(run: Run) -> None:
    def raised(original: Any, optimizer: Any, config: Any, step: int) -> None:
        if run.hit and step >= config.start_step:
            rates = [group["lr"] for group in optimizer.param_groups]
            for group in optimizer.param_groups:
                group["lr"] = run.instead(group["lr"], group["lr"] * 1.001)
            original(optimizer, config, step)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate
        else:
            original(optimizer, config, step)

    run.around(stepping, "_update_multipliers", raised)


@fault("hyper", "the rate of the multiplier grows faster", SAFETY)
def _(run: Run) -> None:
    watched(run)
    run.before_step(lambda stepper: setattr(safety, "_MISSED", 1.2) or setattr(safety, "_MET", 0.98))


@fault("hyper", "the constraint is checked a step late", SAFETY)
def _(run: Run) -> None:
    watched(run)

    def end(original: Any, trainer: Any, losses: Any) -> None:
        step = trainer.progress.step
        trainer.progress.step = step - 1 if run.hit else step
        original(trainer, losses)
        trainer.progress.step = step

    run.around(SafetyTrainer, "_on_step_end", end)


@fault("forward", "the weights never go back to the best ones", SAFETY, EARLY)
def _(run: Run) -> None:
    def observe(original: Any, rollback: Any, *args: Any) -> Any:
        state = {name: value.clone() for name, value in rollback._model.state_dict().items()}
        back = original(rollback, *args)
        if back and run.hit:
            if not same(state, dict(rollback._model.state_dict())):
                run.effect()
            rollback._model.load_state_dict(state)
        return back

    run.around(Rollback, "observe", observe)


@fault("forward", "the weights go back a check too early", SAFETY)
def _(run: Run) -> None:
    def observe(original: Any, rollback: Any, *args: Any) -> Any:
        back = original(rollback, *args)
        if run.now and not back and rollback._weights is not None:
            state = {name: value.clone() for name, value in rollback._model.state_dict().items()}
            rollback._model.load_state_dict(rollback._weights)
            run.instead(state, dict(rollback._model.state_dict()))
        return back

    run.around(Rollback, "observe", observe)


@fault("forward", "the level is raised without a reason", SAFETY)
def _(run: Run) -> None:
    other_result(safety_controller.SafetyController, "_escalation", lambda right, module, score: right + 1e-3)(run)


@fault("forward", "the level has another span", SAFETY)
def _(run: Run) -> None:
    other_result(safety_controller.SafetyController, "_context", lambda right, module, hidden: 1.01 * right)(run)


@fault("forward", "another temperature of the basis", SAFETY)
def _(run: Run) -> None:
    other_result(OrthogonalSafetyBasis, "_activation", lambda right, *args: 1.001 * right)(run)
