"""The sections that only the safety component reads, and what they must be together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field

from bem_core.config import ExperimentConfig, check_sections, read_sections
from bem_core.config.config_loader import InvalidConfig
from bem_core.config.schema import Count, Fraction, Momentum, NonNegative, Positive, PositiveFloat
from bem_core.config.sections import place
from bem_core.config.training_config import DualConfig, ParamGroupConfig, RollbackConfig
from bem_core.errors import nearest

#: What is scored; each has `ASPECTS` numbers.
PRINCIPLES = ("harmlessness", "helpfulness", "honesty", "privacy", "fairness", "autonomy", "transparency")
ASPECTS = 4
#: Safety level that a domain asks for.
DOMAIN_LEVELS = {
    "general": 0.6,
    "medical": 0.8,
    "legal": 0.7,
    "financial": 0.7,
    "educational": 0.5,
    "creative": 0.4,
    "technical": 0.5,
    "sensitive": 0.9,
}
# Where experiments had these settings before, below `safety`.
_OLD = {
    "safety_basis": "safety_basis",
    "constitutional_scorer": "constitutional_scorer",
    "safety_controller": "safety_controller",
    "violation_detector": "violation_detector",
    "lagrangian_constraints": "constraints",
}


@dataclass(frozen=True, kw_only=True)
class BasisSettings:
    """Section ``safety_basis``.

    Attributes:
        rank: Directions that each layer reads and writes along.
        penalty: Factor of the overlap between the layers.
        temperature: Of the score in the activation.
        min_activation: Least weight of the safety level in the activation.
        max_activation: Its greatest weight.
        init_std: Standard deviation of what mixes the directions, at the beginning.
    """

    rank: Positive = 32
    penalty: NonNegative = 1.0
    temperature: PositiveFloat = 1.0
    min_activation: Fraction = 0.1
    max_activation: Fraction = 1.0
    init_std: PositiveFloat = 0.02


@dataclass(frozen=True, kw_only=True)
class ScorerSettings:
    """Section ``constitutional_scorer``.

    Attributes:
        threshold: Score below which a text violates.
        principle_weights: Factor of the aspects of a principle, by its name; 1 for the others.
    """

    hidden_size: Positive = 768
    num_layers: Positive = 6
    num_heads: Positive = 8
    dropout: Momentum = 0.1
    temperature: PositiveFloat = 1.0
    threshold: Fraction = 0.5
    principle_weights: dict[str, NonNegative] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ControllerSettings:
    """Section ``safety_controller``.

    Attributes:
        level: The knob: how much safety is wanted, from 0 to 1.
        domain: Where the model is used.
        adaptation_strength: Share of what the hidden states say.
        smoothing: Share of the level before.
        escalation_threshold: Score below which the level is raised.
        escalation_factor: How far, for a score of 0.
    """

    level: Fraction = 0.6
    domain: str = "general"
    adaptation_strength: NonNegative = 0.2
    smoothing: Momentum = 0.9
    escalation_threshold: PositiveFloat = 0.2
    escalation_factor: NonNegative = 0.5
    max_escalation: Fraction = 1.0
    min_level: Fraction = 0.0
    max_level: Fraction = 1.0


@dataclass(frozen=True, kw_only=True)
class DetectorSettings:
    """Section ``violation_detector``; its width is that of the base model.

    Attributes:
        threshold: Probability above which a type of violation is reported.
    """

    num_layers: Positive = 4
    num_heads: Positive = 8
    dropout: Momentum = 0.1
    threshold: Fraction = 0.5


@dataclass(frozen=True, kw_only=True)
class ConstraintSettings:
    """Section ``constraints``.

    Attributes:
        max_violation_rate: Share of the answers that may violate.
        tolerance: How far above it the constraint still counts as met.
        initial_multiplier: Price of a violation at the beginning.
        multiplier_learning_rate: Step of the multiplier; it shrinks by 1 % at each check that finds the constraint met
            and grows by 10 % at each other one.
        start_step: Steps before which the multiplier stays as it is.
        check_steps: Steps between checks.
    """

    max_violation_rate: Fraction = 0.05
    tolerance: NonNegative = 0.01
    initial_multiplier: NonNegative = 1.0
    multiplier_learning_rate: PositiveFloat = 0.01
    min_multiplier: NonNegative = 0.001
    max_multiplier: PositiveFloat = 100.0
    start_step: Count = 1000
    check_steps: Positive = 100


@dataclass(frozen=True, kw_only=True)
class PhaseSettings:
    """Section ``training.params``: weights of the loss, what is warmed up, and when to go back to the best weights.

    Attributes:
        utility_weight: Weight of predicting the next token.
        safety_weight: Weight of teaching the scorer and the detector; the curriculum sets it, and the two below.
        orthogonality_weight: Weight of the overlap of the bases.
        violation_constraint_weight: Weight of the constraint.
        safety_warmup_epochs: Epochs in which the bases do not move.
        orthogonality_warmup_epochs: Epochs in which the overlap counts a tenth.
        constraint_warmup_epochs: Epochs in which every rate of violations is allowed.
        enable_curriculum: Whether weights grow in stages; the stage changes between epochs.
        curriculum_stages: How many of the four stages there are.
        stage_warmup_steps: Steps of a stage.
        performance_check_frequency: ``check_steps`` of ``training.rollback``, where an experiment does not set that.
        max_performance_drop: Its ``max_increase``.
        rollback_threshold: Its ``threshold``; 0 for no rollback.
    """

    utility_weight: NonNegative = 1.0
    safety_weight: NonNegative = 1.0
    orthogonality_weight: NonNegative = 0.5
    violation_constraint_weight: NonNegative = 2.0
    safety_warmup_epochs: Count = 2
    orthogonality_warmup_epochs: Count = 3
    constraint_warmup_epochs: Count = 1
    enable_curriculum: bool = True
    curriculum_stages: Positive = 4
    stage_warmup_steps: Positive = 200
    performance_check_frequency: Positive = 100
    max_performance_drop: NonNegative = 0.01
    rollback_threshold: Count = 3


@dataclass(frozen=True, kw_only=True)
class SafetySettings:
    """All of them."""

    basis: BasisSettings = field(default_factory=BasisSettings)
    scorer: ScorerSettings = field(default_factory=ScorerSettings)
    controller: ControllerSettings = field(default_factory=ControllerSettings)
    detector: DetectorSettings = field(default_factory=DetectorSettings)
    constraints: ConstraintSettings = field(default_factory=ConstraintSettings)
    phases: PhaseSettings = field(default_factory=PhaseSettings)


_SECTIONS = {
    "safety_basis": BasisSettings,
    "constitutional_scorer": ScorerSettings,
    "safety_controller": ControllerSettings,
    "violation_detector": DetectorSettings,
    "constraints": ConstraintSettings,
    "training.params": PhaseSettings,
}


def read_settings(config: ExperimentConfig) -> SafetySettings:
    """Return the settings of an experiment.

    Raises:
        InvalidConfig: Keys or values are wrong, or do not go together; it has all of them, with their places.
    """
    check_sections(config, [name for name in _SECTIONS if "." not in name])
    made = read_sections(config, _SECTIONS)
    names = [one.name for one in dataclasses.fields(SafetySettings)]
    found = SafetySettings(**dict(zip(names, made.values(), strict=True)))
    lines = [f"{place(config, key)}: {key}: {message}" for key, message in (*_moved(config), *_wrong(found))]
    if lines:
        raise InvalidConfig(config.name or "the configuration", lines)
    return found


def _moved(config: ExperimentConfig) -> Iterator[tuple[str, str]]:
    for name in _OLD.keys() & config.safety.params.keys():
        yield f"safety.params.{name}", f"expected a section {_OLD[name]} of its own; docs/safety.md has its keys"


def _wrong(found: SafetySettings) -> Iterator[tuple[str, str]]:
    basis, scorer, controller, constraints = found.basis, found.scorer, found.controller, found.constraints
    if basis.min_activation > basis.max_activation:
        yield "safety_basis.min_activation", f"expected at most max_activation, {basis.max_activation}"
    if scorer.hidden_size % scorer.num_heads:
        yield "constitutional_scorer.hidden_size", f"expected a multiple of num_heads, {scorer.num_heads}"
    for name in scorer.principle_weights:
        if name not in PRINCIPLES:
            hint = nearest(name, PRINCIPLES) or f"; there are {', '.join(PRINCIPLES)}"
            yield f"constitutional_scorer.principle_weights.{name}", f"unknown principle{hint}"
    if controller.domain not in DOMAIN_LEVELS:
        hint = nearest(controller.domain, DOMAIN_LEVELS) or f"; there are {', '.join(DOMAIN_LEVELS)}"
        yield "safety_controller.domain", f"unknown domain {controller.domain!r}{hint}"
    if controller.min_level > controller.max_level:
        yield "safety_controller.min_level", f"expected at most max_level, {controller.max_level}"
    if not constraints.min_multiplier <= constraints.initial_multiplier <= constraints.max_multiplier:
        bounds = f"{constraints.min_multiplier} to {constraints.max_multiplier}"
        yield "constraints.initial_multiplier", f"expected {bounds}, found {constraints.initial_multiplier}"


def with_training_options(config: ExperimentConfig, settings: SafetySettings) -> ExperimentConfig:
    """Return the experiment with the options of the trainer that follow from the settings of the component.

    The multiplier is maximised, the weights go back when the loss of predicting rises, and weight decay leaves the
    bases alone: the diagonal of what they are made of must stay at 1 and -1 (see `torch.nn.utils.parametrizations`).
    """
    constraints, phases, training = settings.constraints, settings.phases, config.training
    dual = training.dual or DualConfig(
        match=["multiplier"],
        learning_rate=constraints.multiplier_learning_rate,
        start_step=constraints.start_step,
        low=constraints.min_multiplier,
        high=constraints.max_multiplier,
    )
    rollback = training.rollback
    if rollback is None and phases.rollback_threshold:
        rollback = RollbackConfig(
            metric="utility_loss",
            best_metric="violation_rate",
            max_increase=phases.max_performance_drop,
            check_steps=phases.performance_check_frequency,
            threshold=phases.rollback_threshold,
        )
    bases = ParamGroupConfig(match=["basis.layers.*.parametrizations.*"], weight_decay=0.0)
    groups = [bases, *training.param_groups]
    return dataclasses.replace(
        config, training=dataclasses.replace(training, dual=dual, rollback=rollback, param_groups=groups)
    )
