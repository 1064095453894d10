"""Behaviour cloning and policy gradient for the router."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

import torch
import torch.nn.functional as F
import torch.optim as optim
from torch.utils.data import DataLoader, Dataset

from .macro_policy import MacroPolicy, MacroAction, MacroPolicyState
from .agentic_router import AgenticRouter
from .trace_generator import SyntheticTrace, TraceGenerator

logger = logging.getLogger(__name__)


@dataclass
class TrainingConfig:
    batch_size: int = 32
    learning_rate: float = 3e-4
    num_epochs: int = 10
    warmup_steps: int = 1000
    max_grad_norm: float = 1.0
    weight_decay: float = 1e-5
    eval_every: int = 500
    save_every: int = 1000
    log_every: int = 100


class BCDataset(Dataset):
    def __init__(self, traces: List[SyntheticTrace]):
        self.samples = [
            (state, action, reward)
            for trace in traces
            for state, action, reward in zip(trace.states, trace.actions, trace.rewards)
        ]

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        state, action, reward = self.samples[index]
        tensors = {name: torch.tensor(value, dtype=torch.float32) for name, value in state.items()}
        return {"state": tensors, "action": MacroAction(**action).to_tensor(torch.device("cpu")), "reward": reward}


class BCTrainer:
    def __init__(self, policy: MacroPolicy, config: TrainingConfig, device: torch.device = None):
        self.policy, self.config = policy, config
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.policy.to(self.device)
        self.optimizer = optim.AdamW(policy.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        self.scheduler = optim.lr_scheduler.LinearLR(
            self.optimizer, start_factor=0.1, total_iters=config.warmup_steps
        )
        self.step = 0
        self.best_eval_loss = float("inf")

    def _loss(self, batch) -> torch.Tensor:
        predicted = self.policy(MacroPolicyState(**batch["state"]), sample=False)["actions"]
        losses = [F.mse_loss(predicted[:, i], batch["action"][:, i]) for i in range(5)]
        return 2 * losses[0] + sum(losses[1:])

    def _train_step(self, batch) -> float:
        loss = self._loss(batch)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.config.max_grad_norm)
        self.optimizer.step()
        if self.step < self.config.warmup_steps:
            self.scheduler.step()
        return loss.item()

    def train(
        self,
        train_traces: List[SyntheticTrace],
        eval_traces: Optional[List[SyntheticTrace]] = None,
        output_dir: Optional[str] = None,
    ) -> Dict:
        loader = DataLoader(BCDataset(train_traces), batch_size=self.config.batch_size, shuffle=True)
        training_losses, eval_losses = [], []
        for epoch in range(self.config.num_epochs):
            self.policy.train()
            for batch in loader:
                training_losses.append(self._train_step(batch))
                self.step += 1
            if eval_traces:
                eval_losses.append(self._evaluate(eval_traces))
                self._keep_best(eval_losses[-1], epoch, output_dir)
            if output_dir and epoch % 5 == 0:
                self._save(Path(output_dir) / f"checkpoint_epoch_{epoch}.pt", epoch)
        if output_dir:
            self._save(Path(output_dir) / "final_model.pt", self.config.num_epochs - 1)
        return {
            "training_losses": training_losses,
            "eval_losses": eval_losses,
            "best_eval_loss": self.best_eval_loss,
            "total_steps": self.step,
        }

    def _evaluate(self, traces: List[SyntheticTrace]) -> float:
        self.policy.eval()
        loader = DataLoader(BCDataset(traces), batch_size=self.config.batch_size)
        with torch.no_grad():
            losses = [self._loss(batch).item() for batch in loader]
        return sum(losses) / len(losses)

    def _keep_best(self, loss: float, epoch: int, output_dir: Optional[str]) -> None:
        if output_dir and loss < self.best_eval_loss:
            self.best_eval_loss = loss
            self._save(Path(output_dir) / "best_model.pt", epoch)

    def _save(self, path: Path, epoch: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "policy_state_dict": self.policy.state_dict(),
            "optimizer_state_dict": self.optimizer.state_dict(),
            "scheduler_state_dict": self.scheduler.state_dict(),
            "step": self.step,
            "epoch": epoch,
            "best_eval_loss": self.best_eval_loss,
            "config": self.config.__dict__,
        }
        torch.save(state, path)


class PGExperience(NamedTuple):
    states: torch.Tensor
    actions: torch.Tensor
    log_probs: torch.Tensor
    rewards: torch.Tensor
    values: torch.Tensor
    advantages: torch.Tensor


class PGTrainer:
    def __init__(
        self,
        router: AgenticRouter,
        config: TrainingConfig,
        device: torch.device = None,
        kl_target: float = 0.01,
        clip_ratio: float = 0.2,
    ):
        self.router, self.config, self.kl_target, self.clip_ratio = router, config, kl_target, clip_ratio
        self.optimizer = optim.AdamW(router.macro_policy.parameters(), lr=config.learning_rate)
        self.step = 0

    @staticmethod
    def advantages(rewards, values, gamma: float = 0.99, lam: float = 0.95):
        """Generalised advantage estimation with a bootstrap value of zero."""
        result, carry = [0.0] * len(rewards), 0.0
        for t in reversed(range(len(rewards))):
            following = values[t + 1] if t + 1 < len(values) else 0.0
            carry = rewards[t] + gamma * following - values[t] + gamma * lam * carry
            result[t] = carry
        return result

    def train(self, environment: "TaskEnvironment", num_episodes: int = 1000, output_dir: Optional[str] = None) -> Dict:
        rewards = []
        for _ in range(num_episodes):
            state = environment.reset()
            _, info = self.router(state.input_ids[:, : environment.chunk_size], training_mode=True)
            _, reward, _ = environment.step(state, {"expert_id": info.steps[0].action.expert_id})
            rewards.append(reward.total_reward)
        return {"episode_rewards": rewards, "total_steps": self.step}


def create_bc_trainer(policy: MacroPolicy, config: Dict, device: Optional[torch.device] = None) -> BCTrainer:
    return BCTrainer(policy, _config(config), device)


def create_pg_trainer(router: AgenticRouter, config: Dict, device: Optional[torch.device] = None) -> PGTrainer:
    return PGTrainer(router, _config({"learning_rate": 1e-4, "num_epochs": 1000, **config}), device)


def _config(values: Dict) -> TrainingConfig:
    config = TrainingConfig(**values)
    config.learning_rate = float(config.learning_rate)  # YAML reads 3e-4 as text
    return config
