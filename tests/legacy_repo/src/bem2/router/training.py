"""
Training of the agentic router: behaviour cloning on synthetic traces, then policy gradient with a trust region.
"""

import logging
import os
from dataclasses import dataclass
from typing import Dict, List, NamedTuple, Optional

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.distributions import Categorical
from torch.utils.data import DataLoader, Dataset

from .macro_policy import MacroPolicy, MacroAction, MacroPolicyState
from .agentic_router import AgenticRouter
from .trace_generator import SyntheticTrace, TraceGenerator

try:
    from tqdm import tqdm
except ImportError:
    tqdm = None

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
    """All (state, action, reward) of all traces."""

    def __init__(self, traces: List[SyntheticTrace]):
        self.traces = traces
        self.samples = []
        for trace in traces:
            for state, action, reward in zip(trace.states, trace.actions, trace.rewards):
                self.samples.append((state, action, reward))

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, idx):
        state, action, reward = self.samples[idx]
        state_tensors = {}
        for key in ["chunk_summary", "retrieval_features", "vision_features", "value_features"]:
            state_tensors[key] = torch.as_tensor(state[key], dtype=torch.float32).reshape(-1)
        if state["prev_action"] is not None:
            state_tensors["prev_action"] = torch.as_tensor(state["prev_action"], dtype=torch.float32).reshape(-1)
        else:
            state_tensors["prev_action"] = torch.zeros(5)
        state_tensors["chunk_index"] = torch.as_tensor(state["chunk_index"]).reshape(-1)[0]
        action_tensor = torch.tensor(
            [
                float(action["expert_id"]),
                1.0 if action["scope"] == "global" else 0.0,
                float(action["span"]),
                float(action["rank_budget"]),
                float(action["bias_scale"]),
            ]
        )
        return {"state": state_tensors, "action": action_tensor, "reward": torch.tensor(float(reward))}


class BCTrainer:
    """Imitates the traces."""

    def __init__(self, policy: MacroPolicy, config: TrainingConfig, device: torch.device = None):
        self.policy = policy
        self.config = config
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.policy.to(self.device)

        self.optimizer = optim.AdamW(
            self.policy.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.scheduler = optim.lr_scheduler.LinearLR(
            self.optimizer, start_factor=0.1, total_iters=config.warmup_steps
        )
        self.step = 0
        self.epoch = 0
        self.best_eval_loss = float("inf")

    def train(
        self,
        train_traces: List[SyntheticTrace],
        eval_traces: Optional[List[SyntheticTrace]] = None,
        output_dir: Optional[str] = None,
    ) -> Dict:
        train_dataset = BCDataset(train_traces)
        train_loader = DataLoader(train_dataset, batch_size=self.config.batch_size, shuffle=True, num_workers=0)
        eval_loader = None
        if eval_traces:
            eval_dataset = BCDataset(eval_traces)
            eval_loader = DataLoader(eval_dataset, batch_size=self.config.batch_size, shuffle=False, num_workers=0)
        if output_dir:
            os.makedirs(output_dir, exist_ok=True)

        logger.info("behaviour cloning on %d samples", len(train_dataset))
        training_losses = []
        eval_losses = []
        for epoch in range(self.config.num_epochs):
            self.epoch = epoch
            epoch_losses = self._train_epoch(train_loader)
            training_losses.extend(epoch_losses)

            if eval_loader is not None:
                eval_loss = self._evaluate(eval_loader)
                eval_losses.append(eval_loss)
                logger.info("epoch %d: train %.4f eval %.4f", epoch, np.mean(epoch_losses), eval_loss)
                if output_dir and eval_loss < self.best_eval_loss:
                    self.best_eval_loss = eval_loss
                    self._save_checkpoint(output_dir, "best_model.pt")
            else:
                logger.info("epoch %d: train %.4f", epoch, np.mean(epoch_losses))

            if output_dir and epoch % 5 == 0:
                self._save_checkpoint(output_dir, f"checkpoint_epoch_{epoch}.pt")

        if output_dir:
            self._save_checkpoint(output_dir, "final_model.pt")
        return {
            "training_losses": training_losses,
            "eval_losses": eval_losses,
            "best_eval_loss": self.best_eval_loss,
            "total_steps": self.step,
        }

    def _train_epoch(self, data_loader: DataLoader) -> List[float]:
        self.policy.train()
        losses = []
        progress = tqdm(data_loader, desc=f"Epoch {self.epoch}", disable=None) if tqdm else data_loader
        for batch in progress:
            loss = self._train_step(batch)
            losses.append(loss)
            self.step += 1
            if self.step % self.config.log_every == 0 and tqdm:
                progress.set_postfix({"loss": f"{loss:.4f}", "lr": f"{self.optimizer.param_groups[0]['lr']:.2e}"})
        return losses

    def _train_step(self, batch: Dict) -> float:
        action = batch["action"].to(self.device)
        state = self._prepare_state(batch["state"])
        outputs = self.policy(state, sample=False)
        loss = self._compute_bc_loss(outputs, action)

        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.policy.parameters(), self.config.max_grad_norm)
        self.optimizer.step()
        if self.step < self.config.warmup_steps:
            self.scheduler.step()
        return loss.item()

    def _prepare_state(self, state_dict: Dict) -> MacroPolicyState:
        return MacroPolicyState(
            chunk_summary=state_dict["chunk_summary"].to(self.device),
            retrieval_features=state_dict["retrieval_features"].to(self.device),
            vision_features=state_dict["vision_features"].to(self.device),
            value_features=state_dict["value_features"].to(self.device),
            prev_action=state_dict["prev_action"].to(self.device),
            chunk_index=state_dict["chunk_index"].to(self.device),
        )

    def _compute_bc_loss(self, predicted: Dict[str, torch.Tensor], target: torch.Tensor) -> torch.Tensor:
        """Cross-entropy for the discrete parts, the expert twice; squared error for the bias scale."""
        expert_loss = F.cross_entropy(predicted["expert_logits"], target[:, 0].long())
        scope_loss = F.cross_entropy(predicted["scope_logits"], target[:, 1].long())
        span_loss = F.cross_entropy(predicted["span_logits"], target[:, 2].long() - 1)
        rank_target = torch.log2(target[:, 3] / 8.0).round().long()
        rank_loss = F.cross_entropy(predicted["rank_logits"], rank_target)
        # from the head itself: hysteresis may have put the last bias in its place
        bias = 0.1 + 1.9 * torch.sigmoid(predicted["bias_raw"]).squeeze(-1)
        bias_loss = F.mse_loss(bias, target[:, 4])
        return 2.0 * expert_loss + scope_loss + span_loss + rank_loss + bias_loss

    def _evaluate(self, data_loader: DataLoader) -> float:
        self.policy.eval()
        losses = []
        with torch.no_grad():
            for batch in data_loader:
                action = batch["action"].to(self.device)
                state = self._prepare_state(batch["state"])
                outputs = self.policy(state, sample=False)
                losses.append(self._compute_bc_loss(outputs, action).item())
        return float(np.mean(losses))

    def _save_checkpoint(self, output_dir: str, filename: str):
        checkpoint = {
            "policy_state_dict": self.policy.state_dict(),
            "optimizer_state_dict": self.optimizer.state_dict(),
            "scheduler_state_dict": self.scheduler.state_dict(),
            "step": self.step,
            "epoch": self.epoch,
            "best_eval_loss": self.best_eval_loss,
            "config": self.config.__dict__,
        }
        torch.save(checkpoint, os.path.join(output_dir, filename))
        logger.info("saved %s", filename)


class PGExperience(NamedTuple):
    states: List[MacroPolicyState]  # one per timestep, [B, ...] each
    actions: torch.Tensor  # [T * B, 5]
    log_probs: torch.Tensor  # [T * B]
    rewards: torch.Tensor  # [T * B]
    values: torch.Tensor  # [T * B]
    advantages: torch.Tensor  # [T * B]


class PGTrainer:
    """Policy gradient with clipped ratio and a limit on the KL divergence."""

    def __init__(
        self,
        router: AgenticRouter,
        config: TrainingConfig,
        device: torch.device = None,
        kl_target: float = 0.01,
        clip_ratio: float = 0.2,
    ):
        self.router = router
        self.policy = router.macro_policy
        self.config = config
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.kl_target = kl_target
        self.clip_ratio = clip_ratio
        self.router.to(self.device)

        self.policy_optimizer = optim.AdamW(
            self.router.macro_policy.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.step = 0
        self.episode = 0
        self.kl_divergences = []
        self.policy_losses = []
        self.value_losses = []

    def train(self, environment: "TaskEnvironment", num_episodes: int = 1000, output_dir: Optional[str] = None) -> Dict:
        if output_dir:
            os.makedirs(output_dir, exist_ok=True)
        episode_rewards = []
        for episode in range(num_episodes):
            self.episode = episode
            experience = self._collect_experience(environment)
            metrics = self._update_policy(experience)
            self.policy_losses.extend(metrics["policy_losses"])
            self.kl_divergences.extend(metrics["kl_divergences"])
            self.step += len(metrics["policy_losses"])
            episode_reward = experience.rewards.mean().item()
            episode_rewards.append(episode_reward)

            if episode % self.config.log_every == 0:
                logger.info(
                    "episode %d: reward %.4f policy loss %.4f kl %.5f",
                    episode,
                    episode_reward,
                    np.mean(metrics["policy_losses"]),
                    np.mean(metrics["kl_divergences"]),
                )
            if output_dir and episode % self.config.save_every == 0:
                self._save_checkpoint(output_dir, f"checkpoint_episode_{episode}.pt")
        if output_dir:
            self._save_checkpoint(output_dir, "final_policy.pt")
        return {
            "episode_rewards": episode_rewards,
            "policy_losses": self.policy_losses,
            "value_losses": self.value_losses,
            "kl_divergences": self.kl_divergences,
            "total_steps": self.step,
        }

    def _collect_experience(self, environment: "TaskEnvironment") -> PGExperience:
        self.router.train()
        batch_size = self.config.batch_size
        chunk_size = environment.chunk_size
        seq_len = min(10, environment.max_sequence_length // chunk_size)

        states, actions, log_probs, rewards, values = [], [], [], [], []
        with torch.no_grad():
            task_states = [environment.reset() for _ in range(batch_size)]
            prev_action = None
            for step in range(seq_len):
                chunk_ids = torch.cat([s.input_ids[:, s.position : s.position + chunk_size] for s in task_states])
                state = self.router._generate_chunk_state(chunk_ids.to(self.device), step, prev_action, None)
                outputs = self.policy(state, sample=True)
                taken = outputs["actions"]

                step_rewards = []
                for i in range(batch_size):
                    action = MacroAction.from_tensor(taken[i])
                    routing_result = {
                        "expert_id": action.expert_id,
                        "scope": action.scope,
                        "span": action.span,
                        "rank_budget": action.rank_budget,
                        "bias_scale": action.bias_scale,
                    }
                    task_states[i], reward, _ = environment.step(task_states[i], routing_result)
                    step_rewards.append(reward.total_reward)

                states.append(state)
                actions.append(outputs["sampled_actions"])
                log_probs.append(outputs["log_probs"])
                rewards.append(torch.tensor(step_rewards, device=self.device))
                values.append(outputs["state_values"])
                prev_action = taken

        actions = torch.stack(actions, dim=1)  # [B, T, 5]
        log_probs = torch.stack(log_probs, dim=1)
        rewards = torch.stack(rewards, dim=1)
        values = torch.stack(values, dim=1)
        advantages = self._compute_advantages(rewards, values)

        # time first, so that a slice of batch_size entries is one timestep
        return PGExperience(
            states=states,
            actions=actions.transpose(0, 1).reshape(-1, 5),
            log_probs=log_probs.transpose(0, 1).reshape(-1),
            rewards=rewards.transpose(0, 1).reshape(-1),
            values=values.transpose(0, 1).reshape(-1),
            advantages=advantages.transpose(0, 1).reshape(-1),
        )

    def _compute_advantages(
        self, rewards: torch.Tensor, values: torch.Tensor, gamma: float = 0.99, lambda_gae: float = 0.95
    ) -> torch.Tensor:
        batch_size, seq_len = rewards.shape
        advantages = torch.zeros_like(rewards)
        last_advantage = torch.zeros(batch_size, device=rewards.device)
        for t in reversed(range(seq_len)):
            if t == seq_len - 1:
                next_value = torch.zeros(batch_size, device=rewards.device)
            else:
                next_value = values[:, t + 1]
            delta = rewards[:, t] + gamma * next_value - values[:, t]
            last_advantage = delta + gamma * lambda_gae * last_advantage
            advantages[:, t] = last_advantage
        return advantages

    def _log_probs_of(self, outputs: Dict, actions: torch.Tensor) -> torch.Tensor:
        """Log-probability of actions that were taken."""
        expert = actions[:, 0].long()
        scope = actions[:, 1].long()
        span = actions[:, 2].long() - 1
        rank = torch.log2(actions[:, 3] / 8.0).round().long()
        return (
            Categorical(logits=outputs["expert_logits"]).log_prob(expert)
            + Categorical(logits=outputs["scope_logits"]).log_prob(scope)
            + Categorical(logits=outputs["span_logits"]).log_prob(span)
            + Categorical(logits=outputs["rank_logits"]).log_prob(rank)
        )

    def _update_policy(self, experience: PGExperience) -> Dict:
        batch_size = self.config.batch_size
        seq_len = len(experience.states)
        advantages = experience.advantages
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)

        policy_losses, kl_divergences = [], []
        for _ in range(4):
            for t in range(seq_len):
                part = slice(t * batch_size, (t + 1) * batch_size)
                outputs = self.policy(experience.states[t], sample=False)
                new_log_probs = self._log_probs_of(outputs, experience.actions[part])
                old_log_probs = experience.log_probs[part]
                advantage = advantages[part]

                ratio = torch.exp(new_log_probs - old_log_probs)
                clipped = torch.clamp(ratio, 1.0 - self.clip_ratio, 1.0 + self.clip_ratio)
                policy_loss = -torch.min(ratio * advantage, clipped * advantage).mean()

                value_target = experience.rewards[part] + advantage
                value_loss = F.mse_loss(outputs["state_values"], value_target)
                loss = policy_loss + 0.5 * value_loss

                self.policy_optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self.policy.parameters(), self.config.max_grad_norm)
                self.policy_optimizer.step()

                kl = (old_log_probs - new_log_probs).mean().item()
                policy_losses.append(policy_loss.item())
                kl_divergences.append(kl)

            if np.mean(kl_divergences[-batch_size:]) > 1.5 * self.kl_target:
                logger.debug("episode %d: KL too large, stop", self.episode)
                break
        return {"policy_losses": policy_losses, "kl_divergences": kl_divergences}

    def _save_checkpoint(self, output_dir: str, filename: str):
        checkpoint = {
            "router_state_dict": self.router.state_dict(),
            "policy_optimizer_state_dict": self.policy_optimizer.state_dict(),
            "step": self.step,
            "episode": self.episode,
            "config": self.config.__dict__,
            "kl_target": self.kl_target,
            "clip_ratio": self.clip_ratio,
        }
        torch.save(checkpoint, os.path.join(output_dir, filename))
        logger.info("saved %s", filename)


def create_bc_trainer(policy: MacroPolicy, config: Dict, device: Optional[torch.device] = None) -> BCTrainer:
    training_config = TrainingConfig(
        batch_size=int(config.get("batch_size", 32)),
        learning_rate=float(config.get("learning_rate", 3e-4)),
        num_epochs=int(config.get("num_epochs", 10)),
        warmup_steps=int(config.get("warmup_steps", 1000)),
        max_grad_norm=float(config.get("max_grad_norm", 1.0)),
        weight_decay=float(config.get("weight_decay", 1e-5)),
        eval_every=int(config.get("eval_every", 500)),
        save_every=int(config.get("save_every", 1000)),
        log_every=int(config.get("log_every", 100)),
    )
    return BCTrainer(policy, training_config, device)


def create_pg_trainer(router: AgenticRouter, config: Dict, device: Optional[torch.device] = None) -> PGTrainer:
    training_config = TrainingConfig(
        batch_size=int(config.get("batch_size", 32)),
        learning_rate=float(config.get("learning_rate", 1e-4)),
        num_epochs=int(config.get("num_epochs", 1000)),
        warmup_steps=int(config.get("warmup_steps", 1000)),
        max_grad_norm=float(config.get("max_grad_norm", 1.0)),
        weight_decay=float(config.get("weight_decay", 1e-5)),
        eval_every=int(config.get("eval_every", 500)),
        save_every=int(config.get("save_every", 1000)),
        log_every=int(config.get("log_every", 100)),
    )
    return PGTrainer(
        router,
        training_config,
        device,
        kl_target=float(config.get("kl_target", 0.01)),
        clip_ratio=float(config.get("clip_ratio", 0.2)),
    )
