"""Score token sequences against seven principles."""

from dataclasses import dataclass
from enum import Enum
from typing import Dict, Optional

import torch
import torch.nn as nn


class ConstitutionalPrinciple(Enum):
    HARMLESSNESS = "harmlessness"
    HELPFULNESS = "helpfulness"
    HONESTY = "honesty"
    PRIVACY = "privacy"
    FAIRNESS = "fairness"
    AUTONOMY = "autonomy"
    TRANSPARENCY = "transparency"


@dataclass
class ValueModelConfig:
    model_name: str = "constitutional-ai-v1"
    hidden_dim: int = 768
    num_principles: int = 7
    num_aspects: int = 4
    temperature: float = 1.0
    score_threshold: float = 0.5
    confidence_threshold: float = 0.8
    principle_weights: Dict[str, float] = None
    batch_size: int = 32
    max_seq_length: int = 512
    cache_scores: bool = True
    streaming_mode: bool = False
    update_frequency: int = 100


class ConstitutionalScorer(nn.Module):
    def __init__(self, config: ValueModelConfig):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(50257, config.hidden_dim)
        self.principles = nn.Linear(config.hidden_dim, config.num_principles * config.num_aspects)
        self.aggregator = nn.Linear(config.num_principles * config.num_aspects, 1)

    def forward(self, input_ids: torch.Tensor, attention_mask: Optional[torch.Tensor] = None, return_details=False):
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        weights = mask.float().unsqueeze(-1)
        pooled = (self.embedding(input_ids) * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1.0)
        aspects = torch.sigmoid(self.principles(pooled) / self.config.temperature)
        score = torch.sigmoid(self.aggregator(aspects)).squeeze(-1)
        return (score, {"aspect_scores": aspects}) if return_details else score

    def get_constitutional_statistics(self) -> Dict[str, float]:
        return {"num_principles": float(len(ConstitutionalPrinciple))}
