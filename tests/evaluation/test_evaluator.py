from __future__ import annotations

import itertools
import json
import logging
import math
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import nn

from bem_core.config.base_config import EvaluationConfig
from bem_core.errors import BemError, ConfigError
from bem_core.evaluation import EvaluationResult, base_evaluator, timing
from bem_core.evaluation.errors import EvaluationError
from bem_core.evaluation.result import LatencyStats, SliceResult
from bem_core.utils.device import DeviceError
from tests.evaluation.models import CLASSES, Classifier, batches, model

NAMES = ["accuracy", "loss", "ece", "macro_f1", "confidence"]


def evaluate(data: Any, **config: Any) -> EvaluationResult:
    return Classifier(model(), config).evaluate(data)


def test_metrics_are_those_of_all_samples_at_once() -> None:
    data = batches(5, 1, 3)
    found = evaluate(data, metrics=NAMES)
    net = model().eval()
    with torch.no_grad():
        logits = torch.cat([net(batch["x"]) for batch in data])
    labels = torch.cat([batch["labels"] for batch in data])
    assert (found.num_samples, found.num_batches) == (9, 3)
    assert found.metrics["accuracy"] == (logits.argmax(1) == labels).sum().item() / 9
    losses = nn.functional.cross_entropy(logits, labels, reduction="none").double()
    assert found.metrics["loss"] == pytest.approx(losses.mean().item(), rel=1e-12)
    assert found.metrics["confidence"] == pytest.approx(logits.softmax(1).amax(1).double().mean().item(), rel=1e-7)


def test_batch_sizes_change_nothing() -> None:
    data = batches(12)[0]
    cut = [{key: value[a : a + 1] for key, value in data.items()} for a in range(12)]
    one, other = evaluate([data], metrics=NAMES), evaluate(cut, metrics=NAMES)
    # The matrix products themselves may differ in the last bits.
    assert one.metrics == pytest.approx(other.metrics, rel=1e-6)


@pytest.mark.parametrize(("cap", "samples", "fetched"), [(1, 1, 1), (4, 4, 1), (6, 6, 2), (9, 9, 3), (20, 9, 3)])
def test_the_cap_is_exact_and_fetches_no_more(cap: int, samples: int, fetched: int) -> None:
    taken = []

    def loader() -> Iterator[Any]:
        for batch in batches(4, 4, 1):
            taken.append(batch)
            yield batch

    found = evaluate(loader(), metrics=["accuracy"], num_eval_samples=cap)
    assert (found.num_samples, len(taken)) == (samples, fetched)
    flat = {key: [one for batch in batches(4, 4, 1) for one in batch[key]][:cap] for key in ("x", "labels")}
    first = [{"x": torch.stack(flat["x"]), "labels": torch.stack(flat["labels"])}]
    assert found.metrics == evaluate(first, metrics=["accuracy"]).metrics | {"confidence": found.metrics["confidence"]}


@pytest.mark.parametrize("fails", [False, True])
def test_each_module_gets_its_mode_back(fails: bool) -> None:
    net = model().train()
    net[1].eval()
    evaluator = Classifier(net, {"metrics": ["accuracy"]})
    seen = []
    net[1].register_forward_hook(lambda *_: seen.append(net.training))
    try:
        evaluator.evaluate([*batches(2), {"x": None}] if fails else batches(2))
    except BemError:
        assert fails
    assert [module.training for module in net.modules()] == [True, True, False, True]
    assert seen == [False]


def test_nothing_is_recorded_for_gradients() -> None:
    class Watched(Classifier):
        def _run_inference(self, batch: Any) -> Mapping[str, Any]:
            outputs = super()._run_inference(batch)
            assert outputs["loss"].is_inference()
            return outputs

    Watched(model()).evaluate(batches(2))


@pytest.mark.parametrize("data", [[], batches(0), iter(())])
def test_nothing_to_evaluate(data: Any) -> None:
    with pytest.raises(EvaluationError, match="there is nothing to evaluate: the data loader gave no sample"):
        evaluate(data, metrics=["accuracy"])


def test_metrics_that_nobody_measures_are_all_named_after_one_batch() -> None:
    taken = itertools.count()

    def loader() -> Iterator[Any]:
        for batch in batches(2, 2):
            next(taken)
            yield batch

    with pytest.raises(EvaluationError) as raised:
        evaluate(loader(), metrics=["accuracy", "flip_rate", "confidense"])
    message = str(raised.value)
    assert "nothing measures 'flip_rate'\n" in message
    assert "nothing measures 'confidense'; did you mean 'confidence'?" in message
    assert "_compute_component_metrics of Classifier returns confidence" in message
    assert next(taken) == 1


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({"metrisc": []}, ConfigError, r"evaluation\.metrisc: unknown key; did you mean 'metrics'\?"),
        ({"num_eval_samples": 0, "track_latency": 1}, ConfigError, r"num_eval_samples.*\n.*track_latency"),
        ({"slices": {"a": 1}}, EvaluationError, r"evaluation\.slices\.a"),
    ],
)
def test_wrong_options(config: dict[str, Any], error: type[BemError], message: str) -> None:
    with pytest.raises(error, match=message):
        Classifier(model(), config)


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(DeviceError, match="unknown device 'cpuu'; did you mean 'cpu'"):
        Classifier(model(), None, "cpuu")


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (torch.zeros(2), "_run_inference returned a Tensor; expected a mapping"),
        (
            {"scores": torch.zeros(2)},
            "the metric 'accuracy' needs 'predictions' from the outputs .* 'labels'.* 'scores'",
        ),
    ],
)
def test_outputs_that_do_not_fit(outputs: Any, message: str) -> None:
    class Wrong(Classifier):
        def _run_inference(self, batch: Any) -> Any:
            return outputs

        def _compute_component_metrics(self, outputs: Any, batch: Any) -> dict[str, float]:
            return {}

    with pytest.raises(EvaluationError, match=message):
        Wrong(model(), {"metrics": ["accuracy"]}).evaluate(batches(2))


@pytest.mark.parametrize(
    ("component", "message"),
    [
        ({"accuracy": 1.0}, "returns 'accuracy', which is the name of a metric listed too"),
        ({"spread": torch.zeros(3)}, "returns 3 numbers as 'spread'; expected one, or 2, one a sample"),
    ],
)
def test_component_metrics_that_do_not_fit(component: dict[str, Any], message: str) -> None:
    class Wrong(Classifier):
        def _compute_component_metrics(self, outputs: Any, batch: Any) -> dict[str, Any]:
            return component

    with pytest.raises(EvaluationError, match=message):
        Wrong(model(), {"metrics": ["accuracy"]}).evaluate(batches(2))


def test_slices_have_the_metrics_of_their_samples() -> None:
    data = batches(8, 8, 3)
    slices = {"covered": {"coverage_threshold": 0.5}, "news": {"domain": "news"}, "none": {"min_coverage": 2}}
    found = evaluate(data, metrics=NAMES, slices=slices)
    for name, keep in (
        ("covered", lambda batch, i: batch["coverage"][i] >= 0.5),
        ("news", lambda batch, i: batch["domain"][i] == "news"),
    ):
        rows = [[i for i in range(len(batch["labels"])) if keep(batch, i)] for batch in data]
        part = [{key: batch[key][row] for key in ("x", "labels")} for batch, row in zip(data, rows, strict=True)]
        assert found.slices[name].num_samples == sum(map(len, rows))
        assert found.slices[name].metrics == pytest.approx(evaluate(part, metrics=NAMES).metrics, rel=1e-6)
    assert found.slices["none"] == SliceResult(0, {})


class Clock:
    """Stands in for the clock: each model call takes the next of the given times."""

    def __init__(self, *seconds: float) -> None:
        self._times = iter([time for end in seconds for time in (0.0, end)])

    def perf_counter(self) -> float:
        return next(self._times)


def test_latency_leaves_warm_up_out(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []
    monkeypatch.setattr(timing, "time", Clock(100, 100, *(n / 1000 for n in range(1, 6))))
    monkeypatch.setattr(timing, "synchronize", waits.append)
    found = evaluate(batches(*[2] * 7), track_latency=True, warmup_batches=2).latency
    assert found is not None
    assert (found.num_batches, found.mean_ms, found.tokens_per_s) == (5, pytest.approx(3), None)
    # 1 to 5 ms, linear between them.
    assert [found.p50_ms, found.p90_ms, found.p95_ms, found.p99_ms] == pytest.approx([3, 4.6, 4.8, 4.96])
    assert found.samples_per_s == pytest.approx(10 / 0.015)
    assert len(waits) == 14


def test_without_latency_nobody_waits_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "synchronize", lambda device: pytest.fail("it waits"))
    found = evaluate(batches(2), metrics=["accuracy"])
    assert (found.latency, found.peak_memory_bytes) == (None, None)


def test_only_warm_up_is_no_latency(caplog: pytest.LogCaptureFixture) -> None:
    found = evaluate(batches(2, 2), track_latency=True)
    assert found.latency is None
    assert "all batches were for warm-up" in caplog.text


def test_naming_a_measurement_asks_for_it() -> None:
    found = evaluate(
        batches(4, 4, 4),
        metrics=["latency_p50", "parameter_count", "flop_count"],
        performance_metrics=["p95_latency_ms", "peak_memory_mb", "throughput_samples_per_sec"],
        warmup_batches=0,
    )
    flat = found.flat()
    assert found.latency is not None
    assert found.latency.num_batches == 2  # The batch of which the operations were counted is not timed.
    assert flat["num_parameters"] == 4 * 8 + 8 + 8 * CLASSES + CLASSES
    # Two operations for each product: 4 samples through 4 x 8 and 8 x 3.
    assert flat["flops"] == 2 * 4 * (4 * 8 + 8 * CLASSES)
    assert flat["peak_memory_bytes"] > 10**7
    assert found.not_measured == ()


def test_what_was_listed_and_not_measured_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = evaluate(
            batches(2),
            performance_metrics=["vram_usage_gb", "confidence"],
            robustness_metrics=["stability_score"],
        )
    assert found.not_measured == ("vram_usage_gb", "stability_score")
    assert "not measured, though the configuration lists it: vram_usage_gb, stability_score" in caplog.text


def test_tokens_per_second(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tokens(Classifier):
        def _run_inference(self, batch: Any) -> Mapping[str, Any]:
            return {**super()._run_inference(batch), "num_tokens": torch.full((2,), 5)}

    monkeypatch.setattr(timing, "time", Clock(1, 0.5, 0.5))
    evaluator = Tokens(model(), EvaluationConfig(track_latency=True, warmup_batches=1))
    assert evaluator.evaluate(batches(2, 2, 2)).flat()["throughput_tokens_per_s"] == 20


def test_memory_does_not_grow_with_the_outputs() -> None:
    """All outputs together are 400 MB; none may be kept."""
    alive: list[int] = []

    class Big(Classifier):
        def _run_inference(self, batch: Any) -> Mapping[str, Any]:
            logits = _Counted.make(alive)
            return {**super()._run_inference(batch), "logits": logits}

    data = [batches(2)[0]] * 40
    Big(model(), {"metrics": NAMES}).evaluate(data)
    assert max(alive) <= 2
    assert alive[-1] <= 2


class _Counted:
    living = 0

    def __init__(self) -> None:
        _Counted.living += 1

    def __del__(self) -> None:
        _Counted.living -= 1

    @classmethod
    def make(cls, alive: list[int]) -> _Counted:
        made = cls()
        alive.append(cls.living)
        return made


RESULT = EvaluationResult(
    metrics={"loss": math.inf, "bleu": 12.5, "worst": -math.inf},
    num_samples=3,
    num_batches=2,
    duration_s=0.5,
    latency=LatencyStats(1, 1.0, 1.0, 2.0, 3.0, 4.0, 5.0, None),
    peak_memory_bytes=7,
    memory_of="device",
    slices={"a": SliceResult(1, {"bleu": 1.0}), "b": SliceResult(0)},
    not_measured=("x",),
)


@pytest.mark.parametrize("result", [RESULT, EvaluationResult()])
def test_a_result_goes_through_json(result: EvaluationResult) -> None:
    text = json.dumps(result.to_dict(), allow_nan=False)
    assert EvaluationResult.from_dict(json.loads(text)) == result


def test_nan_goes_through_json() -> None:
    text = json.dumps(EvaluationResult({"loss": math.nan}).to_dict(), allow_nan=False)
    assert math.isnan(EvaluationResult.from_dict(json.loads(text)).metrics["loss"])


def test_a_flat_result_is_all_numbers() -> None:
    flat = RESULT.flat()
    assert all(type(value) is float for value in flat.values())
    assert flat["a/bleu"] == 1.0
    assert flat["b/num_samples"] == 0.0
    assert flat["latency_p99_ms"] == 4.0
    assert flat["peak_device_memory_bytes"] == 7.0


@pytest.mark.parametrize("data", [{"metrcis": {}}, {"latency": {"p50": 1}}, {"slices": 3}])
def test_data_of_something_else_is_no_result(data: dict[str, Any]) -> None:
    with pytest.raises(EvaluationError, match="not the data of an evaluation result"):
        EvaluationResult.from_dict(data)


def test_batches_without_samples_to_count() -> None:
    with pytest.raises(EvaluationError, match="a batch of type str has no tensor or list"):
        evaluate(["abc"])


def test_a_model_without_tensors_is_on_the_cpu() -> None:
    class Constant(base_evaluator.BaseEvaluator):
        def _run_inference(self, batch: Any) -> Mapping[str, Any]:
            return {"predictions": ["a"] * len(batch["references"])}

    evaluator = Constant(nn.Identity(), {"metrics": ["EM", "bleu"]})
    assert evaluator.device == torch.device("cpu")
    assert evaluator.evaluate([{"references": ["a", "b"]}]).metrics["exact_match"] == 0.5
