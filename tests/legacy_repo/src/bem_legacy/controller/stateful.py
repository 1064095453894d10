"""Routers with a recurrent state; `controller.py` beside this folder hides them from imports."""

import math
from dataclasses import dataclass


@dataclass
class StatefulRouterConfig:
    state_dim: int = 64
    decay: float = 0.9


class StatefulRouter:
    def __init__(self, config: StatefulRouterConfig):
        self.config = config
        self.state = [0.0] * config.state_dim

    def step(self, features):
        decay = self.config.decay
        self.state = [decay * s + (1 - decay) * math.tanh(f) for s, f in zip(self.state, features)]
        return self.state
