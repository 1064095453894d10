"""Faults in the forward pass, the loss and the backward pass that any training can have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from bem_core.training.step import Stepper
from tests.parity.faults.catalogue import PT, Run, fault, trained_modules

SLOPES = ("multimodal", "pt1", "pt4")


@fault("forward", "the output of a layer goes through bfloat16")
def _(run: Run) -> None:
    run.outputs_of(nn.Linear, lambda module, args, output: output.bfloat16().float())


@fault("forward", "the output of a layer is scaled")
def _(run: Run) -> None:
    run.outputs_of(nn.Linear, lambda module, args, output: output * 1.001)


@fault(
    "forward",
    "a layer is called without its bias",
    ("router_bc", "router_pg", "safety", "multimodal", "pt1", "pt2", "pt4"),
)
def _(run: Run) -> None:
    run.outputs_of(nn.Linear, lambda module, args, output: functional.linear(args[0], module.weight), bias=True)


@fault("forward", "another epsilon in a norm", ("router_bc", "router_pg", "safety", "multimodal", "pt1", "pt2", "pt4"))
def _(run: Run) -> None:
    def change(module: Any, args: Any, output: Tensor) -> Tensor:
        return functional.layer_norm(args[0], module.normalized_shape, module.weight, module.bias, 1e-4)

    run.outputs_of(nn.LayerNorm, change)


@fault("forward", "GELU by tanh", SLOPES)
def _(run: Run) -> None:
    run.outputs_of(nn.GELU, lambda module, args, output: functional.gelu(args[0], approximate="tanh"))


@fault("forward", "another probability of dropout", ("router_bc", "router_pg", "safety", "multimodal", "pt1", "pt4"))
def _(run: Run) -> None:
    """As many numbers are drawn."""

    def begin(stepper: Stepper) -> None:
        module: Any = run.chance.choice([one for one in trained_modules(run, nn.Dropout) if one.p])
        module.p = 0.2
        module.register_forward_pre_hook(lambda module, args: run.effect() if run.training_now else None)

    run.before_step(begin, once=True)


@fault("forward", "a parameter is changed between the steps")
def _(run: Run) -> None:
    def begin(stepper: Stepper) -> None:
        tensor = max(run.alive, key=lambda one: one.numel())
        run.instead(tensor.detach().clone(), tensor.data.mul_(1 + 1e-3))

    run.before_step(begin, once=True)


# Losses.


def weighted_parts(trainer: Any, losses: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the terms of a loss with their weights."""
    from bem2.multimodal.unified_trainer import MultimodalTrainer
    from bem2.perftrack.unified_trainer import PerformanceTrainer
    from bem2.safety.unified_trainer import SafetyTrainer

    if isinstance(trainer, PerformanceTrainer):
        weights = trainer.objective.weights
    elif isinstance(trainer, MultimodalTrainer):
        weights = trainer._settings.loss_weights
    elif isinstance(trainer, SafetyTrainer):
        weights = {"supervision_loss": trainer._phase.safety, "overlap": trainer._phase.orthogonality}
    elif trainer._method == "bc":
        weights = {f"{name}_loss": weight for name, weight in trainer._weights.items()}
    else:
        weights = {"policy_loss": 1.0, "value_loss": trainer._settings.ppo.value_loss_coeff}
    return {name: weight * losses[name] for name, weight in weights.items() if weight and losses[name].requires_grad}


def one_term(run: Run, trainer: Any, losses: Mapping[str, Any]) -> Tensor:
    terms = weighted_parts(trainer, losses)
    name = sorted(terms)[run.at % len(terms)]
    return terms[name]


@fault("loss", "a term of the loss has another weight")
def _(run: Run) -> None:
    run.changed_loss(lambda trainer, batch, outputs, right: right["loss"] + 0.01 * one_term(run, trainer, right))


@fault("loss", "a term of the loss is missing")
def _(run: Run) -> None:
    run.changed_loss(lambda trainer, batch, outputs, right: right["loss"] - one_term(run, trainer, right))


@fault("loss", "the loss is a sum over the samples")
def _(run: Run) -> None:
    run.changed_loss(lambda trainer, batch, outputs, right: 4 * right["loss"])


@fault("loss", "the loss goes through bfloat16")
def _(run: Run) -> None:
    run.changed_loss(lambda trainer, batch, outputs, right: right["loss"].bfloat16().float())


@fault("loss", "labels are smoothed", ("router_bc", "safety", *PT))
def _(run: Run) -> None:
    def smoothed(original: Any, *args: Any, **kwargs: Any) -> Tensor:
        if run.training_now:
            run.effect()
            kwargs["label_smoothing"] = 0.01
        loss: Tensor = original(*args, **kwargs)
        return loss

    run.around(functional, "cross_entropy", smoothed)


@fault("loss", "labels are those of the sample after")
def _(run: Run) -> None:
    names = {"router_bc": "action", "router_pg": "actions", "multimodal": "targets"}
    name = names.get(run.training, "labels")
    run.changed_batch(lambda batch: batch | {name: run.instead(batch[name], batch[name].roll(1, 0))})


# Backward passes.


@fault("backward", "gradients are not reset")
def _(run: Run) -> None:
    def begin(stepper: Any) -> None:
        reset = stepper._zero_grad

        def nothing() -> None:
            stepper._zero_grad = reset
            if any(one.grad is not None and one.grad.any() for one in run.alive):
                run.effect()

        stepper._zero_grad = nothing

    run.before_step(begin, once=True)


@fault("backward", "only the last micro-batch counts", ("multimodal",))
def _(run: Run) -> None:
    def micro_step(original: Any, stepper: Any, *args: Any) -> Any:
        if run.hit:
            if any(one.grad is not None and one.grad.any() for one in run.alive):
                run.effect()
            stepper._parts.optimizer.zero_grad()
        return original(stepper, *args)

    run.around(Stepper, "_micro_step", micro_step)


@fault("backward", "two backward passes")
def _(run: Run) -> None:
    def backward(original: Any, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        if run.now:
            run.effect()
            original(loss, *args, **kwargs, retain_graph=True)
        original(loss, *args, **kwargs)

    run.around(Tensor, "backward", backward)


@fault("backward", "a gradient is scaled by 1 + 1e-6")
def _(run: Run) -> None:
    run.changed_gradients(lambda tensor: tensor.grad.mul_(1 + 1e-6))  # type: ignore[union-attr]


@fault("backward", "a gradient is zero")
def _(run: Run) -> None:
    run.changed_gradients(lambda tensor: tensor.grad.zero_())  # type: ignore[union-attr]


@fault("backward", "a gradient is missing")
def _(run: Run) -> None:
    run.changed_gradients(lambda tensor: setattr(tensor, "grad", None))


@fault("backward", "two rows of a gradient change places")
def _(run: Run) -> None:
    run.changed_gradients(lambda tensor: tensor.grad.copy_(tensor.grad.roll(1, 0)))  # type: ignore[union-attr]


@fault("backward", "a path is detached")
def _(run: Run) -> None:
    def begin(stepper: Stepper) -> None:
        module = run.chance.choice(trained_modules(run, nn.Linear))

        def detach(module: nn.Module, args: Any) -> Any:
            if run.training_now and args[0].requires_grad:
                run.effect()
            return (args[0].detach(), *args[1:]) if run.training_now else None

        module.register_forward_pre_hook(detach)

    run.before_step(begin, once=True)


@fault("backward", "a parameter is frozen")
def _(run: Run) -> None:
    def begin(stepper: Stepper) -> None:
        tensor = run.alive[len(run.alive) // 2]
        tensor.requires_grad_(False)
        tensor.grad = None
        run.effect()

    run.before_step(begin, once=True)
