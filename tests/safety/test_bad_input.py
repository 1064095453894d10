"""What a user can get wrong: one error before training, with places and what is possible."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bem2.safety import unified_trainer
from bem2.safety.unified_trainer import SafetyTrainer
from bem_core.errors import BemError, ConfigError, DataError
from tests.parity.safety_task import batches
from tests.safety.runs import experiment

HEAD = "experiment_type: safety\ntraining:\n  max_steps: 1\n"


def message(folder: Path, text: str) -> str:
    path = folder / "one.yml"
    path.write_text(text)
    with pytest.raises(BemError) as error:
        SafetyTrainer(path, folder / "run").setup_training()
    return str(error.value).replace(str(folder), "")


KEYS = {
    "unknown-section": (
        "safety_bases:\n  rank: 4\n",
        "5:9: safety_bases: unknown section; did you mean 'safety_basis'?",
    ),
    "unknown-key": (
        "constraints:\n  max_violations: 1\n",
        "max_violations: unknown key; did you mean 'max_violation_rate'?",
    ),
    "out-of-range": ("constraints:\n  max_violation_rate: 5\n", "expected a number at least 0 and at most 1, found 5"),
    "heads": ("constitutional_scorer:\n  hidden_size: 20\n", "expected a multiple of num_heads, 8"),
    "principle": (
        "constitutional_scorer:\n  principle_weights: {honestly: 2.0}\n",
        "principle_weights.honestly: unknown principle; did you mean 'honesty'?",
    ),
    "domain": ("safety_controller:\n  domain: medicine\n", "unknown domain 'medicine'"),
    "levels": (
        "safety_controller:\n  min_level: 0.9\n  max_level: 0.5\n",
        "min_level: expected at most max_level, 0.5",
    ),
    "multiplier": ("constraints:\n  initial_multiplier: 200\n", "expected 0.001 to 100.0, found 200.0"),
    "rank": ("safety_basis:\n  rank: 65\n", "safety_basis.rank: expected at most the width of the model, 64"),
    "width": ("violation_detector:\n  num_heads: 5\n", "expected a divisor of the width of the model, 64, found 5"),
    "phase": (
        "  params:\n    safety_warmup: 1\n",
        "params.safety_warmup: unknown key; did you mean 'safety_warmup_epochs'?",
    ),
    "old-place": ("safety:\n  lagrangian_constraints: {max_lambda: 1}\n", "expected a section constraints of its own"),
    "no-file": (
        "data:\n  train_file: nowhere.jsonl\n",
        "data.train_file: expected a file, found none at 'nowhere.jsonl'",
    ),
}


@pytest.mark.parametrize(("text", "expected"), KEYS.values(), ids=KEYS)
def test_error_names_the_key_its_line_and_what_is_possible(text: str, expected: str, tmp_path: Path) -> None:
    found = message(tmp_path, HEAD + text)
    assert expected in found
    assert "one.yml:" in found or "nowhere" in found
    assert not (tmp_path / "run").exists()


def test_all_wrong_keys_come_in_one_error(tmp_path: Path) -> None:
    text = (
        "safety_basis:\n  ranks: 4\nconstraints:\n  tolerance: -1\n  check_steps: 0\nviolation_detector:\n  layers: 2\n"
    )
    found = message(tmp_path, HEAD + text)
    places = ("one.yml:5", "one.yml:7", "one.yml:8", "one.yml:10")
    assert [place in found for place in places] == [True] * 4


ROWS = {
    "no-text": ({"violations": []}, "2: expected a field 'text'"),
    "no-violations": (
        {"text": "a", "violation_types": []},
        "expected a field 'violations', or 'violation' with 0 or 1",
    ),
    "type": ({"text": "a", "violations": ["violense"]}, "unknown type 'violense'; did you mean 'violence'?"),
    "severity": ({"text": "a", "violations": {"bias": 5}}, "violations.bias: expected a severity from 1 to 4"),
    "form": ({"text": "a", "violations": "bias"}, "expected types with their severity, a list of types, or 0 or 1"),
    "number": ({"text": "a", "violation": 2}, "or 0 or 1, found 2"),
}


@pytest.mark.parametrize(("row", "expected"), ROWS.values(), ids=ROWS)
def test_error_names_the_line_of_the_data(row: dict[str, Any], expected: str, tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in ({"text": "b", "violation": 0}, row)))
    found = message(tmp_path, f"{HEAD}data:\n  train_file: {path}\n")
    assert "texts.jsonl:2" in found
    assert expected in found


def test_a_batch_without_violations_is_an_error(tmp_path: Path) -> None:
    trainer = SafetyTrainer(experiment(), tmp_path)
    poor = [{name: value for name, value in one.items() if name != "violations"} for one in batches()]
    trainer.setup_training(poor)
    with pytest.raises(DataError, match="lacks violations; it has input_ids, attention_mask, labels"):
        trainer.train()


def test_a_model_without_layers_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flat = nn.Linear(16, 16)
    flat.config = type("Config", (), {"hidden_size": 16, "vocab_size": 24})()
    monkeypatch.setattr(unified_trainer, "load_base_model", lambda config: flat)
    with pytest.raises(ConfigError, match="Linear keeps its layers in no ModuleList"):
        SafetyTrainer(experiment(), tmp_path).setup_training(batches())


def test_a_text_that_is_too_long_is_an_error(tmp_path: Path) -> None:
    trainer = SafetyTrainer(experiment(), tmp_path)
    trainer.setup_training(batches())
    ids = torch.zeros(1, 9, dtype=torch.long)
    with pytest.raises(ValueError, match=r"9 tokens are more than data\.max_seq_length 8"):
        trainer.model(ids, torch.ones_like(ids))
