"""Both phases learn: what an untrained policy cannot do, and what shuffled inputs undo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bem2.router.evaluation import RouterEvaluator
from bem2.router.macro_policy import MacroPolicyState
from bem2.router.settings import PolicyConfig
from bem2.router.unified_trainer import RouterTrainer
from tests.router.jobs import POLICY, experiment

STILL = POLICY | {"dropout": 0.0}
# The domain changes from chunk to chunk, so the last action tells nothing of the next one.
TRACES = {"num_traces": 160, "chunk_size": 64, "max_chunks_per_trace": 8, "domain_distribution": {"mixed": 1.0}}
TASK = {"type": "multi", "max_sequence_length": 640, "chunk_size": 64, "eval_episodes": 64}
PPO = {"kl_target": 0.02, "discount_factor": 0.5}


@pytest.fixture(scope="module")
def cloned(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a trainer of the first phase after its training, and its metrics before."""
    sections = {"macro_policy": STILL, "trace_generation": TRACES}
    training = {"learning_rate": 3e-3, "batch_size": 32, "max_epochs": 12, "scheduler_type": "cosine"}
    config = experiment("bc", sections, save_strategy="epoch", **training)
    trainer = RouterTrainer(config, tmp_path_factory.mktemp("cloned"))
    trainer.setup_training()
    before = trainer.evaluate()
    trainer.train()
    return trainer, before


def test_a_cloned_policy_imitates_the_traces(cloned: Any) -> None:
    trainer, before = cloned
    after = trainer.evaluate()
    assert before["eval_action_accuracy"] < 0.3
    assert before["eval_bias_error"] > 0.15
    assert after["eval_action_accuracy"] > 0.9
    assert after["eval_bias_error"] < 0.1


class Shuffled(RouterEvaluator):
    """Shows each chunk's content with the action of another one."""

    def _run_inference(self, batch: Any) -> Any:
        state = batch["state"]
        order = torch.randperm(len(batch["action"]), generator=torch.Generator().manual_seed(0))
        content = {name: getattr(state, name)[order] for name in ("chunk_summary", "value_features")}
        return super()._run_inference(batch | {"state": state._replace(**content)})


def test_imitation_needs_the_content_of_the_chunk(cloned: Any) -> None:
    trainer, _ = cloned
    found = Shuffled(trainer.model).evaluate(trainer.eval_dataloader).metrics
    assert found["expert_accuracy"] < 0.6
    assert found["action_accuracy"] < 0.5


@pytest.fixture(scope="module")
def rewarded(cloned: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a trainer of the second phase after its training, and its metrics before, with the cloned weights."""
    start = {"init_from": str(cloned[0].checkpoints.latest().path)}
    sections = {"macro_policy": STILL | start, "task_environment": TASK, "policy_gradient": PPO}
    config = experiment("pg", sections, learning_rate=1e-3, batch_size=64, max_epochs=50)
    trainer = RouterTrainer(config, tmp_path_factory.mktemp("rewarded"))
    trainer.setup_training()
    before = trainer.evaluate()
    trainer.train()
    return trainer, before


def test_policy_gradient_earns_more_than_the_cloned_policy(rewarded: Any) -> None:
    trainer, before = rewarded
    after = trainer.evaluate()
    assert before["eval_reward"] == pytest.approx(0.79, abs=0.02)
    assert after["eval_reward"] > before["eval_reward"] + 0.05
    assert after["eval_performance"] > 0.95


def test_an_untrained_policy_earns_little(tmp_path: Path) -> None:
    sections = {"macro_policy": STILL, "task_environment": TASK}
    trainer = RouterTrainer(experiment("pg", sections, max_epochs=1), tmp_path)
    assert trainer.evaluate()["eval_reward"] < 0.65


def states(size: int, config: PolicyConfig) -> MacroPolicyState:
    """Return states with something in each feature."""
    widths = (config.chunk_summary_dim, config.retrieval_dim, config.vision_dim, config.value_dim)
    actions = torch.tensor([[1.0, 1.0, 2.0, 16.0, 0.9]]).expand(size, -1)
    return MacroPolicyState(*(torch.randn(size, width) for width in widths), actions, torch.arange(size))


@pytest.mark.parametrize(("phase", "idle"), [("bc", "value_head"), ("pg", "bias_head")])
def test_gradients_reach_all_that_a_phase_trains(phase: str, idle: str, tmp_path: Path) -> None:
    """Values are not imitated, and the bias scale is not drawn, so it has no probability to change."""
    trainer = RouterTrainer(
        experiment(phase, {"macro_policy": STILL, "task_environment": TASK}, max_epochs=1), tmp_path
    )
    trainer.setup_training()
    policy: Any = trainer.model
    # Its weights begin at zero, which would keep the gradient of the bias from all that comes before.
    nn.init.normal_(policy.bias_head.weight, std=0.01)
    actions = torch.tensor([[0.0, 0.0, 1.0, 8.0, 1.5]] * 4 + [[2.0, 1.0, 3.0, 64.0, 0.5]] * 4)
    batch: dict[str, Any] = {"state": states(8, policy.config), "action": actions, "actions": actions}
    output = trainer._forward(batch)
    batch |= {"log_probs": output.log_prob(actions).detach() - 0.1}
    batch |= {"advantages": torch.randn(8), "targets": torch.ones(8)}
    trainer._compute_loss(batch, output)["loss"].backward()
    for name, parameter in policy.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.abs().max() > 0)
        assert reached == parameter.requires_grad == (not name.startswith(idle)), name


def test_the_task_needs_the_content_of_the_chunk(rewarded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, _ = rewarded
    observe = trainer._task.observe

    def shuffled(documents: Any, step: int, prev_action: Any) -> MacroPolicyState:
        scores = documents.scores[1:] + documents.scores[:1]
        return observe(documents._replace(scores=scores), step, prev_action)

    monkeypatch.setattr(trainer._task, "observe", shuffled)
    assert trainer.evaluate()["eval_reward"] < 0.65
