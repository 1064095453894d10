"""The trainer with an experiment alone: it runs, goes on where it stopped, and says before it begins what is wrong."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from bem2.perftrack.data import markov_chain
from bem2.perftrack.unified_trainer import PerformanceTrainer
from bem2.perftrack.variants import VARIANTS
from bem2.perftrack.wrapping import adapters
from bem_core.config import load_experiment_config
from bem_core.errors import BemError
from bem_core.running import train_and_evaluate
from tests.perftrack.modules import SMALL

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
FILES = ["PT1_head_gating", "v1_dynrank", "v3_kron", "PT4_residual_film"]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def experiment(variant: str = "PT1", **sections: Any) -> dict[str, Any]:
    config: dict[str, Any] = {
        "name": "small",
        "experiment_type": "performance",
        "variant_id": variant,
        "model": {"base_model": "tiny", "hidden_size": 32, "intermediate_size": 64, "vocab_size": 20},
        "training": {"max_steps": 6, "eval_steps": 3, "save_steps": 3, "logging_steps": 3, "batch_size": 8},
        "data": {"max_samples": 40},
        VARIANTS[variant].sections[0]: SMALL[variant],
        "hardware": {"device": "cpu"},
    }
    for name, section in sections.items():
        if isinstance(section, dict):
            config[name] = config.get(name, {}) | section
        elif section is None:
            config.pop(name, None)
        else:
            config[name] = section
    return config


@pytest.mark.parametrize("name", FILES)
def test_an_experiment_of_the_project_runs(tmp_path: Path, name: str) -> None:
    config = load_experiment_config(EXPERIMENTS / f"{name}.yml", ["training.max_steps=4", "training.eval_steps=2"])
    report = train_and_evaluate(PerformanceTrainer(config, tmp_path / "run"))
    assert report.metrics["eval_perplexity"] == pytest.approx(
        torch.tensor(report.metrics["eval_cross_entropy"]).exp().item(), rel=1e-3
    )
    assert report.metrics["eval_trained_share"] < 0.2
    assert [one.status for one in report.gates.results if one.metric == "eval_loss"] == ["pass"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_resumed_run_ends_with_the_same_bytes(tmp_path: Path, variant: str) -> None:
    whole = PerformanceTrainer(experiment(variant), tmp_path / "whole")
    whole.train()
    second = PerformanceTrainer(experiment(variant), tmp_path / "again")
    second.resume_from(tmp_path / "whole" / "checkpoints" / "step-00000003")
    second.train()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name
    assert whole.history == second.history
    for old, new in zip(
        whole.objective.penalty.state().values(), second.objective.penalty.state().values(), strict=True
    ):
        assert torch.equal(old, new)


def test_latency_is_measured_where_it_is_asked_for(tmp_path: Path) -> None:
    asked = {"track_latency": True, "warmup_batches": 1, "performance_metrics": ["parameters"]}
    trainer = PerformanceTrainer(experiment(evaluation=asked), tmp_path / "timed")
    found = trainer.evaluate()
    assert found["eval_latency_p50_ms"] > 0
    assert found["eval_throughput_tokens_per_s"] > 0
    assert found["eval_num_parameters"] == sum(one.numel() for one in trainer.model.parameters())
    assert "eval_latency_p50_ms" not in PerformanceTrainer(experiment(), tmp_path / "plain").evaluate()


def test_a_file_of_texts(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "abcabcabc"}\n' * 20)
    (tmp_path / "val.jsonl").write_text('{"text": "abcabc"}\n' * 4)
    files = {"train_file": str(tmp_path / "train.jsonl"), "validation_file": str(tmp_path / "val.jsonl")}
    data = files | {"max_seq_length": 16}
    trainer = PerformanceTrainer(experiment(data=data, model={"vocab_size": 259}), tmp_path / "run")
    assert trainer.train()["final_metrics"]["eval_num_samples"] == 4
    # Padding is not predicted: eight tokens, of which the first one is given.
    batch = next(iter(trainer.eval_dataloader))
    assert trainer._loss_weight(batch) == 4 * 7


def test_metrics_of_texts(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "aaaaaaaa"}\n' * 64)
    file = str(tmp_path / "train.jsonl")
    config = experiment(
        data={"train_file": file, "validation_file": file, "max_seq_length": 8, "add_special_tokens": False},
        model={"vocab_size": 259},
        evaluation={"metrics": ["exact_match", "perplexity"]},
    )
    trainer = PerformanceTrainer(config, tmp_path / "run")
    trainer.setup_training()
    assert trainer.evaluate()["eval_exact_match"] == 0.0
    trainer.model.head.weight.data.zero_()  # type: ignore[union-attr, operator]
    trainer.model.head.weight.data[ord("a")] = 1.0  # type: ignore[union-attr, index]
    trainer.model.norm.bias.data.fill_(1.0)  # type: ignore[union-attr, operator]
    found = trainer.evaluate()
    assert found["eval_accuracy"] == found["eval_exact_match"] == 1.0


def test_the_synthetic_language_is_made_from_the_seed() -> None:
    tokens = markov_chain(200, 20, 12, seed=1)
    assert torch.equal(tokens, markov_chain(200, 20, 12, seed=1))
    assert not torch.equal(tokens, markov_chain(200, 20, 12, seed=2))
    successors = [tokens[:, 1:][tokens[:, :-1] == word].bincount(minlength=12).float() for word in range(12)]
    assert all(0.8 < one.max() / one.sum() < 0.97 for one in successors)


def test_old_spellings_of_a_section(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    old = {"num_groups": 2, "fro_budget": 0.8, "heads_per_group": 2, "use_attention_stats": True}
    with caplog.at_level(logging.WARNING):
        trainer = PerformanceTrainer(experiment(head_gating=None, pt1_config=old), tmp_path)
        trainer.setup_training()
    assert adapters(trainer.model)[0].config.num_groups == 2
    told = [record.getMessage() for record in caplog.records]
    assert [one.split(" has no effect")[0].split(": ")[1] for one in told] == [
        "pt1_config.fro_budget",
        "pt1_config.heads_per_group",
        "pt1_config.use_attention_stats",
    ]


OLD = sorted((Path(__file__).parents[1] / "legacy_repo/experiments").glob("PT*.yml"))
TINY = ["model.base_model=tiny", "model.hidden_size=64", "model.num_attention_heads=4", "model.num_layers=1"]
TINY += ["data.train_file=null", "training.max_steps=2", "hardware.mixed_precision='no'", "hardware.device=cpu"]


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.stem)
def test_experiments_from_before_the_migration(tmp_path: Path, path: Path) -> None:
    more = ["pt3_config.u_dim=16", "pt3_config.v_dim=16"] if path.stem.startswith("PT3") else []
    config = load_experiment_config(path, [*TINY, *more], on_dangling="drop")
    trainer = PerformanceTrainer(config, tmp_path)
    assert trainer.train()["total_steps"] == 2
    assert type(adapters(trainer.model)[0]) is VARIANTS[path.stem[:3]].adapter


def test_there_are_such_experiments() -> None:
    assert len(OLD) > 8


# What is wrong, and what the error says, with the line of the file; 0 where it is no line's fault.
ERRORS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "variant": ({"variant_id": "PT5"}, ["variant_id: unknown variant 'PT5'; did you mean", "PT"]),
    "variant-far": ({"variant_id": "router"}, ["unknown variant 'router'; there are PT1, PT2, PT3, PT4"]),
    "no-variant": ({"variant_id": None}, ["variant_id: no variant is named; there are PT1, PT2, PT3, PT4"]),
    "target": (
        {"perftrack": {"targets": ["mlp.w_down", "mlp.w_donw"]}},
        ["perftrack.targets.1: no module matches 'mlp.w_donw'; did you mean 'mlp.w_down'?"],
    ),
    "target-far": ({"perftrack": {"targets": ["zzz"]}}, ["there are attention.w_q", "mlp.w_down", "head"]),
    "target-kind": (
        {"perftrack": {"targets": ["layers.0.mlp"]}},
        ["'layers.0.mlp' matches layers.0.mlp, a FeedForward; expected linear layers"],
    ),
    "key": ({"head_gating": {"num_group": 2}}, ["head_gating.num_group: unknown key; did you mean 'num_groups'?"]),
    "value": ({"head_gating": {"num_groups": 0}}, ["head_gating.num_groups: expected an integer at least 1, found 0"]),
    "all-at-once": (
        {"head_gating": {"num_groups": 0}, "perftrack": {"pooling": "sequenc"}},
        ["2 problems", "head_gating.num_groups", "perftrack.pooling", "did you mean 'sequence'?"],
    ),
    "section": ({"head_gatings": {"num_groups": 2}}, ["head_gatings: unknown section; did you mean 'head_gating'?"]),
    "section-of-another": ({"kronecker": {"u_rank": 2}}, ["kronecker: unknown section"]),
    "both-spellings": ({"pt1_config": {"num_groups": 2}}, ["pt1_config: the same settings as head_gating"]),
    "rank": (
        {"head_gating": {"rank_per_group": 33}},
        ["head_gating.rank_per_group: expected at most 32, the outputs of layers.0.attention.w_o"],
    ),
    "kronecker": (
        {"variant_id": "PT3", "head_gating": None, "kronecker": {"u_dim": 7, "u_rank": 9, "v_rank": 9}},
        [
            "kronecker.u_dim: expected u_dim * v_dim = 64, the inputs of layers.0.mlp.w_down, found 448",
            "kronecker.u_rank: expected u_rank * v_rank to be at most 32",
            "kronecker.init_method: svd has 7 vectors",
        ],
    ),
    "mask": (
        {"variant_id": "PT2", "head_gating": None, "dynamic_rank_mask": {"active_rank": 17, "hadamard_dim": 12}},
        [
            "dynamic_rank_mask.active_rank: expected at most total_rank, 16",
            "dynamic_rank_mask.hadamard_dim: expected a power of 2",
        ],
    ),
    "film": (
        {"variant_id": "PT4", "head_gating": None, "residual_film": {"min_gamma": 1.1}},
        ["residual_film.min_gamma: expected 1 to be between"],
    ),
    "term": (
        {"training": {"loss_weights": {"gate_decorelation": 1.0}}},
        ["training.loss_weights.gate_decorelation: the loss has no such term; did you mean 'gate_decorrelation'?"],
    ),
    "budget": (
        {
            "budget": {
                "baseline_params": 1000,
                "parameter_tolerance": 0.05,
                "enforce_constraints": True,
                "abort_on_violation": True,
            }
        },
        ["budget.baseline_params: the model has", "of 1000;", "in 2 adapters"],
    ),
    "file": ({"data": {"train_file": "nowhere.jsonl"}, "model": {"vocab_size": 259}}, ["nowhere.jsonl"]),
    "vocabulary": (
        {"data": {"train_file": "texts.jsonl"}},
        ["model.vocab_size: expected at least 259, the tokens of the tokenizer"],
    ),
    "length": (
        {"data": {"train_file": "texts.jsonl"}, "model": {"vocab_size": 259, "context_length": 8}},
        ["data.max_seq_length: expected at most 8, the context of the model, found 512"],
    ),
    "field": (
        {"data": {"train_file": "wrong.jsonl"}, "model": {"vocab_size": 259}},
        ["wrong.jsonl:2", "expected a field 'text'"],
    ),
}


@pytest.mark.parametrize(("sections", "parts"), ERRORS.values(), ids=ERRORS)
def test_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sections: dict[str, Any], parts: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.jsonl").write_text('{"text": "abc"}\n')
    (tmp_path / "wrong.jsonl").write_text('{"text": "abc"}\n{"txt": "abc"}\n')
    (tmp_path / "x.yml").write_text(yaml.safe_dump(experiment(**{"head_gating": {"num_groups": 4}} | sections)))
    with pytest.raises(BemError) as error:
        PerformanceTrainer(load_experiment_config("x.yml"), tmp_path / "run").train()
    message = str(error.value)
    assert all(part in message for part in parts), message
    if "jsonl" not in parts[0] and sections.get("variant_id", "") is not None:
        assert "x.yml:" in message
    assert not (tmp_path / "run").exists()
