"""Metrics of generated text: ``predictions``, a text for each sample, against ``references``, a text or several."""

from __future__ import annotations

import json
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bem_core.evaluation.errors import EvaluationError
from bem_core.evaluation.registry import Metric, register
from bem_core.evaluation.sums import Mean, SumState
from bem_core.utils.extras import import_extra

_ARTICLES = frozenset(("a", "an", "the"))
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(text: str) -> str:
    """Lower-case a text and drop punctuation, articles and superfluous white space.

    That is ``normalize_answer`` of the evaluation script of SQuAD 1.1 (Rajpurkar et al. 2016,
    https://rajpurkar.github.io/SQuAD-explorer/).
    """
    return " ".join(word for word in text.lower().translate(_PUNCTUATION).split() if word not in _ARTICLES)


def token_f1(prediction: str, reference: str) -> float:
    """Return the harmonic mean of precision and recall over the words of normalised texts.

    That of the evaluation script of SQuAD 2.0: where one text has no word, 1 if the other has none either, else 0.
    """
    predicted, expected = normalize_answer(prediction).split(), normalize_answer(reference).split()
    if not predicted or not expected:
        return float(predicted == expected)
    common = sum((Counter(predicted) & Counter(expected)).values())
    return 2 * common / (len(predicted) + len(expected))


def _text_pairs(values: Mapping[str, Any], num_samples: int) -> list[tuple[str, Sequence[str]]]:
    """Return each prediction with its references."""
    predictions = _texts("predictions", values["predictions"], num_samples)
    references = values["references"]
    _check_length("references", references, num_samples)
    pairs: list[tuple[str, Sequence[str]]] = []
    for prediction, reference in zip(predictions, references, strict=True):
        several = (reference,) if isinstance(reference, str) else reference
        if not isinstance(several, list | tuple) or not several or not all(isinstance(one, str) for one in several):
            raise EvaluationError(f"'references' holds {reference!r:.60}; expected a text or a list of texts a sample")
        pairs.append((prediction, several))
    return pairs


def _texts(name: str, texts: Any, num_samples: int) -> Sequence[str]:
    _check_length(name, texts, num_samples)
    for text in texts:
        if not isinstance(text, str):
            raise EvaluationError(f"{name!r} holds a {type(text).__name__}; expected a text a sample")
    return list(texts)


def _check_length(name: str, values: Any, num_samples: int) -> None:
    if not isinstance(values, list | tuple):
        raise EvaluationError(f"{name!r} is a {type(values).__name__}; expected a list with a text a sample")
    if len(values) != num_samples:
        raise EvaluationError(f"{name!r} has {len(values)} entries for a batch of {num_samples} samples")


class SampleMean(Metric):
    """Mean over samples of one number or several, by name; a metric says what the numbers of a sample are."""

    def __init__(self, *names: str) -> None:
        self._means = {name: Mean() for name in names}

    def add(self, rows: Iterable[Sequence[float]], num_samples: int) -> None:
        """Add the numbers of each sample of a batch, in the order of the names."""
        for mean, column in zip(self._means.values(), zip(*rows, strict=True), strict=True):
            mean.add(column, num_samples)

    def state(self) -> list[tuple[SumState, SumState]]:
        """Return sums and counts."""
        return [mean.state() for mean in self._means.values()]

    def merge(self, state: list[tuple[SumState, SumState]]) -> None:
        """Add sums and counts."""
        for mean, one in zip(self._means.values(), state, strict=True):
            mean.merge(one)

    def compute(self) -> dict[str, float]:
        """Return the means."""
        return {name: mean.value() for name, mean in self._means.items() if not mean.empty}


@register("exact_match", "em")
class ExactMatch(SampleMean):
    """Share of predictions that equal a reference after `normalize_answer`."""

    needs = ("predictions", "references")

    def __init__(self) -> None:
        super().__init__("exact_match")

    def update(self, values: Mapping[str, Any], num_samples: int) -> None:
        """Compare the texts of a batch."""
        rows = []
        for prediction, references in _text_pairs(values, num_samples):
            wanted = normalize_answer(prediction)
            rows.append((float(any(wanted == normalize_answer(one) for one in references)),))
        self.add(rows, num_samples)


@register("token_f1", "f1", "f1_score")
class TokenF1(SampleMean):
    """Mean over samples of the best `token_f1` with one of the references."""

    needs = ("predictions", "references")

    def __init__(self) -> None:
        super().__init__("token_f1")

    def update(self, values: Mapping[str, Any], num_samples: int) -> None:
        """Compare the texts of a batch."""
        pairs = _text_pairs(values, num_samples)
        self.add(((max(token_f1(text, one) for one in references),) for text, references in pairs), num_samples)


@register("json_validity")
class JsonValidity(SampleMean):
    """Share of predictions that are JSON as RFC 8259 has it, so without ``NaN`` and ``Infinity``."""

    needs = ("predictions",)

    def __init__(self) -> None:
        super().__init__("json_validity")

    def update(self, values: Mapping[str, Any], num_samples: int) -> None:
        """Parse the texts of a batch."""
        texts = _texts("predictions", values["predictions"], num_samples)
        self.add(((float(_is_json(text)),) for text in texts), num_samples)


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _is_json(text: str) -> bool:
    try:
        json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


class Rouge(SampleMean):
    """Mean over samples of the F-measure of ROUGE (Lin 2004), from 0 to 1, of the best reference.

    By the package rouge-score, without stemming.
    """

    needs = ("predictions", "references")

    def __init__(self, *kinds: str) -> None:
        super().__init__(*kinds)
        module = import_extra("rouge_score.rouge_scorer", "eval", f"the metric {kinds[0]!r}")
        self._kinds = kinds
        self._scorer = module.RougeScorer(list(kinds), use_stemmer=False)

    def update(self, values: Mapping[str, Any], num_samples: int) -> None:
        """Score the texts of a batch."""
        self.add((self._score(*pair) for pair in _text_pairs(values, num_samples)), num_samples)

    def _score(self, prediction: str, references: Sequence[str]) -> list[float]:
        scores = [self._scorer.score(one, prediction) for one in references]
        return [max(score[kind].fmeasure for score in scores) for kind in self._kinds]


register("rouge")(lambda: Rouge("rouge1", "rouge2", "rougeL"))
register("rouge1", "rouge_1")(lambda: Rouge("rouge1"))
register("rouge2", "rouge_2")(lambda: Rouge("rouge2"))
register("rougeL", "rougel", "rouge_l")(lambda: Rouge("rougeL"))


class CorpusScore(Metric):
    """A score of sacrebleu over the whole corpus, from 0 to 100, as Post (2018, https://aclanthology.org/W18-6319).

    It keeps sums of n-gram counts. They come from the methods that sacrebleu's own resampling is made of, because its
    public ones take a whole corpus at once; the scores equal those of ``corpus_score``.

    Args:
        kind: Name of a class in ``sacrebleu.metrics``.
        name: Name of the value.
        options: Arguments of the class.
    """

    needs = ("predictions", "references")

    def __init__(self, kind: str, name: str, **options: Any) -> None:
        module = import_extra("sacrebleu.metrics", "eval", f"the metric {name!r}")
        self._name = name
        self._scorer = getattr(module, kind)(**options)
        self._sums: list[float] = []

    def update(self, values: Mapping[str, Any], num_samples: int) -> None:
        """Count the n-grams of a batch."""
        pairs = _text_pairs(values, num_samples)
        most = max(len(references) for _, references in pairs)
        streams = [[refs[number] if number < len(refs) else None for _, refs in pairs] for number in range(most)]
        for counts in self._scorer._extract_corpus_statistics([text for text, _ in pairs], streams):
            self.merge(counts)

    def state(self) -> list[float]:
        """Return the sums of counts."""
        return self._sums

    def merge(self, state: list[float]) -> None:
        """Add counts."""
        if self._sums and state:
            self._sums = [one + other for one, other in zip(self._sums, state, strict=True)]
        else:
            self._sums = self._sums or list(state)

    def compute(self) -> dict[str, float]:
        """Return the score of all texts together."""
        if not self._sums:
            return {}
        return {self._name: float(self._scorer._aggregate_and_compute([self._sums]).score)}


register("bleu", "bleu_score", "sacrebleu")(lambda: CorpusScore("BLEU", "bleu"))
register("chrf", "chrf_score")(lambda: CorpusScore("CHRF", "chrf"))
register("chrf++", "chrfpp")(lambda: CorpusScore("CHRF", "chrf++", word_order=2))
