"""Which rule does a text break?"""

import logging
from dataclasses import dataclass
from enum import Enum
from typing import Dict, List, Set, Union

logger = logging.getLogger(__name__)


class ViolationType(Enum):
    HARMFUL_CONTENT = "harmful_content"
    VIOLENCE = "violence"
    HARASSMENT = "harassment"
    PRIVACY_VIOLATION = "privacy_violation"
    MISINFORMATION = "misinformation"


class ViolationSeverity(Enum):
    LOW = 1
    MODERATE = 2
    HIGH = 3
    CRITICAL = 4


TERMS = {
    ViolationType.HARMFUL_CONTENT: ("poison", "explosive"),
    ViolationType.VIOLENCE: ("attack", "kill"),
    ViolationType.HARASSMENT: ("stupid", "worthless"),
    ViolationType.PRIVACY_VIOLATION: ("ssn", "password"),
    ViolationType.MISINFORMATION: ("miracle", "hoax"),
}


@dataclass
class ViolationConfig:
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
    cache_detections: bool = True
    cache_size_limit: int = 10000


@dataclass
class ViolationResult:
    violation_detected: bool
    violation_types: List[ViolationType]
    severity: ViolationSeverity
    confidence: float
    scores: Dict[ViolationType, float]


class ViolationDetector:
    def __init__(self, config: ViolationConfig):
        self.config = config
        self.enabled = config.enabled_violation_types or set(ViolationType)

    def __call__(self, input_text: Union[str, List[str]]) -> Union[ViolationResult, List[ViolationResult]]:
        return self.detect(input_text) if isinstance(input_text, str) else [self.detect(t) for t in input_text]

    def detect(self, text: str) -> ViolationResult:
        words = set(text.lower().split())
        scores = {kind: min(1.0, 0.6 * len(words & set(TERMS[kind]))) for kind in self.enabled}
        found = [kind for kind, score in scores.items() if score >= self.config.violation_threshold]
        top = max(scores.values(), default=0.0)
        return ViolationResult(bool(found), found, self._severity(top), top, scores)

    def _severity(self, score: float) -> ViolationSeverity:
        limits = (self.config.critical_threshold, self.config.high_confidence_threshold, 0.5)
        order = (ViolationSeverity.CRITICAL, ViolationSeverity.HIGH, ViolationSeverity.MODERATE)
        return next((s for s, limit in zip(order, limits) if score >= limit), ViolationSeverity.LOW)
