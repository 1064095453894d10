"""What the old and the new training of the router have in common: sizes and settings.

It imports nothing of the components, so both sides can use it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

POLICY: dict[str, Any] = {
    "chunk_summary_dim": 30,
    "retrieval_dim": 8,
    "vision_dim": 8,
    "value_dim": 8,
    "hidden_dim": 32,
    "num_layers": 1,
}
EPOCHS, EPISODES, BATCH, SEED = 12, 14, 8, 7
BC: dict[str, Any] = {"batch_size": BATCH, "learning_rate": 3e-3, "warmup_steps": 30}
PG: dict[str, Any] = {"batch_size": BATCH, "learning_rate": 1e-3}
KL_TARGET = 0.05
ENVIRONMENT = {"type": "multi", "max_sequence_length": 512, "chunk_size": 64}
# Where one run ends and another goes on, with other random numbers.
JOINTS = {"bc": "checkpoint_epoch_5.pt", "pg": "checkpoint_episode_6.pt"}
JOINT_SEED = 99
# Epochs or episodes before the checkpoint that the resumed cases go on from; in the warm-up of the learning rate.
DONE = {"bc": 1, "pg": 7}


def trace_jobs() -> list[dict[str, Any]]:
    """Return jobs for the old generator of traces; those for validation fill whole batches."""
    return [
        {
            "phase": "traces",
            "policy": POLICY,
            "traces": {"num_traces": count, "chunk_size": 64, "max_chunks_per_trace": most, "seed": seed},
            "file": f"{file}.jsonl",
        }
        for file, count, most, seed in (("train", 30, 10, 1), ("validation", 20, 2, 2))
    ]


def files(folder: Path) -> dict[str, str]:
    """Return where the traces are."""
    return {name: str(folder / f"{name}.jsonl") for name in ("train", "validation")}


def training_job(phase: str, traces: Path | None = None, **more: Any) -> dict[str, Any]:
    """Return the job of a training by the old trainer."""
    training = {"bc": BC | {"num_epochs": EPOCHS}, "pg": PG | {"kl_target": KL_TARGET, "save_every": 6}}[phase]
    common = {"phase": phase, "seed": SEED, "policy": POLICY, "joint": JOINTS[phase], "joint_seed": JOINT_SEED}
    own: dict[str, Any] = (
        {"environment": ENVIRONMENT, "episodes": EPISODES} if phase == "pg" else files(traces or Path())
    )
    return common | own | {"training": training} | more


def resumed_job(phase: str, traces: Path) -> dict[str, Any]:
    """Return the job of the part after the joint; no step depends on the number of its epoch or episode."""
    job = training_job(phase, traces)
    if phase == "pg":
        return job | {"episodes": EPISODES - DONE[phase]}
    return job | {"training": job["training"] | {"num_epochs": EPOCHS - DONE[phase]}}
