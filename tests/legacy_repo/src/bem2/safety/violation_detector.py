"""
Violation detector: 19 types of violation, 4 severities.

A fast screener looks at the hidden states of the language model; the detailed analyzer reads the token ids.
"""

import logging
import re
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import Dict, List, Optional, Set, Union

import torch
import torch.nn as nn
import torch.nn.functional as F

logger = logging.getLogger(__name__)


class ViolationType(Enum):
    HARMFUL_CONTENT = "harmful_content"
    VIOLENCE = "violence"
    SELF_HARM = "self_harm"
    HARASSMENT = "harassment"
    HATE_SPEECH = "hate_speech"
    PRIVACY_VIOLATION = "privacy_violation"
    PII_EXPOSURE = "pii_exposure"
    SECURITY_RISK = "security_risk"
    MISINFORMATION = "misinformation"
    MANIPULATION = "manipulation"
    DECEPTION = "deception"
    INAPPROPRIATE_CONTENT = "inappropriate_content"
    EXPLICIT_CONTENT = "explicit_content"
    BIAS = "bias"
    DISCRIMINATION = "discrimination"
    UNFAIRNESS = "unfairness"
    AUTONOMY_VIOLATION = "autonomy_violation"
    TRANSPARENCY_VIOLATION = "transparency_violation"
    HELPFULNESS_VIOLATION = "helpfulness_violation"


class ViolationSeverity(Enum):
    LOW = 1
    MODERATE = 2
    HIGH = 3
    CRITICAL = 4


@dataclass
class ViolationConfig:
    """Configuration of the detector."""

    violation_threshold: float = 0.5
    high_confidence_threshold: float = 0.8
    critical_threshold: float = 0.9
    fast_screening: bool = True
    detailed_analysis: bool = True
    real_time_detection: bool = True
    enabled_violation_types: Set[ViolationType] = None
    violation_weights: Dict[ViolationType, float] = None
    batch_detection: bool = True
    max_batch_size: int = 32
    detection_timeout: float = 5.0
    enable_red_team: bool = True
    red_team_frequency: int = 100
    adversarial_prompts: bool = True
    cache_detections: bool = True
    cache_size_limit: int = 10000
    # Were hard-coded.
    hidden_dim: int = 768
    vocab_size: int = 50257
    max_seq_length: int = 512
    num_layers: int = 4
    num_heads: int = 8
    dropout: float = 0.1

    def __post_init__(self):
        if self.enabled_violation_types is None:
            self.enabled_violation_types = set(ViolationType)
        if self.violation_weights is None:
            self.violation_weights = {v: 1.0 for v in ViolationType}


@dataclass
class ViolationResult:
    """What was found in one text."""

    violation_detected: bool
    violation_types: List[ViolationType]
    severity: ViolationSeverity
    confidence: float
    scores: Dict[ViolationType, float]
    explanation: str
    evidence: List[str]
    recommendations: List[str]


class ViolationDetector(nn.Module):
    def __init__(self, config: ViolationConfig):
        super().__init__()
        self.config = config
        hidden = config.hidden_dim
        num_types = len(ViolationType)
        self.token_embedding = nn.Embedding(config.vocab_size, hidden)
        self.position_embedding = nn.Embedding(config.max_seq_length, hidden)
        half = max(1, hidden // 2)
        self.fast_screener = nn.Sequential(nn.Linear(hidden, half), nn.ReLU(), nn.Linear(half, num_types))
        layer = nn.TransformerEncoderLayer(
            d_model=hidden,
            nhead=config.num_heads,
            dim_feedforward=hidden * 4,
            dropout=config.dropout,
            activation="gelu",
            batch_first=True,
        )
        self.detailed_analyzer = nn.TransformerEncoder(layer, config.num_layers, enable_nested_tensor=False)
        self.violation_heads = nn.Linear(hidden, num_types)
        self.severity_estimator = nn.Sequential(nn.Linear(num_types, 16), nn.ReLU(), nn.Linear(16, 4))
        quarter = max(1, hidden // 4)
        self.confidence_estimator = nn.Sequential(
            nn.Linear(hidden + num_types, quarter), nn.ReLU(), nn.Linear(quarter, 1)
        )
        # A scorer somebody else owns; in a list, so that it is no submodule.
        self.constitutional_detector = []
        self.adversarial_patterns = self._load_adversarial_patterns()
        self.register_buffer("total_detections", torch.tensor(0))
        self.register_buffer("violations_detected", torch.tensor(0))
        self.register_buffer("false_positives", torch.tensor(0))
        self.register_buffer("false_negatives", torch.tensor(0))
        self.detection_cache = {}
        self._initialize_parameters()

    def analyze(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, hidden_states: Optional[torch.Tensor] = None
    ) -> Dict[str, torch.Tensor]:
        """All logits for token ids [B, S]; without hidden states the screener looks at the embeddings."""
        positions = self.position_embedding.weight[: input_ids.shape[1]]
        embeddings = self.token_embedding(input_ids) + positions
        screened = embeddings if hidden_states is None else hidden_states
        screening = self.fast_screener(self._pool(screened, attention_mask))
        encoded = self.detailed_analyzer(embeddings, src_key_padding_mask=attention_mask == 0)
        pooled = self._pool(encoded, attention_mask)
        types = self.violation_heads(pooled)
        scores = torch.sigmoid(types)
        severity = self.severity_estimator(scores)
        confidence = self.confidence_estimator(torch.cat([pooled, scores], dim=-1).detach()).squeeze(-1)
        return {"screening": screening, "types": types, "severity": severity, "confidence": confidence}

    def _pool(self, states: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        return (states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1.0)

    def forward(
        self,
        input_text: Union[str, List[str], torch.Tensor],
        hidden_states: Optional[torch.Tensor] = None,
        fast_mode: bool = False,
        return_detailed: bool = True,
        attention_mask: Optional[torch.Tensor] = None,
    ) -> Union[ViolationResult, List[ViolationResult]]:
        single = isinstance(input_text, str)
        if isinstance(input_text, torch.Tensor):
            ids = input_text
            mask = torch.ones_like(ids) if attention_mask is None else attention_mask
            texts = [" ".join(str(i) for i in row) for row in ids.tolist()]
        else:
            texts = [input_text] if single else list(input_text)
            ids, mask = self._encode(texts)
        cacheable = hidden_states is None and not self.training and not fast_mode
        if cacheable:
            cached = self._check_detection_cache(texts)
            if cached is not None:
                return cached[0] if single else cached
        with torch.no_grad():
            if fast_mode and self.config.fast_screening:
                states = self._embed_text(texts) if hidden_states is None else hidden_states
                scores = torch.sigmoid(self.fast_screener(self._pool(states, mask)))
                severity = torch.softmax(self.severity_estimator(scores), dim=-1)
                confidence = scores.max(dim=-1).values
            else:
                found = self.analyze(ids, mask, hidden_states)
                scores = torch.sigmoid(found["types"])
                severity = torch.softmax(found["severity"], dim=-1)
                confidence = torch.sigmoid(found["confidence"])
            constitutional = self._detect_constitutional_violations(ids, mask)
        results = []
        for i, text in enumerate(texts):
            # Was constitutional_scores[i], an index into a dict of tensors.
            own = None if constitutional is None else {k: v[i] for k, v in constitutional.items()}
            results.append(self._process_single_detection(text, scores[i], severity[i], confidence[i], own))
        if cacheable:
            self._cache_detection_results(texts, results)
        if self.training:
            self._update_detection_telemetry(results)
        return results[0] if single else results

    def _encode(self, texts: List[str]):
        limit = self.config.max_seq_length
        rows = [list(t.encode("utf-8"))[:limit] or [0] for t in texts]
        width = max(len(r) for r in rows)
        ids = torch.tensor([r + [0] * (width - len(r)) for r in rows]) % self.config.vocab_size
        return ids, torch.tensor([[1] * len(r) + [0] * (width - len(r)) for r in rows])

    def _embed_text(self, texts: List[str]) -> torch.Tensor:
        ids, _ = self._encode(texts)
        return self.token_embedding(ids) + self.position_embedding.weight[: ids.shape[1]]

    def _detect_constitutional_violations(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> Optional[Dict[str, torch.Tensor]]:
        if not self.constitutional_detector:
            return None
        scorer = self.constitutional_detector[0]
        score, details = scorer(input_ids, attention_mask, return_details=True)
        return {"score": score, "confidence": details["confidence"]}

    def _process_single_detection(
        self,
        text: str,
        violation_scores: torch.Tensor,
        severity_probs: torch.Tensor,
        confidence: torch.Tensor,
        constitutional_scores: Optional[Dict[str, torch.Tensor]],
    ) -> ViolationResult:
        values = violation_scores.tolist()
        scores = {}
        for kind, value in zip(ViolationType, values):
            if kind in self.config.enabled_violation_types:
                scores[kind] = value * self.config.violation_weights.get(kind, 1.0)
        found = [kind for kind, value in scores.items() if value > self.config.violation_threshold]
        severity = ViolationSeverity(int(severity_probs.argmax()) + 1)
        if found and max(scores.values()) > self.config.critical_threshold and severity == ViolationSeverity.LOW:
            severity = ViolationSeverity.MODERATE
        return ViolationResult(
            violation_detected=bool(found),
            violation_types=found,
            severity=severity,
            confidence=float(confidence),
            scores=scores,
            explanation=self._generate_explanation(found, scores, constitutional_scores),
            evidence=self._extract_evidence(text, found),
            recommendations=self._generate_recommendations(found, severity),
        )

    def _generate_explanation(
        self,
        violated_types: List[ViolationType],
        violation_dict: Dict[ViolationType, float],
        constitutional_scores: Optional[Dict[str, torch.Tensor]],
    ) -> str:
        if not violated_types:
            return "No violations detected"
        parts = [f"{v.value} ({violation_dict[v]:.2f})" for v in violated_types]
        text = "Detected: " + ", ".join(parts)
        if constitutional_scores is not None:
            text += f"; constitutional score {float(constitutional_scores['score']):.2f}"
        return text

    def _extract_evidence(self, text: str, violated_types: List[ViolationType]) -> List[str]:
        evidence = []
        if not violated_types:
            return evidence
        for pattern in self.adversarial_patterns:
            match = re.search(pattern, text, re.IGNORECASE)
            if match:
                evidence.append(match.group(0))
        return evidence

    def _generate_recommendations(
        self, violated_types: List[ViolationType], severity: ViolationSeverity
    ) -> List[str]:
        if not violated_types:
            return []
        recommendations = [f"Review for {v.value}" for v in violated_types]
        if severity in (ViolationSeverity.HIGH, ViolationSeverity.CRITICAL):
            recommendations.append("Block the output")
        return recommendations

    def real_time_violation_screening(
        self, hidden_states: torch.Tensor, attention_mask: Optional[torch.Tensor] = None
    ) -> Dict[str, any]:
        if attention_mask is None:
            attention_mask = torch.ones(hidden_states.shape[:2], dtype=torch.long)
        with torch.no_grad():
            scores = torch.sigmoid(self.fast_screener(self._pool(hidden_states, attention_mask)))
        worst = scores.max(dim=-1).values
        return {
            "violations_detected": worst > self.config.violation_threshold,
            "max_scores": worst,
            "violation_scores": scores,
        }

    def run_red_team_evaluation(self, test_prompts: List[str]) -> Dict[str, any]:
        was_training = self.training
        self.eval()
        results = self.forward(list(test_prompts))
        self.train(was_training)
        detected = sum(r.violation_detected for r in results)
        kinds = Counter(v.value for r in results for v in r.violation_types)
        return {
            "total_prompts": len(results),
            "violations_detected": detected,
            "detection_rate": detected / max(1, len(results)),
            "violation_types": dict(kinds),
            "average_confidence": sum(r.confidence for r in results) / max(1, len(results)),
        }

    def _load_adversarial_patterns(self) -> List[str]:
        return [
            r"ignore (all )?previous instructions",
            r"pretend (you are|to be)",
            r"without any (rules|restrictions)",
            r"how to (make|build) an? (bomb|weapon)",
            r"\b\d{3}-\d{2}-\d{4}\b",
        ]

    def _check_detection_cache(self, texts: List[str]) -> Optional[List[ViolationResult]]:
        if not self.config.cache_detections:
            return None
        if all(t in self.detection_cache for t in texts):
            return [self.detection_cache[t] for t in texts]
        return None

    def _cache_detection_results(self, texts: List[str], results: List[ViolationResult]):
        if not self.config.cache_detections:
            return
        if len(self.detection_cache) + len(texts) > self.config.cache_size_limit:
            self.detection_cache.clear()
        for t, r in zip(texts, results):
            self.detection_cache[t] = r

    def train(self, mode: bool = True):
        self.detection_cache = {}
        return super().train(mode)

    def _update_detection_telemetry(self, results: List[ViolationResult]):
        self.total_detections += len(results)
        self.violations_detected += sum(r.violation_detected for r in results)

    def get_detection_statistics(self) -> Dict[str, any]:
        total = int(self.total_detections)
        return {
            "total_detections": total,
            "violations_detected": int(self.violations_detected),
            "violation_rate": int(self.violations_detected) / max(1, total),
            "cache_size": len(self.detection_cache),
        }

    def update_violation_thresholds(self, new_thresholds: Dict[str, float]):
        for name, value in new_thresholds.items():
            if hasattr(self.config, name):
                setattr(self.config, name, value)

    def _initialize_parameters(self):
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.position_embedding.weight, std=0.02)
        for head in (self.fast_screener, [self.violation_heads], self.severity_estimator, self.confidence_estimator):
            for module in head:
                if isinstance(module, nn.Linear):
                    nn.init.xavier_uniform_(module.weight)
                    nn.init.zeros_(module.bias)

    def reset_telemetry(self):
        for buffer in (self.total_detections, self.violations_detected, self.false_positives, self.false_negatives):
            buffer.zero_()


def detector_loss(found: Dict[str, torch.Tensor], violations: torch.Tensor, threshold: float = 0.5) -> torch.Tensor:
    """violations [B, 19]: severity 1 to 4 of each type, 0 for none."""
    present = (violations > 0).float()
    worst = violations.max(dim=1).values
    any_present = (worst > 0).float()
    loss = F.binary_cross_entropy_with_logits(found["screening"], present)
    loss = loss + F.binary_cross_entropy_with_logits(found["types"], present)
    severity = F.cross_entropy(found["severity"], (worst - 1).clamp(min=0), reduction="none")
    loss = loss + (severity * any_present).sum() / any_present.sum().clamp(min=1.0)
    detected = torch.sigmoid(found["types"]).max(dim=1).values > threshold
    correct = (detected == (worst > 0)).float()
    return loss + F.binary_cross_entropy_with_logits(found["confidence"], correct)
