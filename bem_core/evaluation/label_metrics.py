"""Metrics of predicted classes, probabilities and losses."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from bem_core.evaluation.errors import EvaluationError
from bem_core.evaluation.registry import Metric, register
from bem_core.evaluation.sums import ExactSum, Mean, SumState, Waiting, quotient
from bem_core.utils.extras import import_extra

# The label of positions that do not count, as in torch and transformers.
IGNORED = -100
# Rows of logits that are turned into log-probabilities at once: float32 copies of all of them may not fit.
_ROWS = 1024


def sequence_nll(logits_BLV: Tensor, labels_BL: Tensor, *, shift: bool = True) -> tuple[Tensor, Tensor]:
    """Return the negative log-likelihood of each sequence and the number of tokens in it, as `Perplexity` takes them.

    Args:
        logits_BLV: Scores of the vocabulary, shape ``(B, L, V)``.
        labels_BL: Tokens, shape ``(B, L)``; -100 does not count.
        shift: Whether the scores at a position are those of the next token.

    Returns:
        Sums in nats, shape ``(B,)``, float32, and counts, shape ``(B,)``, int64.
    """
    if shift:
        logits_BLV, labels_BL = logits_BLV[:, :-1], labels_BL[:, 1:]
    rows, labels = logits_BLV.flatten(0, 1), labels_BL.flatten()
    parts = [
        torch.nn.functional.cross_entropy(part.float(), label, ignore_index=IGNORED, reduction="none")
        for part, label in zip(torch.split(rows, _ROWS), torch.split(labels, _ROWS), strict=True)
    ]
    return torch.cat(parts).view(labels_BL.shape).sum(1), (labels_BL != IGNORED).sum(1)


class MeanMetric(Metric):
    """A single mean, and what is made of it at the end."""

    def __init__(self, name: str, finish: Callable[[float], float] = float) -> None:
        self._name, self._finish = name, finish
        self._mean = Mean()

    def state(self) -> tuple[SumState, SumState]:
        """Return sum and weight."""
        return self._mean.state()

    def merge(self, state: tuple[SumState, SumState]) -> None:
        """Add sum and weight."""
        self._mean.merge(state)

    def compute(self) -> dict[str, float]:
        """Return the value."""
        return {} if self._mean.empty else {self._name: self._finish(self._mean.value())}


@register("loss")
class Loss(MeanMetric):
    """Mean over samples of ``loss``: a number for each sample, or the mean of a batch, which counts for each of its."""

    needs = ("loss",)
    higher_is_better = False

    def __init__(self) -> None:
        super().__init__("loss")

    def update(self, values: Mapping[str, Any], num_samples: int) -> None:
        """Add the losses of a batch."""
        loss = torch.as_tensor(values["loss"])
        size = loss.numel()
        if size not in (1, num_samples):
            raise EvaluationError(f"'loss' has {size} numbers; expected one, or {num_samples}, one a sample")
        self._mean.add(loss, size, num_samples // size)


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


@register("perplexity", "ppl")
class Perplexity(MeanMetric):
    """Exponential of the mean negative log-likelihood of a token, over all tokens of the test set.

    Takes ``nll``, summed over the tokens of a sample, in nats, and ``num_tokens``, both of shape ``(B,)``.
    """

    needs = ("nll", "num_tokens")
    higher_is_better = False

    def __init__(self) -> None:
        super().__init__("perplexity", _exp)

    def update(self, values: Mapping[str, Any], num_samples: int) -> None:
        """Add the likelihoods of a batch."""
        self._mean.add_totals(torch.as_tensor(values["nll"]), torch.as_tensor(values["num_tokens"]))


def _classes(values: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Return predicted and true classes of the same shape."""
    labels, predicted = torch.as_tensor(values["labels"]), torch.as_tensor(values["predictions"])
    if predicted.is_floating_point() or predicted.shape != labels.shape:
        raise EvaluationError(
            f"'predictions' has dtype {predicted.dtype} and shape {tuple(predicted.shape)}; expected classes in the "
            f"shape of 'labels', {tuple(labels.shape)}"
        )
    return predicted.to(labels.device), labels


@register("accuracy", "acc")
class Accuracy(MeanMetric):
    """Share of ``predictions`` that equal ``labels``; both hold classes, and a label of -100 does not count."""

    needs = ("predictions", "labels")

    def __init__(self) -> None:
        super().__init__("accuracy")
        self._waiting = Waiting(self._count)

    def update(self, values: Mapping[str, Any], num_samples: int) -> None:
        """Take the classes of a batch."""
        self._waiting.add(*_classes(values))

    def _count(self, predicted: Tensor, labels: Tensor) -> None:
        counted = labels != IGNORED
        self._mean.add_totals(((predicted == labels) & counted).sum(), counted.sum())

    def state(self) -> tuple[SumState, SumState]:
        """Return hits and how many could be."""
        self._waiting.flush()
        return super().state()

    def compute(self) -> dict[str, float]:
        """Return the share."""
        self._waiting.flush()
        return super().compute()


class ClassF1(Metric):
    """F1 over classes by scikit-learn, from the counts of pairs of true and predicted class.

    Args:
        average: ``macro``, ``micro`` or ``weighted``, as ``sklearn.metrics.f1_score`` has it.
    """

    needs = ("predictions", "labels")

    def __init__(self, average: str) -> None:
        self._module = import_extra("sklearn.metrics", "eval", f"the metric '{average}_f1'")
        self._average = average
        self._pairs: Counter[tuple[int, int]] = Counter()
        self._waiting = Waiting(self._count)

    def update(self, values: Mapping[str, Any], num_samples: int) -> None:
        """Take the classes of a batch."""
        self._waiting.add(*_classes(values))

    def _count(self, predicted: Tensor, labels: Tensor) -> None:
        counted = labels != IGNORED
        self._pairs.update(zip(labels[counted].tolist(), predicted[counted].tolist(), strict=True))

    def state(self) -> Counter[tuple[int, int]]:
        """Return the counts."""
        self._waiting.flush()
        return self._pairs

    def merge(self, state: Counter[tuple[int, int]]) -> None:
        """Add counts."""
        self._pairs.update(state)

    def compute(self) -> dict[str, float]:
        """Return the score; a class without any hit counts as 0."""
        pairs = self.state()
        if not pairs:
            return {}
        ordered = sorted(pairs)
        true, guess = zip(*ordered, strict=True)
        weights = [pairs[pair] for pair in ordered]
        score = self._module.f1_score(true, guess, average=self._average, sample_weight=weights, zero_division=0.0)
        return {f"{self._average}_f1": float(score)}


register("macro_f1", "f1_macro")(lambda: ClassF1("macro"))
register("micro_f1", "f1_micro")(lambda: ClassF1("micro"))
register("weighted_f1", "f1_weighted")(lambda: ClassF1("weighted"))


@register("calibration_error", "ece", "expected_calibration_error")
class CalibrationError(Metric):
    """Expected calibration error: how far confidence and accuracy are apart, from 0 to 1.

    ``sum_b n_b / n * |accuracy_b - confidence_b|`` over bins of equal width, open below, of the greatest probability
    (Guo et al. 2017, eq. 3, https://arxiv.org/abs/1706.04599). Takes ``probabilities`` of shape ``(B, C)`` and
    ``labels`` of shape ``(B,)``. torchmetrics has it too, but keeps every confidence.

    Args:
        num_bins: Number of bins; 15 as in the paper.
    """

    needs = ("probabilities", "labels")
    higher_is_better = False

    def __init__(self, num_bins: int = 15) -> None:
        self._sums = [(ExactSum(), ExactSum(), ExactSum()) for _ in range(num_bins)]
        self._waiting = Waiting(self._count)

    def update(self, values: Mapping[str, Any], num_samples: int) -> None:
        """Take the probabilities of a batch."""
        probabilities, labels = torch.as_tensor(values["probabilities"]), torch.as_tensor(values["labels"])
        if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
            shapes = f"{tuple(probabilities.shape)} and {tuple(labels.shape)}"
            raise EvaluationError(f"'probabilities' and 'labels' have shapes {shapes}; expected (B, C) and (B,)")
        confidence, predicted = probabilities.float().max(1)
        labels = labels.to(predicted.device)
        self._waiting.add(confidence, predicted == labels, labels != IGNORED)

    def _count(self, sure: Tensor, hit: Tensor, counted: Tensor) -> None:
        wrong = sure[~((sure >= 0) & (sure <= 1.0001))]
        if len(wrong):
            raise EvaluationError(f"'probabilities' holds {wrong[0].item():g}; expected numbers from 0 to 1")
        bins = ((sure * len(self._sums)).ceil().long() - 1).clamp(0, len(self._sums) - 1)
        for number, sums in enumerate(self._sums):
            inside = counted & (bins == number)
            for total, values in zip(sums, (inside, sure[inside], hit[inside]), strict=True):
                total.add(values)

    def state(self) -> list[list[SumState]]:
        """Return count, confidence and hits of each bin."""
        self._waiting.flush()
        return [[total.state() for total in bin_] for bin_ in self._sums]

    def merge(self, state: list[list[SumState]]) -> None:
        """Add bins."""
        for bin_, other in zip(self._sums, state, strict=True):
            for total, one in zip(bin_, other, strict=True):
                total.merge(one)

    def compute(self) -> dict[str, float]:
        """Return the error."""
        bins = self.state()
        num_samples = SumState(sum(number.scaled for number, _, _ in bins))
        if not num_samples.scaled:
            return {}
        gaps = SumState(sum(abs(hits.scaled - sure.scaled) for _, sure, hits in bins))
        return {"calibration_error": quotient(gaps, num_samples)}
