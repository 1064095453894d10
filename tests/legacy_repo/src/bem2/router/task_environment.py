"""
Task environments for policy-gradient training of the router.

A state holds the tokens of a document (bytes of text). At each step the router says how the next chunk is handled and
is paid for a fitting expert, for a small rank and for not disturbing the cache.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Dict, Tuple

import torch


@dataclass
class TaskState:
    input_ids: torch.Tensor  # [1, context_length]
    position: int
    context_length: int
    task_type: str
    metadata: Dict = None


@dataclass
class TaskReward:
    task_performance: float
    efficiency_bonus: float
    cache_safety_bonus: float
    total_reward: float


class TaskEnvironment(ABC):
    @abstractmethod
    def reset(self) -> TaskState:
        pass

    @abstractmethod
    def step(self, state: TaskState, action: Dict) -> Tuple[TaskState, TaskReward, bool]:
        pass

    @abstractmethod
    def get_task_metrics(self) -> Dict[str, float]:
        pass


class CodeCompletionEnvironment(TaskEnvironment):
    """Source code with some prose between it."""

    def __init__(self, max_sequence_length: int = 2048, chunk_size: int = 128, vocab_size: int = 32000):
        self.max_sequence_length = max_sequence_length
        self.chunk_size = chunk_size
        self.vocab_size = vocab_size
        self.code_patterns = {
            "code": [
                "def add(self, x): return x",
                "import os for path in paths:",
                "class Tree: def walk(self):",
                "return [f(x) for x in rows]",
            ],
            "formal": [
                "theorem: forall x, p implies q",
                "proof by lemma 2, hence done",
                "hence the lemma implies it",
                "forall n the theorem holds",
            ],
            "safety": [
                "avoid harm and protect users",
                "a risk to privacy needs consent",
                "danger: ask for consent first",
                "protect privacy, name the risk",
            ],
        }
        self.current_episode = 0
        self.episode_metrics = {"rewards": [], "performance": [], "flips": []}

    def reset(self) -> TaskState:
        self.current_episode += 1
        num_chunks = self.max_sequence_length // self.chunk_size
        names = ["code", "formal", "safety"]
        mixture = torch.tensor([0.6, 0.2, 0.2])
        domains = [names[i] for i in torch.multinomial(mixture, num_chunks, replacement=True).tolist()]
        # no pattern is shorter than 26 characters
        picks = torch.randint(4, (num_chunks, self.chunk_size // 26 + 1)).tolist()
        text = ""
        for domain, pick in zip(domains, picks):
            chunk = " ".join(self.code_patterns[domain][i] for i in pick)
            text += chunk[: self.chunk_size].ljust(self.chunk_size)
        input_ids = torch.tensor([list(text.encode("ascii"))])
        return TaskState(
            input_ids=input_ids,
            position=0,
            context_length=num_chunks * self.chunk_size,
            task_type="code",
            metadata={"domains": domains, "prev_expert": None},
        )

    def step(self, state: TaskState, routing_result: Dict) -> Tuple[TaskState, TaskReward, bool]:
        performance = self._evaluate_task_performance(state, routing_result)
        efficiency = self._evaluate_efficiency(routing_result)
        routing_result = dict(routing_result)
        prev_expert = state.metadata["prev_expert"]
        routing_result["flipped"] = prev_expert is not None and prev_expert != routing_result["expert_id"]
        cache_safety = self._evaluate_cache_safety(routing_result)
        reward = TaskReward(
            task_performance=performance,
            efficiency_bonus=efficiency,
            cache_safety_bonus=cache_safety,
            total_reward=0.6 * performance + 0.2 * efficiency + 0.2 * cache_safety,
        )
        self.episode_metrics["rewards"].append(reward.total_reward)
        self.episode_metrics["performance"].append(performance)
        self.episode_metrics["flips"].append(float(routing_result["flipped"]))
        next_state = TaskState(
            input_ids=state.input_ids,
            position=state.position + self.chunk_size,
            context_length=state.context_length,
            task_type=state.task_type,
            metadata={"domains": state.metadata["domains"], "prev_expert": routing_result["expert_id"]},
        )
        return next_state, reward, next_state.position >= next_state.context_length

    def _evaluate_task_performance(self, state: TaskState, routing_result: Dict) -> float:
        domain = state.metadata["domains"][state.position // self.chunk_size]
        wanted = {"code": 0, "formal": 1, "safety": 2}[domain]
        fit = 1.0 if routing_result["expert_id"] == wanted else 0.0
        # proofs need capacity, the rest does not
        needed = 32 if domain == "formal" else 8
        enough = min(1.0, routing_result["rank_budget"] / needed)
        return fit * enough

    def _evaluate_efficiency(self, routing_result: Dict) -> float:
        return 1.0 - routing_result["rank_budget"] / 64.0

    def _evaluate_cache_safety(self, routing_result: Dict) -> float:
        safety = 1.0
        if routing_result["flipped"]:
            safety = safety - 0.5
        if routing_result["scope"] == "global":
            safety = safety - 0.5
        return safety

    def get_task_metrics(self) -> Dict[str, float]:
        n = max(1, len(self.episode_metrics["rewards"]))
        return {
            "episodes": float(self.current_episode),
            "mean_reward": sum(self.episode_metrics["rewards"]) / n,
            "mean_performance": sum(self.episode_metrics["performance"]) / n,
            "flip_rate": sum(self.episode_metrics["flips"]) / n,
        }


class FormalReasoningEnvironment(TaskEnvironment):
    """Proofs with some other text between them."""

    def __init__(self, max_sequence_length: int = 2048, chunk_size: int = 128, vocab_size: int = 32000):
        self.max_sequence_length = max_sequence_length
        self.chunk_size = chunk_size
        self.vocab_size = vocab_size
        self.reasoning_patterns = {
            "code": [
                "def add(self, x): return x",
                "import os for path in paths:",
                "class Tree: def walk(self):",
                "return [f(x) for x in rows]",
            ],
            "formal": [
                "theorem: forall x, p implies q",
                "proof by lemma 2, hence done",
                "hence the lemma implies it",
                "forall n the theorem holds",
            ],
            "safety": [
                "avoid harm and protect users",
                "a risk to privacy needs consent",
                "danger: ask for consent first",
                "protect privacy, name the risk",
            ],
        }
        self.current_episode = 0
        self.episode_metrics = {"rewards": [], "quality": [], "flips": []}

    def reset(self) -> TaskState:
        self.current_episode += 1
        num_chunks = self.max_sequence_length // self.chunk_size
        names = ["code", "formal", "safety"]
        mixture = torch.tensor([0.2, 0.6, 0.2])
        domains = [names[i] for i in torch.multinomial(mixture, num_chunks, replacement=True).tolist()]
        # no pattern is shorter than 26 characters
        picks = torch.randint(4, (num_chunks, self.chunk_size // 26 + 1)).tolist()
        text = ""
        for domain, pick in zip(domains, picks):
            chunk = " ".join(self.reasoning_patterns[domain][i] for i in pick)
            text += chunk[: self.chunk_size].ljust(self.chunk_size)
        input_ids = torch.tensor([list(text.encode("ascii"))])
        return TaskState(
            input_ids=input_ids,
            position=0,
            context_length=num_chunks * self.chunk_size,
            task_type="formal",
            metadata={"domains": domains, "prev_expert": None},
        )

    def step(self, state: TaskState, routing_result: Dict) -> Tuple[TaskState, TaskReward, bool]:
        quality = self._evaluate_reasoning_quality(state, routing_result)
        efficiency = self._evaluate_efficiency(routing_result)
        routing_result = dict(routing_result)
        prev_expert = state.metadata["prev_expert"]
        routing_result["flipped"] = prev_expert is not None and prev_expert != routing_result["expert_id"]
        cache_safety = self._evaluate_cache_safety(routing_result)
        reward = TaskReward(
            task_performance=quality,
            efficiency_bonus=efficiency,
            cache_safety_bonus=cache_safety,
            total_reward=0.7 * quality + 0.15 * efficiency + 0.15 * cache_safety,
        )
        self.episode_metrics["rewards"].append(reward.total_reward)
        self.episode_metrics["quality"].append(quality)
        self.episode_metrics["flips"].append(float(routing_result["flipped"]))
        next_state = TaskState(
            input_ids=state.input_ids,
            position=state.position + self.chunk_size,
            context_length=state.context_length,
            task_type=state.task_type,
            metadata={"domains": state.metadata["domains"], "prev_expert": routing_result["expert_id"]},
        )
        return next_state, reward, next_state.position >= next_state.context_length

    def _evaluate_reasoning_quality(self, state: TaskState, routing_result: Dict) -> float:
        domain = state.metadata["domains"][state.position // self.chunk_size]
        wanted = {"code": 0, "formal": 1, "safety": 2}[domain]
        fit = 1.0 if routing_result["expert_id"] == wanted else 0.0
        needed = 32 if domain == "formal" else 8
        enough = min(1.0, routing_result["rank_budget"] / needed)
        return fit * enough

    def _evaluate_efficiency(self, routing_result: Dict) -> float:
        return 1.0 - routing_result["rank_budget"] / 64.0

    def _evaluate_cache_safety(self, routing_result: Dict) -> float:
        safety = 1.0
        if routing_result["flipped"]:
            safety = safety - 0.5
        if routing_result["scope"] == "global":
            safety = safety - 0.5
        return safety

    def get_task_metrics(self) -> Dict[str, float]:
        n = max(1, len(self.episode_metrics["rewards"]))
        return {
            "episodes": float(self.current_episode),
            "mean_reward": sum(self.episode_metrics["rewards"]) / n,
            "mean_quality": sum(self.episode_metrics["quality"]) / n,
            "flip_rate": sum(self.episode_metrics["flips"]) / n,
        }


class MultiTaskEnvironment(TaskEnvironment):
    """One of several environments per episode."""

    def __init__(
        self,
        task_weights: Dict[str, float] = None,
        max_sequence_length: int = 2048,
        chunk_size: int = 128,
        vocab_size: int = 32000,
    ):
        self.task_weights = task_weights or {"code": 0.5, "formal": 0.5}
        self.environments = {
            "code": CodeCompletionEnvironment(max_sequence_length, chunk_size, vocab_size),
            "formal": FormalReasoningEnvironment(max_sequence_length, chunk_size, vocab_size),
        }
        self.max_sequence_length = max_sequence_length
        self.chunk_size = chunk_size
        self.current_env = None
        self.current_task_type = None

    def reset(self) -> TaskState:
        names = list(self.task_weights.keys())
        weights = torch.tensor([float(self.task_weights[name]) for name in names])
        self.current_task_type = names[int(torch.multinomial(weights, 1))]
        self.current_env = self.environments[self.current_task_type]
        return self.current_env.reset()

    def step(self, state: TaskState, routing_result: Dict) -> Tuple[TaskState, TaskReward, bool]:
        return self.environments[state.task_type].step(state, routing_result)

    def get_task_metrics(self) -> Dict[str, float]:
        metrics = {}
        for name, environment in self.environments.items():
            for key, value in environment.get_task_metrics().items():
                metrics[f"{name}_{key}"] = value
        return metrics


def create_task_environment(config: Dict) -> TaskEnvironment:
    kind = config.get("type", config.get("task_type", "code"))
    max_sequence_length = int(config.get("max_sequence_length", 2048))
    chunk_size = int(config.get("chunk_size", 128))
    vocab_size = int(config.get("vocab_size", 32000))
    if kind in ("code", "code_completion"):
        return CodeCompletionEnvironment(max_sequence_length, chunk_size, vocab_size)
    if kind in ("formal", "formal_reasoning"):
        return FormalReasoningEnvironment(max_sequence_length, chunk_size, vocab_size)
    if kind in ("multi", "multi_task"):
        return MultiTaskEnvironment(config.get("task_weights"), max_sequence_length, chunk_size, vocab_size)
    raise ValueError(f"unknown environment {kind}")
