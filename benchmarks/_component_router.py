"""The router's cases of `component_steps.py`: a number of steps of each phase, with the old trainer and with ours."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

_POLICY = {
    "chunk_summary_dim": 96,
    "retrieval_dim": 32,
    "vision_dim": 32,
    "value_dim": 16,
    "hidden_dim": 64,
    "num_layers": 2,
}
_TRACES: dict[str, Any] = {"num_traces": 200, "chunk_size": 64, "max_chunks_per_trace": 8}
_TASK = {"max_sequence_length": 640, "chunk_size": 64}
_BATCH = 32
# Steps of an epoch of cloning, and of an episode: four passes over ten chunks.
_EPOCH, _EPISODE = 30, 40


def _old(phase: str, steps: int, folder: Path) -> None:
    """Train with the old trainer."""
    from src.bem2.router.agentic_router import create_agentic_router
    from src.bem2.router.composition_engine import create_composition_engine
    from src.bem2.router.macro_policy import create_macro_policy
    from src.bem2.router.task_environment import create_task_environment
    from src.bem2.router.trace_generator import create_trace_generator
    from src.bem2.router.training import create_bc_trainer, create_pg_trainer

    policy = create_macro_policy(_POLICY)
    # Without a limit on the divergence both sides do all passes.
    options = {"batch_size": _BATCH, "num_epochs": -(-steps // _EPOCH), "warmup_steps": 10, "kl_target": 1e9}
    if phase == "bc":
        traces = create_trace_generator(_POLICY | _TRACES).generate_dataset(_TRACES["num_traces"])
        create_bc_trainer(policy, options).train(traces)
    else:
        router = create_agentic_router({}, policy, create_composition_engine({}))
        episodes = -(-steps // _EPISODE)
        create_pg_trainer(router, options).train(create_task_environment(_TASK), num_episodes=episodes)


def _new(phase: str, steps: int, folder: Path) -> None:
    """Train with ours."""
    from bem2.router.unified_trainer import RouterTrainer

    loop = {"bc": {"batch_source": "loader"}, "pg": {"batch_source": "rollout"}}[phase]
    common = {"method": phase, "max_steps": steps, "batch_size": _BATCH, "eval_strategy": "no", "save_strategy": "no"}
    config = {
        "experiment_type": "router",
        "training": common | loop | {"scheduler_type": "constant"},
        "macro_policy": _POLICY,
        "trace_generation": _TRACES,
        "task_environment": _TASK,
        "policy_gradient": {"kl_target": 1e9},
        "hardware": {"device": "cpu"},
    }
    RouterTrainer(config, folder / "run").train()


#: Goal and both sides by name.
CASES = {f"router {phase}": (1.0, partial(_old, phase), partial(_new, phase)) for phase in ("bc", "pg")}
