"""The trainer of the router: experiments run as they are, runs go on, and what is wrong is told before they begin."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from bem2.router.unified_trainer import RouterTrainer
from bem_core.config import load_experiment_config
from bem_core.errors import BemError
from tests.router.jobs import POLICY, experiment
from tests.training.trainers import weights

ROOT = Path(__file__).parents[2]
TASK = {"max_sequence_length": 256, "chunk_size": 64, "eval_episodes": 4}
QUICK = {"num_traces": 12, "chunk_size": 32, "max_chunks_per_trace": 3}


@pytest.mark.parametrize(("name", "metric"), [("AR0_bc", "eval_action_accuracy"), ("AR1_pg", "eval_budget_scale")])
def test_an_experiment_needs_nothing_else(name: str, metric: str, tmp_path: Path) -> None:
    config = load_experiment_config(ROOT / "experiments" / f"{name}.yml", ["training.max_epochs=1"])
    done = RouterTrainer(config, tmp_path).train()
    assert done["total_epochs"] == 1
    assert 0 <= done["final_metrics"][metric] <= 1


def test_metrics_of_a_rollout_are_logged(tmp_path: Path) -> None:
    named = {"metrics_to_log": ["reward", "flip_rate"], "log_frequency": 4}
    sections = {"task_environment": TASK, "logging": named}
    RouterTrainer(experiment("pg", sections, max_epochs=1, batch_size=4), tmp_path).train()
    assert '"reward": ' in (tmp_path / "metrics.jsonl").read_text()


@pytest.mark.parametrize("method", ["bc", "pg"])
def test_a_run_that_was_stopped_goes_on_as_if_it_was_not(method: str, tmp_path: Path) -> None:
    sections = {"trace_generation": QUICK, "task_environment": TASK}
    options = {"learning_rate": 1e-3, "batch_size": 4, "save_strategy": "epoch", "scheduler_type": "constant"}

    def run(folder: str, epochs: int) -> Any:
        trainer = RouterTrainer(experiment(method, sections, max_epochs=epochs, **options), tmp_path / folder)
        trainer.resume_from("auto")
        trainer.train()
        return trainer

    run("stopped", 2)
    stopped, whole = run("stopped", 4), run("whole", 4)
    assert stopped.progress.step == whole.progress.step
    assert weights(stopped.model) == weights(whole.model)


def test_the_divergence_ends_an_episode(tmp_path: Path) -> None:
    def steps(kl_target: float) -> int:
        ppo = {"kl_target": kl_target, "ppo_epochs": 3}
        sections = {"task_environment": TASK, "policy_gradient": ppo}
        config = experiment("pg", sections, max_epochs=2, batch_size=4, learning_rate=1e-3)
        return int(RouterTrainer(config, tmp_path / str(kl_target)).train()["total_steps"])

    # Four chunks of a document.
    assert steps(1e6) == 2 * 3 * 4
    assert steps(1e-9) < 2 * 3 * 4


@pytest.mark.parametrize("kind", ["run", "bc", "pg"])
def test_weights_to_begin_with(kind: str, tmp_path: Path) -> None:
    first = RouterTrainer(experiment("bc", {"trace_generation": QUICK}, max_epochs=1, save_strategy="epoch"), tmp_path)
    first.train()
    path = first.checkpoints.latest().path  # type: ignore[union-attr]
    if kind != "run":
        prefix, key = ("", "policy_state_dict") if kind == "bc" else ("macro_policy.", "router_state_dict")
        state = {prefix + name: value for name, value in first.model.state_dict().items()}
        counters = {prefix + "hysteresis_count": torch.tensor(3), prefix + "action_history": torch.zeros(10, 5)}
        path = tmp_path / "old.pt"
        torch.save({key: state | counters | ({"flip_count": torch.tensor(1)} if prefix else {})}, path)
    policy = POLICY | {"init_from": str(path)}
    second = RouterTrainer(experiment("pg", {"macro_policy": policy, "task_environment": TASK}), tmp_path / "second")
    model = second._setup_model()
    assert weights(model) == weights(first.model)


WRONG: dict[str, tuple[str, list[str]]] = {
    "no-multiple": ("macro_policy: {hidden_dim: 30}", ["3:28: macro_policy.hidden_dim: expected a multiple of 8"]),
    "key": ("macro_policy: {hiden_dim: 32}", ["macro_policy.hiden_dim: unknown key; did you mean 'hidden_dim'?"]),
    "two-at-once": (
        "macro_policy: {dropout: 2}\npolicy_gradient: {clip_ration: 0.1}",
        ["3:25: macro_policy.dropout: expected a number at least 0", "policy_gradient.clip_ration: unknown key"],
    ),
    "section": ("macro_polcy: {hidden_dim: 32}", ["macro_polcy: unknown section; did you mean 'macro_policy'?"]),
    "method": ("training: {method: ppo}", ["training.method: expected one of bc, pg, found 'ppo'"]),
    "source": ("training: {method: pg}", ["training.batch_source: training.method: pg needs rollout, found loader"]),
    "other-source": ("training: {batch_source: rollout}", ["training.method: bc needs loader, found rollout"]),
    "task": ("task_environment: {type: prose}", ["task_environment.type: expected one of 'code', 'formal', 'multi'"]),
    "chunk": ("task_environment: {chunk_size: 128, max_sequence_length: 64}", ["expected at least one chunk"]),
    "domain": (
        "trace_generation: {domain_distribution: {coed: 1}}",
        ["trace_generation.domain_distribution.coed: unknown name; did you mean 'code'?"],
    ),
    "no-weight": ("task_environment: {task_weights: {code: 0}}", ["task_environment.task_weights: expected a weight"]),
    "scales": ("composition: {scales: [1.0]}", ["composition.scales: expected one for each of 3 experts, found 1"]),
    "layer": (
        "composition: {attachment_points: ['*attention.wo']}",
        ["composition.attachment_points: no linear layer matches '*attention.wo'; did you mean"],
    ),
    "loss-part": (
        "training: {loss_weights: {experts: 2.0}}",
        ["loss_weights.experts: the loss has no such term"],
    ),
    "start": ("macro_policy: {init_from: nowhere}", ["nowhere: there is no such checkpoint (macro_policy.init_from)"]),
    "data": (
        "data: {train_file: nowhere.jsonl}",
        ["wrong.yml:3:20: data.train_file: expected a file, found none at 'nowhere.jsonl'"],
    ),
}


@pytest.mark.parametrize(("text", "expected"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_before_training(text: str, expected: list[str], tmp_path: Path) -> None:
    file = tmp_path / "wrong.yml"
    file.write_text(f"experiment_type: router\noutput: {{output_dir: {tmp_path}/run}}\n{text}\n")
    with pytest.raises(BemError) as caught:
        RouterTrainer(load_experiment_config(file)).train()
    for part in expected:
        assert part in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_the_command_shows_no_traceback(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yml"
    file.write_text("experiment_type: router\nmacro_policy:\n  hidden_dim: 30\n")
    trainer = ["--trainer", "bem2.router.unified_trainer:RouterTrainer"]
    done = subprocess.run(
        [sys.executable, "-m", "bem_core.run", str(file), *trainer],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    expected = "wrong.yml:3:15: macro_policy.hidden_dim: expected a multiple of 8, found 30"
    assert done.stderr.splitlines()[-1] == f"error: {file.parent}/{expected}"


def test_sections_have_the_router_s_values_where_they_have_none(tmp_path: Path) -> None:
    sections = {
        "router": {"chunk_size": 32, "num_experts": 4, "hysteresis_tau": 0.1, "max_sequence_length": 96},
        "macro_policy": POLICY | {"hysteresis_tau": 0.2},
        "trace_generation": QUICK,
    }
    trainer = RouterTrainer(experiment("bc", sections, max_epochs=1), tmp_path)
    trainer.setup_training()
    settings = trainer._settings
    assert (settings.policy.num_experts, settings.policy.hysteresis_tau) == (4, 0.2)
    assert (settings.environment.chunk_size, settings.environment.max_sequence_length) == (32, 96)


def test_an_experiment_of_another_component_is_cloned_on_traces_of_its_own(tmp_path: Path) -> None:
    """The guide of the migration gives one of the performance track to this trainer."""
    config = experiment("bc", {"trace_generation": QUICK}, max_epochs=1)
    config |= {"experiment_type": "performance", "pt2": {"rank": 4}}
    assert RouterTrainer(config, tmp_path).train()["total_epochs"] == 1


def test_an_experiment_of_another_component_trains_a_router(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its own sections and metrics say nothing to a router, which has its defaults for all it needs."""
    config = load_experiment_config(
        ROOT / "experiments" / "v1_dynrank.yml", ["training.max_steps=2", "hardware.device=cpu"]
    )
    done = RouterTrainer(config, tmp_path).train()
    assert done["total_steps"] == 2
    assert "eval_action_accuracy" in done["final_metrics"]
    assert "performance is run as a router" in caplog.text
