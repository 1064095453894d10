"""Faults that only the multimodal component can have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bem2.multimodal import controller, losses, routing
from bem2.multimodal import unified_trainer as multimodal
from bem_core.training.loop import Loop
from bem_core.training.step import Stepper
from tests.parity.faults.catalogue import Run, fault, other_result

MULTIMODAL = ("multimodal",)


@fault("loss", "another target of coverage", MULTIMODAL)
def _(run: Run) -> None:
    original = losses._bce
    targets = {0.7: 0.75, 0.8: 0.8, 0.6: 0.6}

    def bce(bound: Any, value: Tensor, target: float) -> Tensor:
        if not run.training_now:
            return original(value, target)
        if target != targets[target]:
            run.effect()
        return original(value, targets[target])

    run.around(losses, "_bce", bce)


@fault("loss", "another target of consistency", MULTIMODAL)
def _(run: Run) -> None:
    def begin(stepper: Stepper) -> None:
        losses._CONSISTENCY_TARGET = 0.81
        run.effect()

    run.before_step(begin, once=True)


@fault("loss", "no penalty for objects that are not there", MULTIMODAL)
def _(run: Run) -> None:
    other_result(multimodal, "hallucination_loss", lambda right, probabilities, wrong: 0 * right)(run)


@fault("loss", "objects that are there count as wrong", MULTIMODAL)
def _(run: Run) -> None:
    original = multimodal.hallucination_loss
    other_result(multimodal, "hallucination_loss", lambda right, probs, wrong: original(probs, 1 - wrong))(run)


@fault("loss", "objects are not looked at in coverage", MULTIMODAL)
def _(run: Run) -> None:
    original = multimodal.coverage

    def coverage(bound: Any, view: Any, objects: Tensor) -> Any:
        if not run.training_now:
            return original(view, objects)
        run.instead(objects, torch.zeros_like(objects))
        return original(view, torch.zeros_like(objects))

    run.around(multimodal, "coverage", coverage)


@fault("loss", "accumulation divides by one micro-batch too many", MULTIMODAL)
def _(run: Run) -> None:
    def divisors(original: Any, loop: Any, window: Any) -> Any:
        right = original(loop, window)
        return run.instead(right, [one + 1 for one in right]) if run.next_hit else right

    run.around(Loop, "_divisors", divisors)


@fault("loss", "losses are not divided by the number of micro-batches", MULTIMODAL)
def _(run: Run) -> None:
    def divisors(original: Any, loop: Any, window: Any) -> Any:
        right = original(loop, window)
        return run.instead(right, [1.0] * len(right)) if run.next_hit else right

    run.around(Loop, "_divisors", divisors)


@fault("backward", "a window has a micro-batch less", MULTIMODAL)
def _(run: Run) -> None:
    """Fewer samples are drawn, because the model is called less."""

    def step(original: Any, loop: Any, window: Any) -> Any:
        # The next window is taken when this is done.
        found = original(loop, window)
        if run.next_hit:
            loop._accumulate = 1
            run.effect()
        return found

    run.around(Loop, "_step", step)


@fault("forward", "another bound of the codes", MULTIMODAL)
def _(run: Run) -> None:
    original = routing.bounded
    other_result(routing, "bounded", lambda right, codes, bound: original(codes, 0.5 * bound))(run)


@fault("forward", "another threshold of consistency in the gate", MULTIMODAL)
def _(run: Run) -> None:
    def gate(original: Any, module: Any, cls: Tensor, text: Tensor, consistency: Tensor, coverage: Tensor) -> Tensor:
        if run.training_now:
            run.instead(consistency > 0.5, consistency > 0.9)
            module._consistency = 0.9
        found: Tensor = original(module, cls, text, consistency, coverage)
        return found

    run.around(controller.ConflictGate, "forward", gate)


@fault("forward", "another threshold of coverage in the gate", MULTIMODAL)
def _(run: Run) -> None:
    def gate(original: Any, module: Any, cls: Tensor, text: Tensor, consistency: Tensor, coverage: Tensor) -> Tensor:
        if run.training_now:
            run.instead(coverage > 0.3, coverage > 0.99)
            module._coverage = 0.99
        found: Tensor = original(module, cls, text, consistency, coverage)
        return found

    run.around(controller.ConflictGate, "forward", gate)


def other_mean(change: Callable[[Run, Any, Tensor, Tensor, Tensor, float], None]) -> Callable[[Run], None]:
    def put(run: Run) -> None:
        def move(original: Any, mean: Tensor, started: Tensor, value: Tensor, decay: float) -> None:
            if run.hit and not run.evaluating and mean.dim():
                change(run, original, mean, started, value, decay)
            else:
                original(mean, started, value, decay)

        run.around(routing, "move_mean", move)

    return put


@fault("buffers", "another momentum of a running mean", MULTIMODAL)
def _(run: Run) -> None:
    def change(run: Run, original: Any, mean: Tensor, started: Tensor, value: Tensor, decay: float) -> None:
        run.effect()
        original(mean, started, value, decay - 0.01)

    other_mean(change)(run)


@fault("buffers", "a running mean is not updated", MULTIMODAL)
def _(run: Run) -> None:
    other_mean(lambda run, *args: run.effect())(run)


@fault("buffers", "a running mean begins anew", MULTIMODAL)
def _(run: Run) -> None:
    def begin(stepper: Stepper) -> None:
        run.trainer.model.controller.chunk_router.ema_chunk_code.zero_()
        run.effect()

    run.before_step(begin, once=True)
