"""The metrics there are by name. Import this module, not the parts: it is what fills the registry."""

from __future__ import annotations

from bem_core.evaluation.label_metrics import (
    Accuracy,
    CalibrationError,
    ClassF1,
    Loss,
    MeanMetric,
    Perplexity,
    sequence_nll,
)
from bem_core.evaluation.registry import (
    Metric,
    canonical,
    create,
    higher_is_better,
    is_registered,
    names,
    register,
    suggest,
)
from bem_core.evaluation.text_metrics import (
    CorpusScore,
    ExactMatch,
    JsonValidity,
    Rouge,
    SampleMean,
    TokenF1,
    normalize_answer,
    token_f1,
)

__all__ = [
    "Accuracy",
    "CalibrationError",
    "ClassF1",
    "CorpusScore",
    "ExactMatch",
    "JsonValidity",
    "Loss",
    "MeanMetric",
    "Metric",
    "Perplexity",
    "Rouge",
    "SampleMean",
    "TokenF1",
    "canonical",
    "create",
    "higher_is_better",
    "is_registered",
    "names",
    "normalize_answer",
    "register",
    "sequence_nll",
    "suggest",
    "token_f1",
]
