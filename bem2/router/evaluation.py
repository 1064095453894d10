"""Evaluation of a router: how well it imitates traces, and what it earns in its task."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from bem2.router.composition_engine import CompositionEngine
from bem2.router.losses import CLONING_WEIGHTS, cloning_loss
from bem2.router.macro_policy import BIAS, MacroPolicy, to_indices
from bem2.router.rollouts import collect
from bem2.router.task_environment import TaskEnvironment
from bem_core.config.base_config import EvaluationConfig
from bem_core.evaluation.base_evaluator import BaseEvaluator
from bem_core.utils.seeding import sample_generator


def episode_loader(num_episodes: int, batch_size: int) -> DataLoader[Any]:
    """Return batches of numbers of documents, which are their seeds."""
    episodes: Any = [{"episode": number} for number in range(num_episodes)]
    return DataLoader(episodes, batch_size=batch_size)


class RouterEvaluator(BaseEvaluator):
    """Evaluates a policy on traces, or in a task.

    A batch with ``action`` is one of traces: ``loss``, ``expert_accuracy``, ``action_accuracy`` (all four choices) and
    ``bias_error``. One with ``episode`` has numbers of documents, which the policy routes with its most likely actions:
    ``reward`` and ``performance`` of a chunk, ``flip_rate`` and ``mean_rank``; with an engine also ``budget_scale``,
    what the budgets leave of a change.

    Args:
        model: The policy.
        config: Section ``evaluation``.
        device: Where batches go.
        weights: Of the parts of the cloning loss.
        environment: Makes the documents and pays; for batches of episodes.
        horizon: Chunks of a document at most.
        seed: Of the documents.
        engine: What composes the changes of experts.
    """

    def __init__(
        self,
        model: MacroPolicy,
        config: EvaluationConfig | Mapping[str, Any] | None = None,
        device: torch.device | str | None = None,
        *,
        weights: Mapping[str, float] = CLONING_WEIGHTS,
        environment: TaskEnvironment | None = None,
        horizon: int = 10,
        seed: int = 0,
        engine: CompositionEngine | None = None,
    ) -> None:
        super().__init__(model, config, device)
        self._policy, self._weights, self._environment = model, weights, environment
        self._horizon, self._seed, self._engine = horizon, seed, engine

    def _run_inference(self, batch: Any) -> Mapping[str, Any]:
        return self._route(batch["episode"]) if "episode" in batch else self._imitate(batch)

    def _imitate(self, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        output = self._policy(batch["state"])
        loss = cloning_loss(output, batch["action"], self._weights)["loss"]
        return {"predictions": output.expert.argmax(-1), "labels": batch["action"][:, 0].long(), "loss": loss} | {
            "actions": output.best()
        }

    def _route(self, episodes: Tensor) -> Mapping[str, Any]:
        assert self._environment is not None
        generators = [sample_generator(self._seed, 0, int(number)) for number in episodes]
        rollout = collect(self._policy, self._environment, generators, self._horizon, sample=False)
        found = {
            "reward": rollout.rewards.mean(0),
            "performance": rollout.performance.mean(0),
            "flip_rate": rollout.flip_rate(),
            "mean_rank": rollout.mean_rank(),
        }
        if self._engine is not None:
            scales = [self._engine.compose(actions).scale for actions in rollout.done]
            found["budget_scale"] = torch.stack(scales).mean(0)
        return found

    def _compute_component_metrics(self, outputs: Mapping[str, Any], batch: Any) -> dict[str, Tensor]:
        if "episode" in batch:
            return dict(outputs)
        found, wanted = outputs["actions"], batch["action"]
        right = torch.stack([a == b for a, b in zip(to_indices(found), to_indices(wanted), strict=True)])
        return {
            "expert_accuracy": right[0].float(),
            "action_accuracy": right.all(0).float(),
            "bias_error": (found[:, BIAS] - wanted[:, BIAS]).abs(),
        }


def with_loss(config: EvaluationConfig, metrics: bool = True) -> EvaluationConfig:
    """Return a section that measures the loss too, by which the best model is chosen where nothing else is said.

    Args:
        config: The section.
        metrics: Whether its own metrics are measured: those of another component cannot be.
    """
    own = config.metrics if metrics else []
    return dataclasses.replace(config, metrics=list(dict.fromkeys([*own, "loss"])))
