"""
Constitutional scorer: reads token ids and scores them against seven principles.

7 principles x 4 aspects -> 28 aspect scores -> one score in [0, 1]; 1 is safe.
"""

import json
from dataclasses import dataclass
from enum import Enum
from typing import Dict, List, Optional, Tuple, Union

import torch
import torch.nn as nn
import torch.nn.functional as F


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
    """Configuration of the scorer."""

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
    # Were hard-coded.
    vocab_size: int = 50257
    num_layers: int = 6
    num_heads: int = 8
    dropout: float = 0.1

    def __post_init__(self):
        if self.principle_weights is None:
            self.principle_weights = {p.value: 1.0 for p in ConstitutionalPrinciple}


class ConstitutionalScorer(nn.Module):
    def __init__(self, config: ValueModelConfig):
        super().__init__()
        self.config = config
        hidden = config.hidden_dim
        self.token_embedding = nn.Embedding(config.vocab_size, hidden)
        self.position_embedding = nn.Embedding(config.max_seq_length, hidden)
        layer = nn.TransformerEncoderLayer(
            d_model=hidden,
            nhead=config.num_heads,
            dim_feedforward=hidden * 4,
            dropout=config.dropout,
            activation="gelu",
            batch_first=True,
        )
        self.input_projection = nn.Linear(hidden, hidden)
        self.text_encoder = nn.TransformerEncoder(layer, config.num_layers, enable_nested_tensor=False)
        half = max(1, hidden // 2)
        self.principle_evaluators = nn.ModuleDict(
            {
                p.value: nn.Sequential(nn.Linear(hidden, half), nn.ReLU(), nn.Linear(half, config.num_aspects))
                for p in ConstitutionalPrinciple
            }
        )
        width = config.num_principles * config.num_aspects
        self.constitutional_aggregator = nn.Sequential(
            nn.Linear(width, max(1, width // 2)), nn.ReLU(), nn.Linear(max(1, width // 2), 1)
        )
        quarter = max(1, hidden // 4)
        self.confidence_estimator = nn.Sequential(nn.Linear(hidden, quarter), nn.ReLU(), nn.Linear(quarter, 1))
        weights = torch.tensor([config.principle_weights.get(p.value, 1.0) for p in ConstitutionalPrinciple])
        self.register_buffer("violation_threshold", torch.tensor(config.score_threshold))
        self.register_buffer("principle_weights", weights)
        self.register_buffer("total_evaluations", torch.tensor(0))
        self.register_buffer("violation_count", torch.tensor(0))
        self.register_buffer("avg_confidence", torch.tensor(0.0))
        self.score_cache = {}
        self._initialize_parameters()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: Optional[torch.Tensor] = None,
        return_details: bool = False,
        embeddings: Optional[torch.Tensor] = None,
    ) -> Union[torch.Tensor, Tuple[torch.Tensor, Dict[str, torch.Tensor]]]:
        use_cache = self.config.cache_scores and not self.training and not return_details and embeddings is None
        if use_cache:
            cached = self._check_cache(input_ids)
            if cached is not None:
                return cached[0]
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        if embeddings is None:
            embeddings = self._embed_tokens(input_ids)
        positions = self.position_embedding.weight[: embeddings.shape[1]]
        projected = self.input_projection(embeddings + positions)
        encoded = self.text_encoder(projected, src_key_padding_mask=attention_mask == 0)
        mask = attention_mask.unsqueeze(-1).to(encoded.dtype)
        pooled = (encoded * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1.0)
        score, details = self._evaluate_pooled(pooled)
        if self.training:
            self._update_telemetry(score, details["confidence"])
        if use_cache:
            self._cache_scores(input_ids, score, details, details["confidence"])
        return (score, details) if return_details else score

    def _evaluate_pooled(self, pooled: torch.Tensor) -> Tuple[torch.Tensor, Dict[str, torch.Tensor]]:
        aspects = []
        for i, name in enumerate(self.principle_evaluators):
            logits = self.principle_evaluators[name](pooled)
            aspects.append(torch.sigmoid(logits / self.config.temperature) * self.principle_weights[i])
        aspect_scores = torch.cat(aspects, dim=-1)
        logits = self.constitutional_aggregator(aspect_scores).squeeze(-1)
        score = torch.sigmoid(logits)
        confidence_logits = self.confidence_estimator(pooled.detach()).squeeze(-1)
        details = {
            "logits": logits,
            "aspect_scores": aspect_scores,
            "confidence_logits": confidence_logits,
            "confidence": torch.sigmoid(confidence_logits),
            "violations": score < self.config.score_threshold,
        }
        return score, details

    def _embed_tokens(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.token_embedding(input_ids)

    def embed_distribution(self, logits: torch.Tensor) -> torch.Tensor:
        """Embed the most probable tokens of a language model, with the gradient of the expected embedding."""
        hard = self._embed_tokens(logits.argmax(dim=-1))
        soft = torch.softmax(logits, dim=-1) @ self.token_embedding.weight
        return hard + (soft - soft.detach())

    def evaluate_principles(self, text: Union[str, List[str]], return_violations: bool = True) -> Dict[str, any]:
        texts = [text] if isinstance(text, str) else list(text)
        rows = [list(t.encode("utf-8"))[: self.config.max_seq_length] or [0] for t in texts]
        width = max(len(r) for r in rows)
        ids = torch.tensor([r + [0] * (width - len(r)) for r in rows]) % self.config.vocab_size
        mask = torch.tensor([[1] * len(r) + [0] * (width - len(r)) for r in rows])
        was_training = self.training
        self.eval()
        with torch.no_grad():
            score, details = self.forward(ids, mask, return_details=True)
        self.train(was_training)
        n = self.config.num_aspects
        principles = {
            name: details["aspect_scores"][:, i * n : (i + 1) * n].mean(dim=-1).tolist()
            for i, name in enumerate(self.principle_evaluators)
        }
        result = {
            "constitutional_score": score.tolist(),
            "principle_scores": principles,
            "confidence": details["confidence"].tolist(),
        }
        if return_violations:
            result["violations"] = [
                [name for name in principles if principles[name][i] < self.config.score_threshold]
                for i in range(len(texts))
            ]
        return result

    def detect_real_time_violations(
        self, hidden_states: torch.Tensor, attention_mask: Optional[torch.Tensor] = None
    ) -> Dict[str, torch.Tensor]:
        if attention_mask is None:
            pooled = hidden_states.mean(dim=1)
        else:
            mask = attention_mask.unsqueeze(-1).to(hidden_states.dtype)
            pooled = (hidden_states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1.0)
        score, details = self._evaluate_pooled(pooled)
        return {"score": score, "violations": details["violations"], "confidence": details["confidence"]}

    def _check_cache(self, input_ids: torch.Tensor) -> Optional[Tuple]:
        return self.score_cache.get(input_ids.cpu().numpy().tobytes())

    def _cache_scores(
        self,
        input_ids: torch.Tensor,
        constitutional_score: torch.Tensor,
        principle_scores: Dict[str, torch.Tensor],
        confidence: torch.Tensor,
    ):
        # Detached: a second backward through a cached graph fails.
        key = input_ids.cpu().numpy().tobytes()
        if len(self.score_cache) >= 1000:
            self.score_cache.clear()
        self.score_cache[key] = (
            constitutional_score.detach(),
            {k: v.detach() for k, v in principle_scores.items()},
            confidence.detach(),
        )

    def train(self, mode: bool = True):
        # The weights are about to change, so what was cached is stale.
        self.score_cache = {}
        return super().train(mode)

    def _update_telemetry(self, constitutional_score: torch.Tensor, confidence: torch.Tensor):
        with torch.no_grad():
            self.total_evaluations += constitutional_score.shape[0]
            self.violation_count += (constitutional_score < self.config.score_threshold).sum()
            self.avg_confidence.mul_(0.99).add_(0.01 * confidence.mean())

    def get_constitutional_statistics(self) -> Dict[str, float]:
        total = int(self.total_evaluations)
        return {
            "total_evaluations": float(total),
            "violation_rate": float(self.violation_count) / max(1, total),
            "avg_confidence": float(self.avg_confidence),
        }

    def _initialize_parameters(self):
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.position_embedding.weight, std=0.02)
        heads = [*self.principle_evaluators.values(), self.constitutional_aggregator, self.confidence_estimator]
        for head in heads:
            for module in head:
                if isinstance(module, nn.Linear):
                    nn.init.xavier_uniform_(module.weight)
                    nn.init.zeros_(module.bias)

    def reset_telemetry(self):
        self.total_evaluations.zero_()
        self.violation_count.zero_()
        self.avg_confidence.zero_()

    def update_principle_weights(self, new_weights: Dict[str, float]):
        for i, p in enumerate(ConstitutionalPrinciple):
            if p.value in new_weights:
                self.principle_weights[i] = new_weights[p.value]
                self.config.principle_weights[p.value] = new_weights[p.value]

    def export_constitutional_rules(self, filepath: str):
        with open(filepath, "w") as f:
            json.dump(
                {
                    "principle_weights": self.config.principle_weights,
                    "score_threshold": self.config.score_threshold,
                    "temperature": self.config.temperature,
                },
                f,
                indent=2,
            )

    def load_constitutional_rules(self, filepath: str):
        with open(filepath, "r") as f:
            rules = json.load(f)
        self.update_principle_weights(rules["principle_weights"])
        self.config.score_threshold = rules["score_threshold"]
        self.violation_threshold.fill_(rules["score_threshold"])


def scorer_loss(
    score: torch.Tensor, details: Dict[str, torch.Tensor], safe: torch.Tensor, threshold: float = 0.5
) -> torch.Tensor:
    """Cross-entropy of the score and of the confidence against labels; safe is 1.0 for a text without violation."""
    correct = ((score >= threshold) == (safe > 0.5)).float()
    loss = F.binary_cross_entropy_with_logits(details["logits"], safe)
    return loss + F.binary_cross_entropy_with_logits(details["confidence_logits"], correct)
