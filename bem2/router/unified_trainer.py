"""The router on the shared trainer: it imitates traces (``training.method: bc``), or learns from its task (``pg``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bem2.router.evaluation import RouterEvaluator, episode_loader, with_loss
from bem2.router.losses import CLONING_WEIGHTS, cloning_loss, ppo_loss
from bem2.router.macro_policy import MacroPolicy, PolicyOutput
from bem2.router.rollouts import Rollout, batches, collect
from bem2.router.settings import is_router, method_of, read_settings
from bem2.router.starting import COUNTERS, load_engine, load_policy
from bem2.router.task_environment import TaskEnvironment
from bem2.router.traces import trace_loaders
from bem_core.config import loss_weights
from bem_core.training.base_trainer import BaseTrainer
from bem_core.training.foreign import LegacyCheckpoint


class RouterTrainer(BaseTrainer):
    """Trains a `MacroPolicy`.

    With ``bc``, an epoch is a pass over traces. With ``pg`` it is an episode: new documents are routed, and what came
    of it is gone through several times. ``macro_policy.init_from`` names a checkpoint to begin from.
    """

    legacy_options: ClassVar[Mapping[str, Any]] = {
        "data.randomness": "global",
        "training.no_decay": [],
        "training.weight_decay": 1e-5,
        "training.scheduler_type": "linear_warmup",
        "training.scheduler_interval": "warmup",
        "training.eval_strategy": "epoch",
        "training.eval_rng": "shared",
    }

    def _setup_model(self) -> nn.Module:
        self._method, self._settings = method_of(self.config), read_settings(self.config)
        self._weights = loss_weights(self.config, CLONING_WEIGHTS)
        self._task = TaskEnvironment(self._settings.environment, self._settings.policy)
        self._engine = load_engine(self.config, self._settings.composition, self.device)
        self._divergences: list[Tensor] = []
        self._rollout: Rollout | None = None
        self.legacy_checkpoint = _CHECKPOINTS[self._method]
        policy = MacroPolicy(self._settings.policy)
        if self._settings.policy.init_from is not None:
            load_policy(policy, Path(self._settings.policy.init_from))
        # No value is imitated, and no bias scale is drawn, which would give it a probability.
        self._idle = policy.value_head if self._method == "bc" else policy.bias_head
        self._idle.requires_grad_(False)
        return policy

    def _setup_optimizer(self) -> Optimizer:
        """Return the optimizer, with the head that the phase does not train: files of the old one count it."""
        self._idle.requires_grad_(True)
        try:
            return super()._setup_optimizer()
        finally:
            self._idle.requires_grad_(False)

    def _setup_dataloaders(self) -> tuple[Any, Any]:
        if self._method == "bc":
            return trace_loaders(self.config, self._settings)
        size = self.config.evaluation.eval_batch_size or self.config.training.batch_size
        return None, episode_loader(self._settings.environment.eval_episodes, size)

    def _forward(self, batch: Any) -> PolicyOutput:
        output: PolicyOutput = self.wrapped_model(batch["state"])
        return output

    def _compute_loss(self, batch: Any, outputs: PolicyOutput) -> dict[str, Any]:
        if self._method == "bc":
            return cloning_loss(outputs, batch["action"], self._weights)
        return ppo_loss(outputs, batch, self._settings.ppo)

    def _collect_rollout(self, epoch: int) -> Iterable[Any]:
        """Route new documents and yield what came of it, until the policy is too far away from the one that it was."""
        ppo, policy = self._settings.ppo, self.model
        assert isinstance(policy, MacroPolicy)
        generators = [None] * self.config.training.batch_size
        self._rollout = rollout = collect(policy, self._task, generators, ppo.horizon, sample=True)
        self._divergences = []
        for _ in range(ppo.ppo_epochs):
            yield from batches(rollout, ppo)
            if self._divergence(ppo.kl_window or len(rollout.states)) > 1.5 * ppo.kl_target:
                return

    def _divergence(self, window: int) -> float:
        """Return the mean over the last steps, and over all processes, which must end a pass together."""
        mean = torch.stack(self._divergences[-window:]).double().mean().item()
        return self.ranks.sum_numbers([mean])[0] / self.ranks.world

    def _on_step_end(self, losses: Mapping[str, Tensor]) -> None:
        if self._method == "pg":
            self._divergences.append(losses["kl"])

    def _metrics(self) -> dict[str, float]:
        """Return what the last rollout came to."""
        if self._rollout is None:
            return {}
        found = {
            "reward": self._rollout.rewards,
            "performance": self._rollout.performance,
            "flip_rate": self._rollout.flip_rate(),
            "mean_rank": self._rollout.mean_rank(),
        }
        return {name: float(value.mean()) for name, value in found.items()}

    def _evaluate(self, dataloader: Any) -> dict[str, float]:
        assert isinstance(self.model, MacroPolicy)
        config = self.config.evaluation
        if self._method == "bc":
            config = with_loss(config, metrics=is_router(self.config))
        evaluator = RouterEvaluator(
            self.model,
            config,
            weights=self._weights,
            environment=self._task,
            horizon=self._settings.ppo.horizon,
            seed=self.config.training.seed,
            engine=self._engine,
        )
        return evaluator.evaluate(dataloader).metrics


_CHECKPOINTS = {
    "bc": LegacyCheckpoint(
        model={"policy_state_dict": ""},
        dropped=COUNTERS,
        progress=lambda saved: {
            "step": saved["step"],
            "epoch": saved["epoch"] + 1,
            "best": saved["best_eval_loss"],
        },
    ),
    "pg": LegacyCheckpoint(
        model={"router_state_dict": ""},
        names={r"^macro_policy\.": ""},
        dropped=COUNTERS,
        optimizer="policy_optimizer_state_dict",
        scheduler=None,
        progress=lambda saved: {"step": saved["step"], "epoch": saved["episode"] + 1},
    ),
}
