"""Answers, hallucinations and latency."""

import time
from collections import Counter
from dataclasses import dataclass
from typing import Dict, List, NamedTuple, Optional


class VQAMetrics(NamedTuple):
    exact_match: float
    f1_score: float


class HallucinationMetrics(NamedTuple):
    object_hallucination_rate: float
    overall_hallucination_rate: float


@dataclass
class MultimodalEvaluationResult:
    vqa_metrics: VQAMetrics
    num_samples: int
    evaluation_time: float


class VQAEvaluator:
    def __init__(self, answer_vocab: Optional[List[str]] = None, case_sensitive: bool = False):
        self.case_sensitive = case_sensitive

    def _f1(self, prediction: str, answer: str) -> float:
        a, b = Counter(prediction.split()), Counter(answer.split())
        common = sum((a & b).values())
        return 2 * common / (sum(a.values()) + sum(b.values())) if common else 0.0

    def evaluate_batch(
        self, predictions: List[str], ground_truths: List[List[str]], questions: List[str]
    ) -> VQAMetrics:
        if not self.case_sensitive:
            predictions = [p.lower() for p in predictions]
            ground_truths = [[a.lower() for a in answers] for answers in ground_truths]
        exact = [p in answers for p, answers in zip(predictions, ground_truths)]
        f1 = [max(self._f1(p, a) for a in answers) for p, answers in zip(predictions, ground_truths)]
        return VQAMetrics(sum(exact) / len(exact), sum(f1) / len(f1))


class HallucinationDetector:
    def __init__(self, object_vocab: Optional[List[str]] = None):
        self.object_vocab = set(object_vocab or ("cat", "dog", "car", "tree"))

    def detect_object_hallucinations(self, text: str, detected_objects: List[str]) -> float:
        named = self.object_vocab & set(text.lower().split())
        return len(named - set(detected_objects)) / len(named) if named else 0.0


class LatencyProfiler:
    def profile(self, call, inputs) -> Dict[str, float]:
        started = time.perf_counter()
        call(inputs)
        return {"total_latency_ms": 1000 * (time.perf_counter() - started)}


class MultimodalEvaluator:
    def __init__(self):
        self.vqa, self.hallucination = VQAEvaluator(), HallucinationDetector()

    def evaluate_multimodal_system(self, answer_fn, test_data: List[Dict]) -> MultimodalEvaluationResult:
        started = time.time()
        predictions = [answer_fn(row) for row in test_data]
        metrics = self.vqa.evaluate_batch(
            predictions, [row["answers"] for row in test_data], [row["question"] for row in test_data]
        )
        return MultimodalEvaluationResult(metrics, len(test_data), time.time() - started)
