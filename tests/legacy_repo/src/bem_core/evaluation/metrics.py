"""Text metrics on lists of strings or ids."""

import math
from collections import Counter
from typing import Any, Dict, List, Sequence


def compute_accuracy(predictions: Sequence[Any], targets: Sequence[Any]) -> float:
    if not targets:
        return 0.0
    return sum(p == t for p, t in zip(predictions, targets)) / len(targets)


def compute_f1_score(prediction: str, target: str) -> float:
    predicted, expected = str(prediction).split(), str(target).split()
    common = sum((Counter(predicted) & Counter(expected)).values())
    if not common:
        return 0.0
    precision, recall = common / len(predicted), common / len(expected)
    return 2 * precision * recall / (precision + recall)


def compute_bleu_score(prediction: str, target: str, max_n: int = 4) -> float:
    """Smoothed sentence BLEU."""
    predicted, expected = prediction.split(), target.split()
    if not predicted:
        return 0.0
    logs = 0.0
    for n in range(1, max_n + 1):
        ours = Counter(tuple(predicted[i : i + n]) for i in range(len(predicted) - n + 1))
        theirs = Counter(tuple(expected[i : i + n]) for i in range(len(expected) - n + 1))
        logs += math.log((sum((ours & theirs).values()) + 1) / (sum(ours.values()) + 1))
    brevity = min(0.0, 1.0 - len(expected) / len(predicted))
    return math.exp(brevity + logs / max_n)


def compute_rouge_scores(prediction: str, target: str) -> Dict[str, float]:
    a, b = prediction.split(), target.split()
    previous = [0] * (len(b) + 1)
    for token in a:
        current = [0]
        for j, other in enumerate(b):
            current.append(previous[j] + 1 if token == other else max(current[-1], previous[j + 1]))
        previous = current
    length = previous[-1]
    if not length:
        return {"rouge_l": 0.0}
    precision, recall = length / len(a), length / len(b)
    return {"rouge_l": 2 * precision * recall / (precision + recall)}


def compute_perplexity(losses: List[float]) -> float:
    return math.exp(sum(losses) / len(losses)) if losses else float("inf")


class MetricCalculator:
    def __init__(self, metrics: List[str]):
        self.metrics = metrics

    def compute(self, predictions: List[Any], targets: List[Any]) -> Dict[str, float]:
        values: Dict[str, float] = {}
        if "accuracy" in self.metrics:
            values["accuracy"] = compute_accuracy(predictions, targets)
        if "exact_match" in self.metrics:
            values["exact_match"] = compute_accuracy([str(p) for p in predictions], [str(t) for t in targets])
        if "f1_score" in self.metrics and targets:
            scores = [compute_f1_score(p, t) for p, t in zip(predictions, targets)]
            values["f1_score"] = sum(scores) / len(scores)
        return values
