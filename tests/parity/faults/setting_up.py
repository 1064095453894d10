"""Faults in what a training begins with, in modes, random numbers and data."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, RandomSampler

from bem2.router import unified_trainer as router
from bem_core.training import base_trainer
from bem_core.training.base_trainer import BaseTrainer
from bem_core.training.loop import Loop
from bem_core.utils.seeding import rng_fence, seed_everything
from tests.parity.faults.catalogue import EPOCHS, EVALUATED, LOADERS, PT, Run, fault, main_groups, same

START = (1, 10**6)
GROUPED = ("safety", *PT)


def first_weight(trainer: Any) -> Tensor:
    """Return a matrix that is trained."""
    tensors = [one for group in trainer.optimizer.param_groups for one in group["params"]]
    return next(one for one in tensors if one.dim() > 1 and one.requires_grad)


def changed_weight(change: Callable[[Tensor], Any]) -> Callable[[Run], None]:
    def put(run: Run) -> None:
        def begin(trainer: Any) -> None:
            weight = first_weight(trainer).data
            before = weight.clone()
            change(weight)
            if not same(before, weight):
                run.effect(0)

        run.before_training(begin)

    return put


@fault("setup", "one weight is one ULP off", begins=START)
def _(run: Run) -> None:
    def change(weight: Tensor) -> None:
        place = (0,) * weight.dim()
        weight[place] = torch.nextafter(weight[place], torch.tensor(9.0))

    changed_weight(change)(run)


@fault("setup", "a matrix is initialised with another gain", begins=START)
def _(run: Run) -> None:
    changed_weight(lambda weight: weight.mul_(1.1))(run)


@fault("setup", "the model is made with another seed", begins=START)
def _(run: Run) -> None:
    def seed(original: Any, number: int, *args: Any) -> Any:
        run.effect(0)
        return original(number + 1, *args)

    run.around(base_trainer, "seed_everything", seed)


@fault("setup", "a parameter is not in the optimizer", begins=START)
def _(run: Run) -> None:
    def begin(trainer: Any) -> None:
        trainer.optimizer.param_groups[-1]["params"].pop()
        run.effect(0)

    run.before_training(begin)


@fault("setup", "two parameters of a group change places", begins=START)
def _(run: Run) -> None:
    def begin(trainer: Any) -> None:
        params = trainer.optimizer.param_groups[0]["params"]
        params[0], params[1] = params[1], params[0]
        run.effect(1)

    run.before_training(begin)


@fault("setup", "biases and norms are not decayed", begins=START)
def _(run: Run) -> None:
    """The default of the new trainer, where the old one decayed all."""

    def begin(trainer: Any) -> None:
        for group in list(main_groups(run)):
            small = [one for one in group["params"] if one.dim() < 2]
            if small and len(small) < len(group["params"]) and group["weight_decay"]:
                group["params"] = [one for one in group["params"] if one.dim() >= 2]
                options = {key: value for key, value in group.items() if key not in ("params", "weight_decay")}
                trainer.optimizer.add_param_group({**options, "params": small, "weight_decay": 0.0})
                run.effect(1)

    run.before_training(begin)


@fault("setup", "the pattern of a group fits one parameter less", GROUPED, START)
def _(run: Run) -> None:
    def begin(trainer: Any) -> None:
        groups = main_groups(run)
        groups[-1]["params"].append(groups[0]["params"].pop())
        run.effect(1)

    run.before_training(begin)


@fault("setup", "the rule of a group has another multiplier, so groups change places", GROUPED, START)
def _(run: Run) -> None:
    def begin(trainer: Any) -> None:
        groups = main_groups(run)
        groups[0]["params"], groups[-1]["params"] = groups[-1]["params"], groups[0]["params"]
        run.effect(1)

    run.before_training(begin)


# Modes.


@fault("mode", "the model stays in evaluation mode after evaluating", EVALUATED, (2, 16))
def _(run: Run) -> None:
    def evaluate(original: Any, trainer: Any) -> Any:
        found = original(trainer)
        if run.hit and run.left:
            trainer.model.eval()
            run.effect()
        return found

    run.around(BaseTrainer, "evaluate", evaluate)


@fault("mode", "a module is left in evaluation mode")
def _(run: Run) -> None:
    def begin(stepper: Any) -> None:
        leaves = [one for one in run.trainer.model.modules() if not list(one.children()) and one.training]
        run.chance.choice(leaves).eval()
        run.effect()

    run.before_step(begin, once=True)


@fault("mode", "dropout is switched off")
def _(run: Run) -> None:
    def begin(stepper: Any) -> None:
        for module in run.trainer.model.modules():
            if isinstance(module, nn.Dropout) and module.p and module.training:
                module.eval()
                run.effect()

    run.before_step(begin)


# Random numbers.


def drawing(draw: Callable[[], Any]) -> Callable[[Run], None]:
    def put(run: Run) -> None:
        def begin(stepper: Any) -> None:
            draw()
            run.effect()

        run.before_step(begin, once=True)

    return put


@fault("rng", "a stray draw of torch")
def _(run: Run) -> None:
    drawing(lambda: torch.rand(1))(run)


@fault("rng", "a stray draw of NumPy")
def _(run: Run) -> None:
    drawing(np.random.rand)(run)


@fault("rng", "a stray draw of Python")
def _(run: Run) -> None:
    drawing(random.random)(run)


@fault("rng", "the seed is set again with each epoch", EPOCHS, (2, 40))
def _(run: Run) -> None:
    def begin(original: Any, trainer: Any) -> Any:
        if run.next_hit:
            seed_everything(trainer.config.training.seed)
            run.effect()
        return original(trainer)

    run.around(BaseTrainer, "begin_batches", begin)


@fault("rng", "NumPy is seeded with another seed", ("multimodal",), START)
def _(run: Run) -> None:
    def begin(trainer: Any) -> None:
        np.random.seed(5)
        run.effect(1)

    run.before_training(begin)


@fault("rng", "the evaluation draws random numbers", EVALUATED, (2, 16))
def _(run: Run) -> None:
    def evaluate(original: Any, trainer: Any) -> Any:
        found = original(trainer)
        if run.hit and run.left:
            torch.rand(1)
            run.after_step()
        return found

    run.around(BaseTrainer, "evaluate", evaluate)


@fault("rng", "the evaluation leaves the generators as they were", ("router_bc", "safety", *PT), (2, 16))
def _(run: Run) -> None:
    def evaluate(original: Any, trainer: Any) -> Any:
        if not (run.hit and run.left):
            return original(trainer)
        before = torch.get_rng_state()
        with rng_fence():
            found = original(trainer)
            if not same(before, torch.get_rng_state()):
                run.after_step()
        return found

    run.around(BaseTrainer, "evaluate", evaluate)


def samplers(original: Any, sampler: RandomSampler, run: Run, change: Callable[..., Iterator[int]]) -> Iterator[int]:
    if not run.next_hit:
        return original(sampler)
    run.effect()
    return change(original, sampler)


@fault("rng", "the sampler has a generator of its own", LOADERS)
def _(run: Run) -> None:
    def change(original: Any, sampler: Any) -> Iterator[int]:
        sampler.generator = torch.Generator().manual_seed(0)
        return original(sampler)

    run.around(RandomSampler, "__iter__", functools.partial(samplers, run=run, change=change))


@fault("rng", "training data is not shuffled", LOADERS)
def _(run: Run) -> None:
    """A permutation is not drawn."""

    def change(original: Any, sampler: Any) -> Iterator[int]:
        return iter(range(len(sampler.data_source)))

    run.around(RandomSampler, "__iter__", functools.partial(samplers, run=run, change=change))


@fault("rng", "workers are seeded from a generator of the loader", LOADERS, START)
def _(run: Run) -> None:
    """The loader then does not draw the seed of its workers from the global generator."""

    def begin(trainer: Any) -> None:
        loader = trainer.source._loader
        # Its sampler takes the generator only where it is made with it.
        getattr(loader, "loader", loader).generator = torch.Generator().manual_seed(0)
        run.effect(1)

    run.before_training(begin)


# Data.


@fault("data", "samples of a batch in another order", ("router_bc", "safety", "multimodal", *PT))
def _(run: Run) -> None:
    def batches(original: Any, sampler: Any) -> Iterator[list[int]]:
        for batch in original(sampler):
            if run.next_hit and isinstance(sampler.sampler, RandomSampler):
                yield run.instead(batch, batch[::-1])
            else:
                yield batch

    def choice(original: Any, *args: Any, **kwargs: Any) -> Any:
        chosen = original(*args, **kwargs)
        if not run.next_hit:
            return chosen
        run.effect()
        return chosen[::-1]

    run.around(BatchSampler, "__iter__", batches)
    run.around(np.random, "choice", choice)


@fault({"multimodal": "rng"} | dict.fromkeys(("router_bc", "router_pg", "safety", *PT), "data"), "a batch is skipped")
def _(run: Run) -> None:
    """Where samples are drawn one by one, that is a draw more."""
    skipped: list[int] = []

    def windows(original: Any, loop: Loop, batches: Any) -> Any:
        def some() -> Iterator[Any]:
            for batch in batches:
                if run.step + 1 >= run.at and not skipped:
                    skipped.append(run.step)
                    run.effect()
                    continue
                yield batch

        return original(loop, some())

    run.around(Loop, "_windows", windows)


@fault("data", "batches come in the opposite order", EPOCHS, (2, 40))
def _(run: Run) -> None:
    def reverse(batches: Any) -> Iterator[Any]:
        *found, last = batches
        if run.next_hit and len(found) > 1:
            run.effect()
            found.reverse()
        # The last one may be smaller.
        return iter([*found, last])

    def samples(original: Any, sampler: Any) -> Iterator[list[int]]:
        # Not before the first batch is asked for: by then the loader has drawn the seed of its workers.
        found = original(sampler)
        yield from reverse(found) if isinstance(sampler.sampler, RandomSampler) else found

    run.around(router, "batches", lambda original, *args: reverse(original(*args)))
    run.around(BatchSampler, "__iter__", samples)


@fault("data", "a sample is prepared otherwise", ("router_bc", "safety", "multimodal", *PT))
def _(run: Run) -> None:
    """One feature or token of each batch is another one."""

    def windows(original: Any, loop: Loop, batches: Any) -> Any:
        def changed() -> Iterator[Any]:
            for batch in batches:
                yield prepared(run, batch) if run.next_hit else batch

        return original(loop, changed())

    run.around(Loop, "_windows", windows)


def prepared(run: Run, batch: dict[str, Any]) -> dict[str, Any]:
    """Return a batch whose first sample is another one."""
    if run.training == "router_bc":
        summary = batch["state"].chunk_summary.clone()
        summary[0] *= 1.001
        run.instead(batch["state"].chunk_summary, summary)
        return batch | {"state": batch["state"]._replace(chunk_summary=summary)}
    ids = batch["input_ids"].clone()
    ids[0, 0] = (ids[0, 0] + 1) % 16
    return batch | {"input_ids": run.instead(batch["input_ids"], ids)}


@fault("data", "the last partial batch is dropped", ("router_bc",), START)
def _(run: Run) -> None:
    """The epoch then ends, and is evaluated, a step early."""

    def batches(original: Any, sampler: Any) -> Iterator[list[int]]:
        for batch in original(sampler):
            if isinstance(sampler.sampler, RandomSampler) and len(batch) < sampler.batch_size:
                run.after_step()
                return
            yield batch

    run.around(BatchSampler, "__iter__", batches)
