"""The old router's commands run, with their flags, one on what the other left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from tests.router.jobs import POLICY, TESTS

REPO = TESTS / "legacy_repo"
TINY = {
    "macro_policy": POLICY,
    "composition": {"spectral_budget": 2.0},
    "router": {"chunk_size": 64},
    "trace_generation": {"num_traces": 8, "chunk_size": 64, "max_chunks_per_trace": 3},
    "environment": {"type": "multi", "max_sequence_length": 128, "chunk_size": 64},
    "training": {"batch_size": 4, "learning_rate": "3e-4", "num_epochs": 1, "num_episodes": 2},
    "train_eval_split": 0.75,
    "eval_batch_size": 1,
    "eval_seq_len": 64,
    "eval_batches": 1,
}


def run(root: str, *command: str) -> str:
    # `src` is always there: our packages have the same names, and are installed.
    path = os.pathsep.join([str(REPO / root), str(REPO / "src")])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    arguments = [sys.executable, "-W", "ignore", *command]
    done = subprocess.run(arguments, cwd=REPO, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_commands_from_traces_to_a_report(tmp_path: Path) -> None:
    traces, out = tmp_path / "traces.jsonl", str(tmp_path / "run")
    made = ("--num_traces", "8", "--chunk_size", "64", "--max_chunks", "3", "--domain_dist", "Code:0.5,Safety:0.5")
    run("src", "src/bem2/router/synthesize_traces.py", "--out", str(traces), *made)
    assert len(traces.read_text().splitlines()) == 8

    config = tmp_path / "tiny.yml"
    config.write_text(yaml.safe_dump(TINY))
    module = ("-m", "bem2.router.train_agentic_router", "--config", str(config), "--output_dir", out)
    printed = run("src", *module, "--phase", "both", "--device", "cpu", "--log_level", "WARNING", "--seed", "1")
    assert json.loads(printed)["cache_safety_rate"] == 1.0
    files = {path.name for path in Path(out).iterdir()}
    assert {"best_model.pt", "checkpoint_epoch_0.pt", "final_model.pt"} < files
    assert {"checkpoint_episode_0.pt", "final_policy.pt"} < files

    again = ("--checkpoint", f"{out}/final_model.pt", "--output", str(tmp_path / "again"))
    run(".", "-m", "src.bem2.train_agentic_router", "--phase", "pg", "--config", str(config), *again)
    saved = torch.load(tmp_path / "again" / "final_policy.pt", weights_only=True)
    keys = "router_state_dict policy_optimizer_state_dict step episode config kl_target clip_ratio"
    assert list(saved) == keys.split()

    models = ("--model", f"{out}/final_policy.pt", "--baseline", f"{out}/final_model.pt")
    report = ("--config", str(config), "--out", str(tmp_path / "report"), "--device", "cpu")
    run("src", "src/bem2/evaluate_agentic_router.py", *models, *report)
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert summary["accepted"] == {"p95_ms": True}
    assert set(summary) == {"router", "baseline", "accepted"}
