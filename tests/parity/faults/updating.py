"""Faults in hyper-parameters, schedules and optimizers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.optim import Adam
from torch.optim.optimizer import register_optimizer_step_pre_hook

from bem_core.training import optim, saving, setup
from bem_core.training.base_trainer import BaseTrainer
from bem_core.training.step import Stepper
from tests.parity.faults.catalogue import EPOCHS, PT, SCHEDULED, Run, fault, main_groups

GROUPED = ("safety", *PT)
START = (1, 10**6)


def changed_groups(run: Run, change: Callable[[dict[str, Any]], dict[str, Any]], first: bool = False) -> None:
    """Give groups other values in each step, and the right ones back after it, from which schedules go on."""

    def step(original: Any, *args: Any, **kwargs: Any) -> Any:
        if not run.hit:
            return original(*args, **kwargs)
        groups = main_groups(run)[: 1 if first else None]
        kept = [dict(group) for group in groups]
        for group, right in zip(groups, kept, strict=True):
            wrong = change(right)
            run.instead({key: right[key] for key in wrong}, wrong)
            group |= wrong
        done = original(*args, **kwargs)
        for group, right in zip(groups, kept, strict=True):
            group |= {key: right[key] for key in change(right)}
        return done

    around_main_step(run, step)


def around_main_step(run: Run, step: Callable[..., Any]) -> None:
    """Replace the step of the optimizer of the weights."""

    def update(original: Any, stepper: Any, number: int) -> bool:
        optimizer = stepper._parts.optimizer
        # Schedules of torch have put a function of their own there.
        own, take = vars(optimizer).get("step"), optimizer.step
        optimizer.step = lambda *args, **kwargs: step(take, *args, **kwargs)
        try:
            return bool(original(stepper, number))
        finally:
            del optimizer.step
            if own is not None:
                optimizer.step = own

    run.around(Stepper, "_update", update)


@fault("hyper", "the learning rate times 1 + 1e-12")
def _(run: Run) -> None:
    changed_groups(run, lambda group: {"lr": group["lr"] * (1 + 1e-12)})


@fault("hyper", "the learning rate is half of what it should be")
def _(run: Run) -> None:
    changed_groups(run, lambda group: {"lr": group["lr"] * 0.5})


@fault("hyper", "another weight decay")
def _(run: Run) -> None:
    changed_groups(run, lambda group: {"weight_decay": group["weight_decay"] * (1 + 1e-5) + 1e-9})


@fault("hyper", "another epsilon of the optimizer")
def _(run: Run) -> None:
    changed_groups(run, lambda group: {"eps": 1e-7})


@fault("hyper", "another beta")
def _(run: Run) -> None:
    changed_groups(run, lambda group: {"betas": (group["betas"][0], 0.9990001)})


@fault("hyper", "another first beta")
def _(run: Run) -> None:
    changed_groups(run, lambda group: {"betas": (group["betas"][0] - 0.05, group["betas"][1])})


@fault("hyper", "coupled instead of decoupled weight decay")
def _(run: Run) -> None:
    changed_groups(run, lambda group: {"decoupled_weight_decay": False})


@fault("hyper", "the optimizer is Adam", begins=START)
def _(run: Run) -> None:
    optim.OPTIMIZERS["adamw"] = Adam
    run.effect(1)


@fault("hyper", "the step goes uphill")
def _(run: Run) -> None:
    changed_groups(run, lambda group: {"maximize": True})


@fault("hyper", "the rate of one group has another multiplier", GROUPED)
def _(run: Run) -> None:
    changed_groups(run, lambda group: {"lr": group["lr"] * 1.1}, first=True)


def watched(run: Run) -> None:
    """Say so where an optimizer begins a step with other rates or momenta than that of the old trainer."""

    def begin(optimizer: Any, args: Any, kwargs: Any) -> None:
        if run.calls >= len(run.reference.steps):
            return
        right = run.reference.steps[run.calls].groups
        for group, other in zip(optimizer.param_groups, right, strict=False):
            betas = [beta.hex() for beta in group.get("betas", ())]
            if float(group["lr"]).hex() != other["lr"] or betas != other.get("betas", []):
                run.effect()

    register_optimizer_step_pre_hook(begin)


def careful(run: Run) -> None:
    """Let a schedule that has an end be asked to go on after it."""

    def step(original: Any, scheduler: Any, *args: Any) -> None:
        if scheduler.last_epoch + 1 < getattr(scheduler, "total_steps", 10**9):
            original(scheduler, *args)

    run.before_training(lambda trainer: run.around(type(trainer.scheduler), "step", step))


@fault("hyper", "the schedule moves twice", SCHEDULED)
def _(run: Run) -> None:
    watched(run)
    careful(run)

    def update(step: Callable[[], bool], stepper: Stepper) -> bool:
        done = step()
        if run.now:
            run.trainer.scheduler.step()
        return done

    run.around_update(update)


@fault("hyper", "the schedule misses a step", SCHEDULED)
def _(run: Run) -> None:
    watched(run)

    def update(step: Callable[[], bool], stepper: Any) -> bool:
        if not run.now:
            return step()
        stepper._parts, parts = dataclasses.replace(stepper._parts, scheduler=None), stepper._parts
        done = step()
        stepper._parts = parts
        return done

    run.around_update(update)


@fault("hyper", "the schedule moves before the step", SCHEDULED)
def _(run: Run) -> None:
    watched(run)
    careful(run)

    def update(step: Callable[[], bool], stepper: Any) -> bool:
        stepper._parts, parts = dataclasses.replace(stepper._parts, scheduler=None), stepper._parts
        if run.step <= stepper._moves_until:
            run.trainer.scheduler.step()
        done = step()
        stepper._parts = parts
        return done

    run.around_update(update)


@fault("hyper", "the schedule moves with micro-batches", ("multimodal",))
def _(run: Run) -> None:
    watched(run)
    careful(run)

    def micro_step(original: Any, stepper: Stepper, *args: Any) -> Any:
        found = original(stepper, *args)
        if run.now:
            run.trainer.scheduler.step()
        return found

    run.around(Stepper, "_micro_step", micro_step)


@fault("hyper", "the schedule moves once an epoch", SCHEDULED, START)
def _(run: Run) -> None:
    watched(run)
    run.before_training(lambda trainer: setattr(trainer.stepper, "_by_step", False))


@fault("hyper", "the warm-up is a step longer", ("router_bc", "multimodal"), START)
def _(run: Run) -> None:
    watched(run)
    other_options(run, lambda training: {"warmup_steps": training.warmup_steps + 1})


def other_options(run: Run, change: Callable[[Any], dict[str, Any]]) -> None:
    """Set a training up with other options."""

    def setup(original: Any, trainer: Any, *args: Any) -> Any:
        training = trainer.config.training
        trainer.config = dataclasses.replace(trainer.config, training=dataclasses.replace(training, **change(training)))
        return original(trainer, *args)

    run.around(BaseTrainer, "_set_up", setup)


@fault("hyper", "the schedule ends a step later", ("multimodal", *PT), START)
def _(run: Run) -> None:
    """Checkpoints say so, too."""
    watched(run)

    def tree(original: Any, trainer: Any) -> Any:
        if run.calls in {one.after_step for one in run.reference.checkpoints}:
            run.after_step("checkpoint")
        return original(trainer)

    run.around(saving, "state_tree", tree)
    run.around(setup, "schedule_length", lambda original, *args: (original(*args) or 0) + 1)


@fault("hyper", "the schedule ends at another rate", PT, START)
def _(run: Run) -> None:
    watched(run)
    other_options(run, lambda training: {"lr_scheduler_kwargs": {"eta_min": training.learning_rate * 0.02}})


@fault("hyper", "the schedule has another shape", SCHEDULED, START)
def _(run: Run) -> None:
    watched(run)
    other_options(
        run, lambda training: {"scheduler_type": "linear", "scheduler_interval": "step", "lr_scheduler_kwargs": {}}
    )


@fault("hyper", "the momentum does not move with the rate", ("multimodal",), START)
def _(run: Run) -> None:
    watched(run)
    other_options(run, lambda training: {"lr_scheduler_kwargs": {"cycle_momentum": False}})


# The update.


@fault("update", "the state of the optimizer is lost")
def _(run: Run) -> None:
    def update(step: Callable[[], bool], stepper: Stepper) -> bool:
        if run.now and run.trainer.optimizer.state:
            run.effect()
            run.trainer.optimizer.state.clear()
        return step()

    run.around_update(update)


@fault("update", "the optimizer is made anew with each epoch", EPOCHS, (2, 40))
def _(run: Run) -> None:
    def begin(original: Any, trainer: Any) -> Any:
        if run.next_hit and trainer.optimizer.state:
            run.effect()
            trainer.optimizer.state.clear()
        return original(trainer)

    run.around(BaseTrainer, "begin_batches", begin)


def changed_state(run: Run, change: Callable[[dict[str, Any]], None], once: bool = False) -> None:
    def update(step: Callable[[], bool], stepper: Stepper) -> bool:
        for state in run.trainer.optimizer.state.values():
            if not once or run.now:
                before = {key: value.clone() for key, value in state.items()}
                change(state)
                run.instead(before, state)
        return step()

    run.around_update(update)


@fault("update", "a moment is kept in half precision")
def _(run: Run) -> None:
    changed_state(run, lambda state: state["exp_avg"].copy_(state["exp_avg"].bfloat16()))


@fault("update", "the first moment is not kept")
def _(run: Run) -> None:
    changed_state(run, lambda state: state["exp_avg"].zero_())


@fault("update", "the count of steps that corrects the bias is off by one")
def _(run: Run) -> None:
    changed_state(run, lambda state: state["step"].add_(1), once=True)


@fault("update", "weights are averaged with those before the step")
def _(run: Run) -> None:
    kept: list[Tensor] = []

    def begin(stepper: Stepper) -> None:
        tensor = run.alive[0]
        kept[:] = [tensor, tensor.detach().clone()]

    def average(optimizer: Any, args: Any, kwargs: Any) -> None:
        if kept and optimizer is run.trainer.optimizer and run.hit:
            tensor, before = kept
            right = tensor.detach().clone()
            run.instead(right, tensor.data.lerp_(before, 0.01))

    run.before_step(begin)
    run.before_training(lambda trainer: trainer.optimizer.register_step_post_hook(average))


@fault("update", "weights are decayed twice")
def _(run: Run) -> None:
    def step(original: Any, *args: Any, **kwargs: Any) -> Any:
        for group in main_groups(run) if run.hit else ():
            for tensor in group["params"]:
                if tensor.grad is not None:
                    right = tensor.detach().clone()
                    run.instead(right, tensor.data.mul_(1 - group["lr"] * group["weight_decay"]))
        return original(*args, **kwargs)

    around_main_step(run, step)


@fault("update", "a step is left out", begins=(2, 6))
def _(run: Run) -> None:
    """What is due after it comes a step of the optimizer early."""

    def step(original: Any, *args: Any, **kwargs: Any) -> Any:
        if run.now:
            evaluated = {one.after_step for one in run.reference.evaluations if one.forwards}
            early = run.calls + 1 in evaluated
            run.effect(run.calls if early else None, "evaluation" if early else None)
            return None
        return original(*args, **kwargs)

    around_main_step(run, step)
