"""How a model is trained: one field for each thing in which hand-written training loops differ.

The defaults are the correct ones. A component says in ``legacy_options`` of its trainer which of them its old loop had
otherwise; ``compat: legacy`` in an experiment selects those.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from bem_core.config.schema import Count, Fraction, Free, Momentum, NonNegative, Positive, PositiveFloat

Strategy = Literal["no", "steps", "epoch", "time"]


@dataclass(frozen=True, kw_only=True)
class ParamGroupConfig:
    """Parameters that are trained in a way of their own.

    Attributes:
        match: Patterns of parameter names, as in a shell; a parameter belongs to the first group that matches it.
        lr_multiplier: What the learning rate is multiplied with.
        weight_decay: In place of ``training.weight_decay``.
    """

    match: list[str]
    lr_multiplier: NonNegative = 1.0
    weight_decay: NonNegative | None = None


@dataclass(frozen=True, kw_only=True)
class DualConfig:
    """Multipliers of constraints: parameters of the model that *maximise* the loss, with an optimizer of their own.

    Attributes:
        match: Patterns of their names.
        start_step: Steps before which they stay as they are.
        low: Least value of a multiplier.
        high: Greatest value of a multiplier; None for no bound.
    """

    match: list[str]
    optimizer: str = "sgd"
    learning_rate: PositiveFloat = 0.01
    start_step: Count = 0
    low: float = 0.0
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class RollbackConfig:
    """When a run goes back to the best weights it had.

    Attributes:
        metric: The part of the loss that is watched.
        best_metric: The part of the loss whose least value marks the best weights; by default `metric`.
        window: Steps that are averaged, at the beginning and now.
        max_increase: How far the average may rise above the first one.
        check_steps: Steps between checks.
        threshold: Failed checks in a row after which the weights go back.
    """

    metric: str = "loss"
    best_metric: str | None = None
    window: Positive = 10
    max_increase: NonNegative = 0.01
    check_steps: Positive = 100
    threshold: Positive = 3


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How the model is trained. A step is one update of the optimizer.

    Attributes:
        method: How a component trains, where it knows several ways.
        trained: Patterns of the names of parameters that are trained; the others are frozen.
        optimizer_kwargs: Further arguments of the optimizer.
        param_groups: Groups by name; what none of them matches forms one more.
        no_decay: Kinds of parameters without weight decay, told by the type of their module.
        dual: A second optimizer, for multipliers of constraints; None for none.
        max_grad_norm: Norm to which gradients are clipped; 0 for no clipping.
        clip_scope: Patterns of the names of parameters whose gradients are clipped together.
        clip_interval: Whether to clip what a step has gathered, or after each micro-batch.
        zero_grad: Where in a step the gradients are reset.
        batch_size: Examples of one micro-batch on one device.
        batch_source: ``loader`` goes through the data once an epoch, ``fresh_loader`` takes the first batch of a new
            pass each time, ``sampled`` draws examples with replacement, ``rollout`` asks the component.
        gradient_accumulation_steps: Micro-batches of one step.
        last_window: Whether a step is made of the micro-batches left at the end of an epoch if there are too few.
        loss_weight: What a micro-batch counts in its step: its ``tokens`` (labels that are not -100), its ``samples``,
            or ``equal``; ``auto`` takes tokens where ``labels`` are integers.
        max_steps: Steps after which training ends; with `max_epochs` too, whichever comes first.
        max_time_s: Seconds after which a process ends its training, at the end of a step; a resumed run has them anew.
        progress_unit: What ``max_steps``, ``eval_steps``, ``save_steps`` and ``logging_steps`` count, and how long the
            schedule is. It moves with the steps; so with accumulation and ``micro_step`` it is not gone through.
        warmup_steps: Steps over which the learning rate rises.
        warmup_ratio: The same as a share of all steps, where `warmup_steps` is 0.
        scheduler_interval: When the learning rate changes: after each step, in the warm-up only, or after each epoch;
            the warm-up and the length of the schedule are then epochs too.
        eval_steps: Steps between evaluations, with ``eval_strategy: steps``.
        eval_start: The first of these steps; 0 is before training. By default `eval_steps`.
        eval_interval_s: Seconds between evaluations, with ``eval_strategy: time``.
        eval_rng: Whether what an evaluation draws from the global random generators is undone after it (``fenced``), or
            changes what training draws (``shared``).
        save_steps: Steps between checkpoints, with ``save_strategy: steps``.
        save_interval_s: Seconds between checkpoints, with ``save_strategy: time``.
        logging_steps: Steps between lines of the log.
        early_stopping_patience: Evaluations without improvement after which training ends; None for never.
        early_stopping_threshold: What counts as an improvement.
        rollback: When to go back to the best weights; None for never.
        max_non_finite_steps: Steps in a row that are left out because the loss or a gradient is not finite, before
            training stops; 0 stops at the first.
        seeds: The seeds of a series of runs; each run has one of them in `seed`.
        deterministic: Whether only deterministic kernels may run.
        fast_dev_run: Steps of a trial run that evaluates one batch and saves nothing; 0 for a real run.
        overfit_batches: Batches that are used over and over, to see whether the model can learn them; 0 for all.
        loss_weights: Weight of each term of the loss.
    """

    method: str | None = None
    trained: list[str] = field(default_factory=lambda: ["*"])
    optimizer: str = "adamw"
    optimizer_kwargs: Free = field(default_factory=dict)
    learning_rate: PositiveFloat = 5e-5
    weight_decay: NonNegative = 0.0
    adam_beta1: Momentum = 0.9
    adam_beta2: Momentum = 0.999
    adam_epsilon: PositiveFloat = 1e-8
    param_groups: list[ParamGroupConfig] = field(default_factory=list)
    no_decay: list[Literal["bias", "norm", "embedding"]] = field(default_factory=lambda: ["bias", "norm"])
    dual: DualConfig | None = None
    max_grad_norm: NonNegative = 1.0
    clip_scope: list[str] = field(default_factory=lambda: ["*"])
    clip_interval: Literal["step", "micro_step"] = "step"
    zero_grad: Literal["before_backward", "before_forward", "after_step"] = "before_backward"
    batch_size: Positive = 16
    batch_source: Literal["loader", "fresh_loader", "sampled", "rollout"] = "loader"
    gradient_accumulation_steps: Positive = 1
    last_window: Literal["keep", "drop"] = "keep"
    loss_weight: Literal["auto", "tokens", "samples", "equal"] = "auto"
    max_steps: Positive | None = None
    max_epochs: Positive | None = None
    max_time_s: PositiveFloat | None = None
    progress_unit: Literal["step", "micro_step"] = "step"
    warmup_steps: Count = 0
    warmup_ratio: Fraction | None = None
    scheduler_type: str = "linear"
    scheduler_interval: Literal["step", "warmup", "epoch"] = "step"
    lr_scheduler_kwargs: Free = field(default_factory=dict)
    eval_strategy: Strategy = "steps"
    eval_steps: Positive = 100
    eval_start: Count | None = None
    eval_interval_s: PositiveFloat | None = None
    eval_rng: Literal["fenced", "shared"] = "fenced"
    save_strategy: Strategy = "steps"
    save_steps: Positive = 500
    save_interval_s: PositiveFloat | None = None
    logging_steps: Positive = 50
    early_stopping_patience: Positive | None = None
    early_stopping_threshold: NonNegative = 0.0
    rollback: RollbackConfig | None = None
    max_non_finite_steps: Count = 0
    seed: Count = 42
    seeds: list[Count] = field(default_factory=list)
    deterministic: bool = False
    fast_dev_run: Count = 0
    overfit_batches: Count = 0
    loss_weights: dict[str, NonNegative] = field(default_factory=dict)
    params: Free = field(default_factory=dict)
