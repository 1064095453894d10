from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU, CHRF

from bem_core.errors import BemError
from bem_core.evaluation import metrics
from bem_core.evaluation.errors import EvaluationError
from bem_core.utils.extras import MissingExtraError

TENSOR = torch.tensor


def value(name: str, *batches: Mapping[str, Any]) -> dict[str, float]:
    """Return a metric over batches that all went through one object."""
    metric = metrics.create(name)
    for batch in batches:
        metric.update(batch, len(next(iter(batch.values()))))
    return metric.compute()


def merged(name: str, *batches: Mapping[str, Any]) -> dict[str, float]:
    """Return a metric over batches that each went through an object of their own."""
    whole = metrics.create(name)
    for batch in batches:
        part = metrics.create(name)
        part.update(batch, len(next(iter(batch.values()))))
        whole.merge(part.state())
    whole.merge(metrics.create(name).state())
    return whole.compute()


def texts(predictions: Sequence[str], references: Sequence[str | list[str]]) -> dict[str, Any]:
    return {"predictions": list(predictions), "references": list(references)}


@pytest.mark.parametrize(
    ("prediction", "references", "exact", "f1"),
    [
        pytest.param("The Eiffel Tower!", "eiffel tower", 1, 1, id="normalised"),
        # Two of three words and two of two: P = 2/3, R = 1, F1 = 0.8.
        pytest.param("big eiffel tower", "eiffel tower", 0, 0.8, id="overlap"),
        pytest.param("red red", "red blue", 0, 0.5, id="a word counts once for each time that it is there"),
        pytest.param("Paris", ["London", "in Paris"], 0, 2 / 3, id="best reference"),
        pytest.param("Paris", ["London", "Paris"], 1, 1, id="any reference"),
        pytest.param("the", "a", 1, 1, id="nothing is left of both"),
        pytest.param("the", "cat", 0, 0, id="nothing is left of one"),
        pytest.param("", "cat", 0, 0, id="empty"),
    ],
)
def test_answers_as_in_squad(prediction: str, references: Any, exact: float, f1: float) -> None:
    batch = texts([prediction], [references])
    assert value("EM", batch) == {"exact_match": exact}
    assert value("f1_score", batch) == {"token_f1": pytest.approx(f1)}


# From the README of sacrebleu, "Using SacreBLEU from Python": three systems' lines with two references each.
REFS = [
    ["The dog bit the man.", "The dog had bit the man."],
    ["It was not unexpected.", "No one was surprised."],
    ["The man bit him first.", "The man had bitten the dog."],
]
SYSTEM = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]


def test_bleu_and_chrf_are_those_of_the_documentation_of_sacrebleu() -> None:
    assert value("BLEU", texts(SYSTEM, REFS))["bleu"] == pytest.approx(48.530827, abs=1e-5)
    assert value("chrF", texts(SYSTEM, REFS))["chrf"] == pytest.approx(59.73, abs=0.005)


@pytest.mark.parametrize(("name", "scorer"), [("bleu", BLEU()), ("chrf", CHRF()), ("chrf++", CHRF(word_order=2))])
def test_batches_score_as_the_corpus_and_not_as_their_mean(name: str, scorer: Any) -> None:
    uneven = [*REFS[:2], REFS[2][:1]]
    streams = [[refs[0] for refs in uneven], [refs[1] if len(refs) > 1 else None for refs in uneven]]
    expected = scorer.corpus_score(SYSTEM, streams).score
    halves = texts(SYSTEM[:1], uneven[:1]), texts(SYSTEM[1:], uneven[1:])
    assert value(name, *halves) == merged(name, *halves) == {name: expected}


def test_rouge_by_hand() -> None:
    # 'the cat sat' against 'the cat was here': unigrams 2 of 3 and 2 of 4, bigrams 1 of 2 and 1 of 3, longest
    # common subsequence 2.
    batch = texts(["the cat sat"], ["the cat was here"])
    expected = {"rouge1": 4 / 7, "rouge2": 2 / 5, "rougeL": 4 / 7}
    assert value("rouge", batch) == pytest.approx(expected)
    assert value("rouge_l", batch) == pytest.approx({"rougeL": 4 / 7})


def test_rouge_takes_the_best_reference_for_each_kind() -> None:
    assert value("rouge2", texts(["a b c"], [["x", "a b c", "a b"]])) == {"rouge2": 1.0}


@pytest.mark.parametrize(
    ("text", "valid"), [('{"a": [1]}', 1), ("3", 1), ("{'a': 1}", 0), ("NaN", 0), ("", 0), ("[" * 9999, 0)]
)
def test_json(text: str, valid: int) -> None:
    assert value("json_validity", {"predictions": [text]}) == {"json_validity": valid}


def test_perplexity_weights_by_tokens() -> None:
    # One token of probability 1/2 and three of 1/8: exp((ln 2 + 3 ln 8) / 4) = 2 ** 2.5.
    short = {"nll": TENSOR([math.log(2)], dtype=torch.float64), "num_tokens": TENSOR([1])}
    long = {"nll": TENSOR([3 * math.log(8)], dtype=torch.float64), "num_tokens": TENSOR([3])}
    assert value("ppl", short, long)["perplexity"] == pytest.approx(2**2.5, rel=1e-12)
    assert value("perplexity", {"nll": TENSOR([1e6]), "num_tokens": TENSOR([1])}) == {"perplexity": math.inf}


def test_sequence_nll_shifts_and_ignores() -> None:
    # All scores equal, so each token has probability 1/5; the last position predicts nothing.
    logits = torch.zeros(2, 4, 5, dtype=torch.bfloat16)
    labels = TENSOR([[0, 1, 2, 3], [0, 1, -100, -100]])
    nll, tokens = metrics.sequence_nll(logits, labels)
    assert tokens.tolist() == [3, 1]
    torch.testing.assert_close(nll, TENSOR([3 * math.log(5), math.log(5)]))


def test_sequence_nll_is_that_of_one_big_softmax() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 700, 7, generator=generator)
    labels = torch.randint(7, (3, 700), generator=generator)
    nll, _ = metrics.sequence_nll(logits, labels, shift=False)
    expected = -logits.log_softmax(-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1).sum(1)
    torch.testing.assert_close(nll, expected)


def test_accuracy_counts_what_has_a_label() -> None:
    first = {"predictions": TENSOR([[1, 2], [3, -100]]), "labels": TENSOR([[1, 0], [3, -100]])}
    assert value("acc", first) == {"accuracy": 2 / 3}


def test_f1_over_classes_by_hand() -> None:
    # Class 0: precision 1, recall 1/2, F1 2/3. Class 1: precision 1/2, recall 1, F1 2/3. Class 2 is only guessed: 0.
    batches = (
        {"predictions": TENSOR([0, 1]), "labels": TENSOR([0, 0])},
        {"predictions": TENSOR([1, 2]), "labels": TENSOR([1, -100])},
        {"predictions": TENSOR([2]), "labels": TENSOR([1])},
    )
    # With the last: class 1 has precision 1/2, recall 1/2, F1 1/2; class 2 F1 0.
    expected = (2 / 3 + 1 / 2 + 0) / 3
    assert value("macro_f1", *batches)["macro_f1"] == pytest.approx(expected)
    assert merged("weighted_f1", *batches)["weighted_f1"] == pytest.approx((2 * 2 / 3 + 2 * 1 / 2) / 4)
    assert value("micro_f1", *batches)["micro_f1"] == pytest.approx(0.5)


def test_calibration_by_hand() -> None:
    # Bin (0.6, 0.667]: two samples of confidence 0.65, one right: gap 0.15. Bin (0.933, 1]: one of 1.0, right: gap 0.
    probabilities = TENSOR([[0.65, 0.35], [0.65, 0.35], [0.0, 1.0]], dtype=torch.float64)
    batch = {"probabilities": probabilities, "labels": TENSOR([0, 1, 1])}
    assert value("ece", batch)["calibration_error"] == pytest.approx(2 / 3 * 0.15, abs=1e-6)


def test_outputs_may_be_overwritten_by_those_of_the_next_batch() -> None:
    predictions, labels, loss = TENSOR([1, 2]), TENSOR([1, 1]), TENSOR([0.5, 0.5])
    accuracy, mean = metrics.create("accuracy"), metrics.create("loss")
    for _ in range(3):
        accuracy.update({"predictions": predictions, "labels": labels}, 2)
        mean.update({"loss": loss}, 2)
        predictions += 5
        loss += 1
    assert (accuracy.compute(), mean.compute()) == ({"accuracy": 1 / 6}, {"loss": 1.5})


def test_a_loss_of_a_batch_counts_for_each_of_its_samples() -> None:
    metric = metrics.create("loss")
    metric.update({"loss": TENSOR(1.0)}, 3)
    metric.update({"loss": TENSOR([2.0])}, 1)
    metric.update({"loss": TENSOR([4.0, 0.0])}, 2)
    assert metric.compute() == {"loss": (3 + 2 + 4) / 6}


WORDS = st.lists(st.sampled_from(["the", "cat", "sat", "on", "mats.", "{}"]), max_size=6).map(" ".join)


@given(st.lists(st.tuples(WORDS, st.lists(WORDS, min_size=1, max_size=2)), min_size=2, max_size=8), st.data())
def test_shards_of_texts_merge_to_the_same_bits(pairs: list[tuple[str, list[str]]], data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(pairs) - 1))
    parts = [texts(*zip(*part, strict=True)) for part in (pairs[:cut], pairs[cut:])]
    whole = texts(*zip(*pairs, strict=True))
    for name in ("em", "f1", "bleu", "chrf", "rouge", "json_validity"):
        assert value(name, whole) == merged(name, *reversed(parts)), name


@given(st.integers(2, 9), st.integers(0, 10**6), st.data())
def test_shards_of_classes_merge_to_the_same_bits(size: int, seed: int, data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, size - 1))
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.rand(size, 4, generator=generator).softmax(1)
    whole = {
        "predictions": probabilities.argmax(1),
        "probabilities": probabilities,
        "labels": torch.randint(4, (size,), generator=generator),
        "nll": torch.rand(size, generator=generator),
        "num_tokens": torch.randint(1, 9, (size,), generator=generator),
        "loss": torch.rand(size, generator=generator),
    }
    parts = [{key: tensor[part] for key, tensor in whole.items()} for part in (slice(cut), slice(cut, None))]
    for name in ("accuracy", "macro_f1", "ece", "perplexity", "loss"):
        assert value(name, whole) == merged(name, *reversed(parts)), name


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("EM", "exact_match"),
        ("em", "exact_match"),
        ("F1", "token_f1"),
        ("f1_score", "token_f1"),
        ("BLEU", "bleu"),
        ("bleu_score", "bleu"),
        ("chrF", "chrf"),
        ("chrf_score", "chrf"),
        ("rouge_l", "rougeL"),
        ("eval_loss", "loss"),
        ("eval_F1", "token_f1"),
        ("flip_rate", "flip_rate"),
        ("eval_flip_rate", "flip_rate"),
    ],
)
def test_spellings(written: str, name: str) -> None:
    assert metrics.canonical(written) == name


def test_a_metric_of_ones_own() -> None:
    with pytest.raises(ValueError, match="there is already a metric 'em'"):
        metrics.register("something_new", "em")(metrics.ExactMatch)
    with pytest.raises(EvaluationError, match=r"no metric 'exact_macth'; did you mean 'exact_match'\?"):
        metrics.create("exact_macth")


@pytest.mark.parametrize(
    ("name", "batch", "message"),
    [
        ("em", {"predictions": ["a"], "references": ["a", "b"]}, "'references' has 2 entries for a batch of 1"),
        ("em", {"predictions": [3], "references": ["a"]}, "'predictions' holds a int; expected a text a sample"),
        ("em", {"predictions": ["a"], "references": [[]]}, "expected a text or a list of texts"),
        ("em", {"predictions": TENSOR([1]), "references": ["a"]}, "'predictions' is a Tensor"),
        (
            "accuracy",
            {"predictions": TENSOR([0.5]), "labels": TENSOR([1])},
            "expected classes in the shape of 'labels'",
        ),
        (
            "accuracy",
            {"predictions": TENSOR([1]), "labels": TENSOR([[1]])},
            "expected classes in the shape of 'labels'",
        ),
        ("ece", {"probabilities": TENSOR([[2.0, 0]]), "labels": TENSOR([1])}, "'probabilities' holds 2"),
        ("ece", {"probabilities": TENSOR([[math.nan, 0]]), "labels": TENSOR([1])}, "'probabilities' holds nan"),
        ("ece", {"probabilities": TENSOR([0.5]), "labels": TENSOR([1])}, r"expected \(B, C\) and \(B,\)"),
        ("loss", {"loss": TENSOR([1.0, 2.0, 3.0, 4.0, 5.0])[:3].repeat(2)[:5]}, None),
    ],
)
def test_input_that_is_not_what_a_metric_takes(name: str, batch: dict[str, Any], message: str | None) -> None:
    if message is None:
        metric = metrics.create(name)
        with pytest.raises(EvaluationError, match="'loss' has 5 numbers; expected one, or 2"):
            metric.update(batch, 2)
        return
    with pytest.raises(EvaluationError, match=message):
        value(name, batch)


@pytest.mark.parametrize(
    ("name", "package"), [("bleu", "sacrebleu"), ("rouge", "rouge_score"), ("macro_f1", "sklearn")]
)
def test_a_missing_package_names_the_extra(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [one for one in sys.modules if one.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"the metric '{name}\w*' needs {package}: .*\[eval\]"):
        metrics.create(name)
    assert issubclass(MissingExtraError, BemError)


def test_importing_loads_no_library_of_metrics() -> None:
    code = "import bem_core.evaluation.gates, bem_core.evaluation.statistics, sys\nprint(*sys.modules)"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "torch" in loaded
    assert not loaded & {"sacrebleu", "rouge_score", "nltk", "sklearn", "scipy", "torchmetrics"}


def test_every_metric_is_documented() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    table = text.partition("## Metrics")[2].partition("## Statistics")[0]
    assert [name for name in metrics.names() if f"`{name}`" not in table] == []
