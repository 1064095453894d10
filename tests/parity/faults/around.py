"""Faults in evaluation, in how long a run goes on, and in going on from a checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

from torch import nn
from torch.utils.data import SequentialSampler

from bem_core.evaluation import base_evaluator
from bem_core.training import base_trainer, foreign, saving
from bem_core.training.base_trainer import BaseTrainer
from bem_core.training.loop import Loop
from bem_core.training.step import Stepper
from bem_core.utils.seeding import seed_everything
from tests.parity.faults.catalogue import EPOCHS, EVALUATED, PT, RESUMED, Run, fault
from tests.parity.unified_multimodal import ACCUMULATION

START = (1, 10**6)
LATE = (2, 16)


@fault("evaluation", "evaluation in training mode", EVALUATED, LATE)
def _(run: Run) -> None:
    def mode(original: Any, model: nn.Module) -> Any:
        if not run.hit:
            return original(model)
        run.after_step()
        return nullcontext()

    run.around(base_trainer, "evaluation_mode", mode)
    run.around(base_evaluator, "evaluation_mode", mode)


@fault("evaluation", "evaluation one step late", EVALUATED, LATE)
def _(run: Run) -> None:
    waiting: list[Any] = []

    def evaluate(original: Any, trainer: Any) -> bool:
        # What is left out at the end is made up for there.
        if not run.hit or waiting or not run.left:
            return bool(original(trainer))
        run.after_step()
        waiting.append(trainer)
        return False

    def step(original: Any, stepper: Stepper, *args: Any) -> Any:
        done = original(stepper, *args)
        if waiting and run.step > run.at:
            waiting.pop().evaluate()
        return done

    run.around(BaseTrainer, "evaluate_and_judge", evaluate)
    run.around(Stepper, "run", step)


@fault("evaluation", "an evaluation is left out", EVALUATED, LATE)
def _(run: Run) -> None:
    def evaluate(original: Any, trainer: Any) -> bool:
        if not run.hit:
            return bool(original(trainer))
        run.after_step()
        return False

    run.around(BaseTrainer, "evaluate_and_judge", evaluate)


class Other:
    """An evaluation loader whose batches are changed."""

    def __init__(self, run: Run, loader: Any, change: Any) -> None:
        self.run, self.loader, self.change = run, loader, change
        self.dataset = getattr(loader, "dataset", None)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        if not self.run.hit:
            return iter(self.loader)
        batches = list(self.loader)
        wrong = self.change(batches)
        if len(batches) > 1:
            self.run.after_step()
        return iter(wrong)


def other_batches(run: Run, change: Any) -> None:
    run.before_training(
        lambda trainer: setattr(trainer, "eval_dataloader", Other(run, trainer.eval_dataloader, change))
    )


@fault("evaluation", "the last batch is not evaluated", EVALUATED, LATE)
def _(run: Run) -> None:
    other_batches(run, lambda batches: batches[:-1])


@fault("evaluation", "samples are evaluated in another order", ("router_bc", *PT), LATE)
def _(run: Run) -> None:
    def samples(original: Any, sampler: Any) -> Iterator[int]:
        if not (run.hit and run.evaluating):
            return iter(original(sampler))
        run.after_step()
        return iter(list(original(sampler))[::-1])

    run.around(SequentialSampler, "__iter__", samples)


@fault("evaluation", "another model is evaluated: weights are averaged", EVALUATED, LATE)
def _(run: Run) -> None:
    def evaluate(original: Any, trainer: Any) -> Any:
        if not run.hit:
            return original(trainer)
        run.after_step()
        kept = [(one, one.detach().clone()) for one in run.alive]
        for tensor, _ in kept:
            tensor.data.mul_(1.001)
        found = original(trainer)
        for tensor, value in kept:
            tensor.data.copy_(value)
        return found

    run.around(BaseTrainer, "evaluate", evaluate)


@fault("evaluation", "the first batch is evaluated twice", EVALUATED, LATE)
def _(run: Run) -> None:
    other_batches(run, lambda batches: [batches[0], *batches])


def other_metrics(run: Run, change: Any) -> None:
    def prefixed(original: Any, metrics: Any) -> Any:
        right = original(metrics)
        if not run.hit:
            return right
        wrong = change(right)
        if wrong != right:
            run.after_step()
        return wrong

    run.around(base_trainer, "prefixed", prefixed)


@fault("evaluation", "metrics times 1 + 1e-9", EVALUATED, LATE)
def _(run: Run) -> None:
    other_metrics(run, lambda metrics: {name: value * (1 + 1e-9) for name, value in metrics.items()})


@fault("evaluation", "metrics change their names", EVALUATED, LATE)
def _(run: Run) -> None:
    other_metrics(
        run, lambda metrics: dict(zip(metrics, [*metrics.values()][1:] + [*metrics.values()][:1], strict=True))
    )


@fault("evaluation", "metrics are those of the evaluation before", EVALUATED, (6, 16))
def _(run: Run) -> None:
    kept: list[dict[str, float]] = []

    def late(original: Any, metrics: Any) -> Any:
        right = original(metrics)
        kept.append(right)
        if not run.hit or len(kept) < 2:
            return right
        if kept[-2] != right:
            run.after_step()
        return kept[-2]

    run.around(base_trainer, "prefixed", late)


@fault("evaluation", "the first evaluation is left out", PT, START)
def _(run: Run) -> None:
    def evaluate(original: Any, trainer: Any) -> bool:
        if run.step == 1:
            run.after_step()
            return False
        return bool(original(trainer))

    run.around(BaseTrainer, "evaluate_and_judge", evaluate)


# Ends.


@fault("end", "the worst evaluation is taken for the best", PT, START)
def _(run: Run) -> None:
    """Training then gives up early."""

    def stop(original: Any, trainer: Any, reason: str) -> None:
        if reason == "early_stopping" and run.left:
            run.after_step()
        original(trainer, reason)

    run.around(BaseTrainer, "request_stop", stop)
    run.before_training(
        lambda trainer: setattr(
            trainer, "judge", base_trainer.judge_of(with_output(trainer.config, greater_is_better=True))
        )
    )


def with_output(config: Any, **values: Any) -> Any:
    return dataclasses.replace(config, output=dataclasses.replace(config.output, **values))


@fault("end", "one epoch fewer", EPOCHS, START)
def _(run: Run) -> None:
    def go(original: Any, loop: Any) -> Any:
        loop._epochs -= 1
        reason = original(loop)
        run.after_step()
        return reason

    run.around(Loop, "run", go)


@fault("evaluation", "one step fewer", ("multimodal", *PT), START)
def _(run: Run) -> None:
    """The last step is evaluated, so there is an evaluation where there was none."""

    def go(original: Any, loop: Any) -> Any:
        loop._end -= ACCUMULATION if run.training == "multimodal" else 1
        return original(loop)

    def evaluate(original: Any, trainer: Any) -> bool:
        if trainer.progress.step == len(run.reference.steps) - 1:
            run.after_step()
        return bool(original(trainer))

    run.around(Loop, "run", go)
    run.around(BaseTrainer, "evaluate_and_judge", evaluate)


@fault("end", "the weights are changed after the last step", begins=START)
def _(run: Run) -> None:
    def go(original: Any, loop: Loop) -> Any:
        reason = original(loop)
        run.instead(run.alive[0].detach().clone(), run.alive[0].data.mul_(1.01))
        run.first = run.calls
        return reason

    run.around(Loop, "run", go)


# Going on from a checkpoint of the old trainer.


def after_restoring(run: Run, change: Any) -> None:
    def restore(original: Any, trainer: Any, source: Any) -> None:
        original(trainer, source)
        change(trainer)

    run.around(saving, "restore", restore)


@fault(
    "update",
    "going on without the state of the optimizer",
    ("router_bc_resumed", "multimodal_resumed", "pt4_resumed"),
    START,
)
def _(run: Run) -> None:
    def change(trainer: Any) -> None:
        trainer.optimizer.state.clear()
        run.effect(1)

    after_restoring(run, change)


@fault("hyper", "going on without the schedule", ("multimodal_resumed", "pt4_resumed"), START)
def _(run: Run) -> None:
    def restore(original: Any, trainer: Any, source: Any) -> None:
        kept, trainer.scheduler = trainer.scheduler, None
        groups = [dict(group) for group in trainer.optimizer.param_groups]
        original(trainer, source)
        trainer.scheduler = kept
        for group, before in zip(trainer.optimizer.param_groups, groups, strict=True):
            group |= {key: before[key] for key in ("lr", "betas")}
        run.effect(1)

    run.around(saving, "restore", restore)


@fault("rng", "going on with other random numbers", ("safety_resumed", "multimodal_resumed"), START)
def _(run: Run) -> None:
    """The loaders of the others seed the generators where they go on."""

    def change(trainer: Any) -> None:
        seed_everything(1)
        run.effect(1)

    after_restoring(run, change)


@fault("setup", "going on without the weights", RESUMED, START)
def _(run: Run) -> None:
    run.around(foreign, "load_model_part", lambda original, *args: run.effect(0))


@fault(
    {"safety_resumed": "forward", "multimodal_resumed": "buffers"},
    "going on without buffers",
    ("safety_resumed", "multimodal_resumed"),
    START,
)
def _(run: Run) -> None:
    """Those of the safety controller decide how much safety is wanted."""

    def load(original: Any, model: nn.Module, *args: Any) -> Any:
        kept = {name: value.clone() for name, value in model.named_buffers()}
        found = original(model, *args)
        for name, value in model.named_buffers():
            if kept[name].numel() and not bool((kept[name] == value).all()):
                value.copy_(kept[name])
                run.effect(1)
        return found

    run.around(foreign, "load_model_part", load)


@fault(
    {"safety_resumed": "loss", "multimodal_resumed": "evaluation", "pt4_resumed": "evaluation"},
    "going on without the number of steps",
    ("safety_resumed", "multimodal_resumed", "pt4_resumed"),
    START,
)
def _(run: Run) -> None:
    """Stages of the curriculum and evaluations are counted from the number."""

    def change(trainer: Any) -> None:
        trainer.progress.step = trainer.progress.micro_step = 0
        evaluated = next(one.after_step for one in run.reference.evaluations if one.forwards)
        # The performance track evaluates after the first step of all.
        run.effect(evaluated if run.training == "multimodal_resumed" else 1)

    after_restoring(run, change)


@fault("loss", "going on without the number of epochs", ("safety_resumed",), START)
def _(run: Run) -> None:
    def change(trainer: Any) -> None:
        trainer.progress.epoch = 0
        run.effect(1)

    after_restoring(run, change)
