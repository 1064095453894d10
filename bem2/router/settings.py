"""What an experiment says of a router: its sections, typed and checked together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple

from bem_core.config import ExperimentConfig, check_sections, invalid, read_sections
from bem_core.config.schema import Fraction, Momentum, NonNegative, Positive, PositiveFloat, Range

#: Heads of self-attention in the encoder of the policy.
NUM_HEADS = 8


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """Section ``macro_policy``.

    Attributes:
        chunk_summary_dim: Width of the summary of a chunk; a third of it for each domain.
        hidden_dim: Width of the encoder, a multiple of 8.
        hysteresis_tau: By how much a new action must be better than the last one; a negative number lets all pass.
        max_span: Chunks that one action may be good for.
    """

    num_experts: Annotated[int, Range(low=3)] = 3
    chunk_summary_dim: Annotated[int, Range(low=3)] = 512
    retrieval_dim: Positive = 64
    vision_dim: Positive = 768
    value_dim: Positive = 32
    hidden_dim: Positive = 256
    num_layers: Positive = 3
    dropout: Momentum = 0.1
    hysteresis_tau: float = 0.5
    max_span: Annotated[int, Range(low=4)] = 4


@dataclass(frozen=True, kw_only=True)
class TraceConfig:
    """Section ``trace_generation``: expert traces that are made up where ``data.train_file`` names none.

    Attributes:
        chunk_size: Characters of a chunk.
        domain_distribution: Weight of each domain of a trace; ``mixed`` draws one for each chunk.
        eval_share: Share of the traces, the last ones, that is kept for evaluation.
        seed: By default ``training.seed``.
    """

    num_traces: Annotated[int, Range(low=2)] = 1000
    chunk_size: Annotated[int, Range(low=16)] = 128
    max_chunks_per_trace: Positive = 20
    domain_distribution: dict[str, NonNegative] = field(
        default_factory=lambda: {"code": 0.4, "formal": 0.3, "safety": 0.2, "mixed": 0.1}
    )
    eval_share: Fraction = 0.1
    seed: Annotated[int, Range(low=0)] | None = None


@dataclass(frozen=True, kw_only=True)
class EnvironmentConfig:
    """Section ``environment``: the task that pays for routing.

    Attributes:
        type: Documents that are mostly code or mostly proofs, or each of the two by weight.
        max_sequence_length: Tokens, which are bytes, of a document.
        task_weights: Of the tasks of ``multi``.
        eval_episodes: Documents of an evaluation.
    """

    type: Literal["code", "formal", "multi"] = "code"
    max_sequence_length: Positive = 2048
    chunk_size: Annotated[int, Range(low=16)] = 128
    task_weights: dict[str, NonNegative] = field(default_factory=lambda: {"code": 0.5, "formal": 0.5})
    eval_episodes: Positive = 64


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """Section ``ppo``: proximal policy optimization (https://arxiv.org/abs/1707.06347).

    Attributes:
        horizon: Chunks of a document that a rollout goes through at most.
        num_epochs: Passes over a rollout.
        clip_ratio: How far the ratio of the new to the old probability may move away from 1.
        kl_target: A pass is the last one if the divergence from the old policy is more than 1.5 times this.
        kl_window: Steps, the last ones, over which that divergence is averaged; by default those of the pass.
        gae_lambda: Of the advantage estimator (https://arxiv.org/abs/1506.02438, eq. 16).
        entropy_coefficient: What the entropy of the policy counts in the loss; 0 for nothing.
        value_target: What values are trained to tell: ``returns``, or, as the old trainer had it, the reward of the
            step and its normalised advantage.
    """

    horizon: Positive = 10
    num_epochs: Positive = 4
    clip_ratio: PositiveFloat = 0.2
    kl_target: PositiveFloat = 0.01
    kl_window: Positive | None = None
    gamma: Fraction = 0.99
    gae_lambda: Fraction = 0.95
    value_coefficient: NonNegative = 0.5
    entropy_coefficient: NonNegative = 0.01
    value_target: Literal["returns", "reward_plus_advantage"] = "returns"


@dataclass(frozen=True, kw_only=True)
class CompositionConfig:
    """Section ``composition``: low-rank changes of the base model, within budgets.

    Attributes:
        sites: Patterns of names of linear layers of the base model.
        rank: Of each expert's change of a layer; an action may ask for less.
        scales: Of each expert, how large its change is when it is made at random.
        spectral_budget: Greatest singular value of a change.
        frobenius_budget: Greatest Frobenius norm of a change.
    """

    sites: list[str] = field(default_factory=lambda: ["*attention.w_o", "*mlp.w_down"])
    rank: Positive = 64
    scales: list[NonNegative] = field(default_factory=lambda: [0.8, 1.2, 0.6])
    spectral_budget: PositiveFloat = 2.0
    frobenius_budget: PositiveFloat = 5.0


class Settings(NamedTuple):
    """All sections of a router."""

    policy: PolicyConfig
    traces: TraceConfig
    environment: EnvironmentConfig
    ppo: PPOConfig
    composition: CompositionConfig


SECTIONS = {
    "macro_policy": PolicyConfig,
    "trace_generation": TraceConfig,
    "environment": EnvironmentConfig,
    "ppo": PPOConfig,
    "composition": CompositionConfig,
}
METHODS = ("bc", "pg")


def read_settings(config: ExperimentConfig) -> Settings:
    """Read the sections of a router.

    Raises:
        ConfigError: Keys or values are wrong, or do not fit together.
    """
    check_sections(config, list(SECTIONS))
    settings = Settings(*read_sections(config, SECTIONS).values())
    if settings.policy.hidden_dim % NUM_HEADS:
        found = f"expected a multiple of {NUM_HEADS}, found {settings.policy.hidden_dim}"
        raise invalid(config, "macro_policy.hidden_dim", found)
    if settings.environment.max_sequence_length < settings.environment.chunk_size:
        raise invalid(config, "environment.max_sequence_length", "expected at least one environment.chunk_size")
    _check_weights(config, "trace_generation.domain_distribution", settings.traces.domain_distribution, DOMAIN_NAMES)
    _check_weights(config, "environment.task_weights", settings.environment.task_weights, ("code", "formal"))
    return settings


DOMAIN_NAMES = ("code", "formal", "safety", "mixed")


def _check_weights(config: ExperimentConfig, key: str, weights: dict[str, float], known: tuple[str, ...]) -> None:
    for name in weights:
        if name not in known:
            raise invalid(config, f"{key}.{name}", f"unknown name; there are {', '.join(known)}")
    if not sum(weights.values()) > 0:
        raise invalid(config, key, "expected a weight above 0")


def method_of(config: ExperimentConfig) -> str:
    """Return ``bc`` or ``pg``: the phase that ``training.method`` names.

    Raises:
        ConfigError: It names none, or the batches do not come from where the phase needs them.
    """
    method = config.training.method or "bc"
    if method not in METHODS:
        raise invalid(config, "training.method", f"expected one of {', '.join(METHODS)}, found {method!r}")
    rollouts = config.training.batch_source == "rollout"
    if rollouts != (method == "pg"):
        wanted = "rollout" if method == "pg" else "loader"
        message = f"training.method: {method} needs {wanted}, found {config.training.batch_source}"
        raise invalid(config, "training.batch_source", message)
    return method
