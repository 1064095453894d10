"""What an experiment says of a router: its sections, typed and checked together."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from bem_core.config import ExperimentConfig, check_sections, invalid, read_sections
from bem_core.config.schema import Fraction, Momentum, NonNegative, Positive, PositiveFloat, Range
from bem_core.errors import nearest

T = TypeVar("T")
_log = logging.getLogger(__name__)
#: Heads of self-attention in the encoder of the policy.
NUM_HEADS = 8
METHODS = ("bc", "pg")
_DOMAINS, _TASKS = ("code", "formal", "safety", "mixed"), ("code", "formal")
# There is an expert for each domain.
Experts = Annotated[int, Range(low=3)]
ChunkSize = Annotated[int, Range(low=16)]


@dataclass(frozen=True, kw_only=True)
class RouterConfig:
    """Section ``router``: what other sections have in common, for those of them that do not say it themselves.

    Attributes:
        chunk_size: Of ``trace_generation`` and ``task_environment``.
        num_experts: Of ``macro_policy``.
        hysteresis_tau: Of ``macro_policy``.
        max_sequence_length: Of ``task_environment``.
    """

    chunk_size: ChunkSize | None = None
    num_experts: Experts | None = None
    hysteresis_tau: float | None = None
    max_sequence_length: Positive | None = None


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """Section ``macro_policy``.

    Attributes:
        chunk_summary_dim: Width of the summary of a chunk; a third of it for each domain.
        hidden_dim: Width of the encoder, a multiple of 8.
        hysteresis_tau: By how much a new action must be better than the last one; a negative number lets all pass.
        max_span: Chunks that one action may be good for.
        init_from: Weights to begin with: a checkpoint of a run, or a file of the old trainer.
    """

    num_experts: Experts = 3
    chunk_summary_dim: Annotated[int, Range(low=3)] = 512
    retrieval_dim: Positive = 64
    vision_dim: Positive = 768
    value_dim: Positive = 32
    hidden_dim: Positive = 256
    num_layers: Positive = 3
    dropout: Momentum = 0.1
    hysteresis_tau: float = 0.5
    max_span: Annotated[int, Range(low=4)] = 4
    init_from: str | None = None


@dataclass(frozen=True, kw_only=True)
class TraceConfig:
    """Section ``trace_generation``: expert traces that are made up where ``data.train_file`` names none.

    Attributes:
        chunk_size: Characters of a chunk.
        domain_distribution: Weight of each domain of a trace, in any case; ``mixed`` draws one for each chunk.
        eval_share: Share of the traces, the last ones, that is kept for evaluation.
        seed: By default ``training.seed``.
    """

    num_traces: Annotated[int, Range(low=2)] = 1000
    chunk_size: ChunkSize = 128
    max_chunks_per_trace: Positive = 20
    domain_distribution: dict[str, NonNegative] = field(
        default_factory=lambda: {"code": 0.4, "formal": 0.3, "safety": 0.2, "mixed": 0.1}
    )
    eval_share: Fraction = 0.1
    seed: Annotated[int, Range(low=0)] | None = None


@dataclass(frozen=True, kw_only=True)
class EnvironmentConfig:
    """Section ``task_environment``: the task that pays for routing.

    Attributes:
        type: Documents that are mostly code or mostly proofs, or each of the two by weight.
        max_sequence_length: Tokens, which are bytes, of a document.
        task_weights: Of the tasks of ``multi``.
        eval_episodes: Documents of an evaluation.
    """

    type: Literal["code", "formal", "multi"] = "code"
    max_sequence_length: Positive = 2048
    chunk_size: ChunkSize = 128
    task_weights: dict[str, NonNegative] = field(default_factory=lambda: {"code": 0.5, "formal": 0.5})
    eval_episodes: Positive = 64


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """Section ``policy_gradient``: proximal policy optimization (https://arxiv.org/abs/1707.06347).

    Attributes:
        horizon: Chunks of a document that a rollout goes through at most.
        ppo_epochs: Passes over a rollout.
        clip_ratio: How far the ratio of the new to the old probability may move away from 1.
        kl_target: A pass is the last one if the divergence from the old policy is more than 1.5 times this.
        kl_window: Steps, the last ones, over which that divergence is averaged; by default those of the pass.
        gae_lambda: Of the advantage estimator (https://arxiv.org/abs/1506.02438, eq. 16).
        entropy_coeff: What the entropy of the policy counts in the loss; 0 for nothing.
        minibatches: Whether a batch is what happened in one step of all documents, as the old trainer had it, or drawn
            from all steps.
        value_target: What values are trained to tell: ``returns``, or, as the old trainer had it, the reward of the
            step and its normalised advantage.
    """

    horizon: Positive = 10
    ppo_epochs: Positive = 4
    clip_ratio: PositiveFloat = 0.2
    kl_target: PositiveFloat = 0.01
    kl_window: Positive | None = None
    discount_factor: Fraction = 0.99
    gae_lambda: Fraction = 0.95
    value_loss_coeff: NonNegative = 0.5
    entropy_coeff: NonNegative = 0.01
    minibatches: Literal["shuffled", "steps"] = "shuffled"
    value_target: Literal["returns", "reward_plus_advantage"] = "returns"


@dataclass(frozen=True, kw_only=True)
class CompositionConfig:
    """Section ``composition``: low-rank changes of the base model, within budgets.

    Attributes:
        attachment_points: Patterns of names of linear layers of the base model.
        rank: Of each expert's change of a layer; an action may ask for less.
        scales: Of each expert, how large its change is when it is made at random.
        spectral_budget: Greatest singular value of a change.
        frobenius_budget: Greatest Frobenius norm of a change.
    """

    attachment_points: list[str] = field(default_factory=lambda: ["*attention.w_o", "*mlp.w_down"])
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


SECTIONS: dict[str, type[Any]] = {
    "macro_policy": PolicyConfig,
    "trace_generation": TraceConfig,
    "task_environment": EnvironmentConfig,
    "policy_gradient": PPOConfig,
    "composition": CompositionConfig,
}


def is_router(config: ExperimentConfig) -> bool:
    """Tell whether an experiment is one of this component, by its name or the one that it had before."""
    return config.experiment_type in ("router", "agentic_router")


def read_settings(config: ExperimentConfig) -> Settings:
    """Read the sections of a router.

    Raises:
        ConfigError: Keys or values are wrong, or do not fit together.
    """
    if is_router(config):
        check_sections(config, ["router", *SECTIONS])
    else:
        # It has sections of another component, which cannot be told from mistakes.
        _log.warning("experiment_type: %s is run as a router", config.experiment_type)
    shared, *found = read_sections(config, {"router": RouterConfig, **SECTIONS}).values()
    own = [_completed(config, name, section, shared) for name, section in zip(SECTIONS, found, strict=True)]
    settings = Settings(*own)
    if settings.policy.hidden_dim % NUM_HEADS:
        message = f"expected a multiple of {NUM_HEADS}, found {settings.policy.hidden_dim}"
        raise invalid(config, "macro_policy.hidden_dim", message)
    scales = settings.composition.scales
    if "composition" in config.components and len(scales) != settings.policy.num_experts:
        message = f"expected one for each of {settings.policy.num_experts} experts, found {len(scales)}"
        raise invalid(config, "composition.scales", message)
    if settings.environment.max_sequence_length < settings.environment.chunk_size:
        raise invalid(config, "task_environment.max_sequence_length", "expected at least one chunk (chunk_size)")
    _check_weights(config, "trace_generation.domain_distribution", settings.traces.domain_distribution, _DOMAINS)
    _check_weights(config, "task_environment.task_weights", settings.environment.task_weights, _TASKS)
    return settings


def _completed(config: ExperimentConfig, name: str, section: T, shared: RouterConfig) -> T:
    """Return a section with what ``router`` says where it says nothing itself."""
    written = config.components.get(name, {})
    given = {key: value for key, value in dataclasses.asdict(shared).items() if value is not None}
    taken = {key: value for key, value in given.items() if hasattr(section, key) and key not in written}
    return dataclasses.replace(section, **taken)  # type: ignore[type-var,unused-ignore]


def _check_weights(config: ExperimentConfig, key: str, weights: dict[str, float], known: tuple[str, ...]) -> None:
    for name in weights:
        if name.lower() not in known:
            hint = nearest(name, known) or f"; there are {', '.join(known)}"
            raise invalid(config, f"{key}.{name}", f"unknown name{hint}")
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
