"""Tasks that pay for good routing."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Dict, Tuple

import torch


@dataclass
class TaskState:
    input_ids: torch.Tensor
    position: int
    context_length: int
    task_type: str
    metadata: Dict


@dataclass
class TaskReward:
    task_performance: float
    efficiency_bonus: float
    cache_safety_bonus: float
    total_reward: float


class TaskEnvironment(ABC):
    weights = (0.6, 0.2, 0.2)
    task_type = "task"

    def __init__(self, max_sequence_length: int = 2048, chunk_size: int = 128, vocab_size: int = 32000):
        self.max_sequence_length, self.chunk_size, self.vocab_size = max_sequence_length, chunk_size, vocab_size

    def reset(self) -> TaskState:
        ids = torch.randint(0, self.vocab_size, (1, self.max_sequence_length))
        return TaskState(ids, 0, self.max_sequence_length, self.task_type, {})

    def step(self, state: TaskState, routing_result: Dict) -> Tuple[TaskState, TaskReward, bool]:
        parts = (self._performance(routing_result), 1.0 - routing_result.get("time", 0.0), 1.0)
        reward = TaskReward(*parts, sum(w * p for w, p in zip(self.weights, parts)))
        state.position += self.chunk_size
        return state, reward, state.position >= state.context_length

    @abstractmethod
    def _performance(self, routing_result: Dict) -> float:
        """How well the chosen expert fits, between 0 and 1."""

    def get_task_metrics(self) -> Dict[str, float]:
        return {"max_sequence_length": float(self.max_sequence_length)}


class CodeCompletionEnvironment(TaskEnvironment):
    task_type = "code"

    def _performance(self, routing_result: Dict) -> float:
        return 1.0 if routing_result.get("expert_id") == 0 else 0.3


class FormalReasoningEnvironment(TaskEnvironment):
    weights = (0.7, 0.15, 0.15)
    task_type = "formal"

    def _performance(self, routing_result: Dict) -> float:
        return 1.0 if routing_result.get("expert_id") == 1 else 0.3


def create_task_environment(config: Dict) -> TaskEnvironment:
    config = dict(config)
    kinds = {"code": CodeCompletionEnvironment, "formal": FormalReasoningEnvironment}
    return kinds[config.pop("type", "code")](**config)
