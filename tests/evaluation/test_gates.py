from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from bem_core.config import load_experiment_config
from bem_core.config.base_config import BudgetConfig, ExperimentConfig
from bem_core.evaluation import EvaluationResult, gates
from bem_core.evaluation.costs import count_flops, count_parameters, forward_flops
from bem_core.evaluation.errors import EvaluationError
from bem_core.evaluation.gates import FAIL, NOT_MEASURED, PASS
from bem_core.evaluation.result import LatencyStats, SliceResult

FOUND = {
    "exact_match": 0.51,
    "token_f1": 0.6,
    "loss": 2.0,
    "accuracy": 0.9,
    "num_samples": 100.0,
    "latency_p50_ms": 110.0,
    "peak_device_memory_bytes": 1.04e9,
    "cache_hit_rate": 0.82,
    "kv_hit_rate": 0.79,
    "flip_rate": 0.2,
    "num_parameters": 1.03e6,
    "flops": 9.6e8,
    "reward_improvement": 0.02,
    "slice_b/exact_match": 0.3,
}
BASELINE = {
    "exact_match": 0.50,
    "token_f1": 0.6,
    "loss": 2.5,
    "latency_p50_ms": 100.0,
    "peak_device_memory_bytes": 1e9,
    "zero": 0.0,
    "slice_b/exact_match": 0.4,
}

# Each as an experiment of BEM writes it, but for the last group, which is the plain form.
CASES = [
    pytest.param({"min_eval_samples": 100}, [PASS], id="samples"),
    pytest.param({"min_eval_samples": 101}, [FAIL], id="too few samples"),
    pytest.param({"max_eval_loss": 2.0}, [PASS], id="loss"),
    pytest.param({"max_eval_loss": 1.9}, [FAIL], id="loss too high"),
    pytest.param({"max_latency_ms": 50}, [FAIL], id="latency"),
    pytest.param({"min_alignment": 0.7}, [NOT_MEASURED], id="a metric that is not there"),
    pytest.param({"flip_rate_max": 0.25}, [PASS], id="max behind"),
    pytest.param({"flip_rate_limit": 0.1}, [FAIL], id="limit"),
    pytest.param({"flip_rate_limit": "1e-1"}, [FAIL], id="a number as text"),
    pytest.param({"convergence_patience": 100}, [NOT_MEASURED], id="neither min nor max"),
    pytest.param({"min_reward_improvement": 0.01}, [PASS], id="the improvement itself was measured"),
    pytest.param({"min_loss_improvement": 0.4}, [PASS], id="a loss improves when it falls"),
    pytest.param({"max_accuracy_degradation_pct": 1}, [NOT_MEASURED], id="no baseline"),
    pytest.param({"max_zero_increase_pct": 1}, [NOT_MEASURED], id="not measured here"),
    pytest.param({"kv_hit_rate": "≥ 80%"}, [FAIL], id="text: percent of a share"),
    pytest.param({"latency_budget": "p50 ≤ +15%"}, [PASS], id="text: increase"),
    pytest.param({"latency_budget": "p50 <= +5%"}, [FAIL], id="text: increase too great"),
    pytest.param({"latency_budget": "p50 <= -5%"}, [FAIL], id="text: must fall"),
    pytest.param({"vram_delta": "≤ ±5%"}, [PASS], id="text: to either side"),
    pytest.param({"leak_rate": "negligible"}, [NOT_MEASURED], id="text: not a comparison"),
    pytest.param({"quality": {"requirement": "flip_rate < 0.2"}}, [FAIL], id="text: strictly less"),
    pytest.param({"quality": {"requirement": "flip_rate == 0.2"}}, [PASS], id="text: equal"),
    pytest.param(
        {"latency_budget": {"enabled": True, "metric": "p50_latency_ms", "max_increase_pct": 15.0}}, [PASS], id="group"
    ),
    pytest.param({"latency_budget": {"enabled": False, "max_increase_pct": 1.0}}, [], id="disabled"),
    pytest.param({"vram_budget": {"enabled": True, "max_delta_pct": 5.0}}, [PASS], id="metric from the group"),
    pytest.param({"cache_performance": {"min_hit_rate_pct": 80.0}}, [PASS], id="percent of a share, by group"),
    pytest.param({"routing_stability": {"max_flip_rate": 0.1}}, [FAIL], id="own name in a group"),
    pytest.param({"contradiction_detection": {"min_accuracy": 0.8}}, [NOT_MEASURED], id="not the accuracy of all"),
    pytest.param(
        {"baseline_threshold": {"metrics": ["EM", "F1"], "min_improvement_pct": 1.0}}, [PASS, FAIL], id="metrics"
    ),
    pytest.param({"baseline_threshold": {"enabled": True, "metrics": ["EM"]}}, [NOT_MEASURED], id="no bound"),
    pytest.param(
        {"param_parity": {"baseline_params": 1e6, "baseline_flops": 1e9, "tolerance_pct": 3.5}},
        [PASS, FAIL],
        id="parity",
    ),
    pytest.param(
        {"param_parity": {"baseline_params": None, "tolerance_pct": 5}}, [NOT_MEASURED], id="parity with null"
    ),
    pytest.param({"stack_validation": {"slice_b_improvement": True}}, [NOT_MEASURED], id="must be true"),
    pytest.param({"stack_validation": {"slice_b_improvement": False, "min_flip_rate": 0}}, [PASS], id="need not be"),
    pytest.param({"a": {"b": {"enabled": True, "max_flip_rate": 0.3}}}, [PASS], id="groups in groups"),
    pytest.param({"mine": {"metric": "EM", "min": 0.5, "max": 0.505}}, [PASS, FAIL], id="min and max"),
    pytest.param({"mine": {"metric": "EM", "slice": "slice_b", "min": 0.5}}, [FAIL], id="in a slice"),
    pytest.param({"mine": {"metric": "EM", "slice": "slice_c", "min": 0.5}}, [NOT_MEASURED], id="no such slice"),
    pytest.param({"mine": {"metric": "EM", "slice": "slice_b", "max_drop": 0.05}}, [FAIL], id="drop in a slice"),
    pytest.param({"mine": {"metric": "EM", "min_reduction": 0.0}}, [FAIL], id="reduction"),
    pytest.param(
        {"mine": {"metric": "EM", "lower_is_better": True, "max_degradation_pct": 1}}, [FAIL], id="direction declared"
    ),
    pytest.param({"odd": [1, 2]}, [NOT_MEASURED], id="a list"),
    pytest.param({}, [], id="none"),
]


@pytest.mark.parametrize(("section", "statuses"), CASES)
def test_gates(section: dict[str, Any], statuses: list[str]) -> None:
    report = gates.check_gates(section, FOUND, BASELINE)
    assert [one.status for one in report.results] == statuses
    assert report.passed == all(status == PASS for status in statuses)
    json.dumps(report.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("section", "line"),
    [
        (
            {"latency_budget": {"metric": "p50_latency_ms", "max_increase_pct": 15.0}},
            "pass          quality_gates.latency_budget.max_increase_pct: p50_latency_ms is 110 after 100, increase of "
            "+10%, <= +15% is met",
        ),
        (
            {"kv_hit_rate": "≥ 80%"},
            "fail          quality_gates.kv_hit_rate: kv_hit_rate is 79%, >= 80% is not met",
        ),
        (
            {"routing_stability": {"max_entropy": 1}},
            "not measured  quality_gates.routing_stability.max_entropy: there is no 'routing_stability_entropy' or "
            "'routing_entropy' or 'entropy' among the results",
        ),
        (
            {"max_zero_increase_pct": 1},
            "not measured  quality_gates.max_zero_increase_pct: zero is 1, and a share of the baseline cannot be told "
            "because that is 0",
        ),
        (
            {"min_accuracy_improvement": 0.1},
            "not measured  quality_gates.min_accuracy_improvement: accuracy is 0.9, and there is no baseline to "
            "compare it with",
        ),
    ],
)
def test_reasons(section: dict[str, Any], line: str) -> None:
    report = gates.check_gates(section, {**FOUND, "zero": 1.0}, BASELINE)
    assert str(report.results[0]) == line


def test_metrics_as_a_trainer_names_them() -> None:
    section = {"max_eval_loss": 2, "max_loss": 2, "mine": {"metric": "EM", "min": 0.6, "max_degradation_pct": 30}}
    report = gates.check_gates(section, {"eval_loss": 1.5, "eval_exact_match": 0.5}, {"eval_exact_match": 0.8})
    assert [one.status for one in report.results] == [PASS, PASS, FAIL, FAIL]


def test_nan_passes_nothing() -> None:
    for section in ({"min_bleu": 0}, {"max_bleu": 0}, {"bleu": "== 0"}, {"mine": {"metric": "bleu", "max_delta": 9}}):
        report = gates.check_gates(section, {"bleu": float("nan")}, {"bleu": 1.0})
        assert [one.status for one in report.results] == [FAIL]


def test_require_names_what_failed() -> None:
    gates.check_gates({"min_alignment": 1}, FOUND).require()
    with pytest.raises(EvaluationError) as raised:
        gates.check_gates({"max_eval_loss": 1, "min_eval_samples": 1, "max_flip_rate": 0}, FOUND).require()
    lines = str(raised.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["quality_gates.max_eval_loss", "quality_gates.max_flip_rate"]


@pytest.mark.parametrize(
    ("budget", "statuses"),
    [
        pytest.param({}, [], id="none"),
        pytest.param({"baseline_params": 10**6}, [PASS], id="five percent by itself"),
        pytest.param({"baseline_params": 1_090_000}, [FAIL], id="too few parameters"),
        pytest.param({"baseline_params": 10**6, "parameter_tolerance": 0.02}, [FAIL], id="too many"),
        pytest.param({"baseline_flops": 10**9}, [PASS], id="operations"),
        pytest.param({"baseline_flops": 10**9, "flops_tolerance": 0.03}, [FAIL], id="too few operations"),
        pytest.param({"baseline_memory_mb": 2000.0, "memory_tolerance": 0.1}, [PASS], id="less memory"),
        pytest.param({"baseline_memory_mb": 900.0, "memory_tolerance": 0.1}, [FAIL], id="more memory"),
        pytest.param({"parameter_tolerance": 0.05}, [NOT_MEASURED], id="no baseline"),
        pytest.param({"memory_tolerance": 0.03}, [FAIL], id="baseline from its results"),
        pytest.param({"params": {"latency_overhead_tolerance": 0.02}}, [FAIL], id="overhead"),
        pytest.param(
            {"baseline_params": 10**6, "params": {"max_param_increase_pct": 2.0}}, [PASS, FAIL], id="increase"
        ),
        pytest.param({"params": {"fixed_flops": True, "cache_safety": "text", "approx_flops": 3}}, [], id="no bounds"),
    ],
)
def test_budgets(budget: dict[str, Any], statuses: list[str]) -> None:
    report = gates.check_budget(BudgetConfig(**budget), FOUND, BASELINE)
    assert [one.status for one in report.results] == statuses


def test_an_experiment_has_both() -> None:
    result = EvaluationResult(
        {"loss": 1.0, "num_parameters": 105.0},
        num_samples=10,
        latency=LatencyStats(1, 9, 9, 9, 9, 9, 9),
        slices={"slice_b": SliceResult(4, {"exact_match": 0.5})},
    )
    config = ExperimentConfig(
        quality_gates={"max_latency_ms": 10, "b": {"metric": "EM", "slice": "slice_b", "min": 0.5}},
        budget=BudgetConfig(baseline_params=100),
    )
    report = gates.check_experiment(config, result)
    assert [one.key for one in report.results] == [
        "quality_gates.max_latency_ms",
        "quality_gates.b.min",
        "budget.parameter_tolerance",
    ]
    assert report.passed
    assert str(report).endswith("3 pass, 0 fail, 0 not measured")


def test_parameters_are_counted_once() -> None:
    net = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4))
    net[1].weight = net[0].weight
    net[1].bias.requires_grad_(False)
    assert (count_parameters(net), count_parameters(net, trainable_only=True)) == (20, 16)


def test_operations_of_a_forward_pass() -> None:
    net = nn.Sequential(nn.Conv1d(2, 3, kernel_size=5), nn.Flatten(), nn.Linear(12, 7)).train()
    # A convolution of 4 positions: 3 * 2 * 5 products each, then 12 * 7, for each of 6 samples; two a product.
    assert forward_flops(net, torch.zeros(6, 2, 8)) == 2 * 6 * (4 * 3 * 2 * 5 + 12 * 7)
    assert net.training
    flops, made = count_flops(lambda: torch.ones(2, 3) @ torch.ones(3, 5))
    assert (flops, made.shape) == (60, (2, 5))


def test_attention_is_counted() -> None:
    heads = torch.zeros(2, 4, 16, 8)
    flops, _ = count_flops(lambda: nn.functional.scaled_dot_product_attention(heads, heads, heads))
    assert flops == 2 * 2 * 2 * 4 * 16 * 16 * 8


@pytest.mark.parametrize(
    ("layer", "per_position", "more"),
    [
        # Three projections and one back, two layers forward; two products of 5 x 5 for each of 2 heads of width 8.
        (nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 16 * 48 + 16 * 16 + 2 * 16 * 32, 2 * 2 * 25 * 8),
        (nn.LSTM(16, 8, batch_first=True), 4 * (16 * 8 + 8 * 8), 0),
    ],
    ids=["transformer", "recurrent"],
)
def test_layers_that_torch_would_do_in_one_piece(layer: nn.Module, per_position: int, more: int) -> None:
    assert forward_flops(layer, torch.zeros(3, 5, 16)) == 2 * 3 * (5 * per_position + more)
    assert torch.backends.mha.get_fastpath_enabled()


CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus" / "bem" / "experiments"
BEM = sorted(CORPUS.rglob("*.y*ml"))


@pytest.mark.skipif(not BEM, reason="the corpus is not there")
def test_every_experiment_of_bem_has_gates_that_can_be_reported() -> None:
    names = {"flops", "num_parameters", "latency_p50_ms", "exact_match", "token_f1", "bleu", "chrf"}
    found = dict.fromkeys([*names, "peak_device_memory_bytes", "cache_hit_rate"], 1.0)
    statuses = []
    for path in BEM:
        config = load_experiment_config(path, on_dangling="drop", template_dirs=())
        written = yaml.safe_load(path.read_text()).get("quality_gates") or {}
        report = gates.check_experiment(config, found, found)
        on = [key for key, value in written.items() if not isinstance(value, dict) or value.get("enabled", True)]
        reported = {one.key.split(".")[1] for one in report.results if one.key.startswith("quality_gates.")}
        assert reported == set(on), path
        statuses += [one.status for one in report.results]
    assert {PASS, FAIL, NOT_MEASURED} == set(statuses)
    # What is left needs metrics of components.
    assert statuses.count(NOT_MEASURED) / len(statuses) < 0.6
