"""Small updates with a penalty for leaving the starting point."""

from dataclasses import dataclass, field
from typing import List

from .canary_gate import CanaryGate
from .interfaces import LearningPhase


@dataclass
class OnlineLearningConfig:
    learning_rate: float = 1e-3
    ewc_lambda: float = 0.1


@dataclass
class OnlineLearner:
    config: OnlineLearningConfig = field(default_factory=OnlineLearningConfig)
    gate: CanaryGate = field(default_factory=CanaryGate)
    phase: LearningPhase = LearningPhase.WARMUP

    def update(self, weights: List[float], gradient: List[float], anchor: List[float]) -> List[float]:
        rate, pull = self.config.learning_rate, self.config.ewc_lambda
        return [w - rate * (g + pull * (w - a)) for w, g, a in zip(weights, gradient, anchor)]


if __name__ == "__main__":
    from .canary_gate import create_default_canary_gate

    print(OnlineLearner(gate=create_default_canary_gate()).update([1.0], [0.5], [1.0]))
