"""Runs the old router in a process of its own: ``python legacy_router.py FOLDER JOB``, where the job is JSON.

``python legacy_router.py FOLDER bare PHASE [TRACES]`` trains as `router_task` says, without a record;
``... FOLDER resume FILE PHASE [TRACES]`` goes on from one of its checkpoints; and ``... FOLDER traces`` makes the
traces for these.

FOLDER gets ``record.pt`` (see `recording`), ``initial.pt`` and ``final.pt`` (state dicts), ``results.json`` (what the
trainer returned), and the checkpoints of the trainer. With ``joint`` the generators are seeded anew after the
checkpoint of that name, as for a run that goes on from it.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bem2.router.training import create_bc_trainer, create_pg_trainer
from recording import recording
from router_task import resumed_job, trace_jobs, training_job

from bem2.router.agentic_router import create_agentic_router
from bem2.router.composition_engine import create_composition_engine
from bem2.router.macro_policy import create_macro_policy
from bem2.router.task_environment import create_task_environment
from bem2.router.trace_generator import TraceGenerator, create_trace_generator


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def make_traces(folder: Path, job: dict[str, Any]) -> None:
    generator = create_trace_generator(job["policy"] | job["traces"])
    generator.generate_dataset(job["traces"]["num_traces"], output_path=str(folder / job["file"]))


def trainer_of(job: dict[str, Any]) -> tuple[Any, list[Any]]:
    """Return the trainer and the arguments of its method ``train``."""
    seed_everything(job["seed"])
    policy = create_macro_policy(job["policy"])
    if job["phase"] == "bc":
        traces = [TraceGenerator.load_traces(job[name]) for name in ("train", "validation")]
        return create_bc_trainer(policy, job["training"]), traces
    router = create_agentic_router({}, policy, create_composition_engine({}))
    return create_pg_trainer(router, job["training"]), [create_task_environment(job["environment"]), job["episodes"]]


def take_over(trainer: Any, file: Path) -> None:
    """Load what a checkpoint of the trainer has; the old trainers cannot go on by themselves."""
    saved = torch.load(file, weights_only=False)
    if "router_state_dict" in saved:
        trainer.router.load_state_dict(saved["router_state_dict"])
        trainer.policy_optimizer.load_state_dict(saved["policy_optimizer_state_dict"])
    else:
        trainer.policy.load_state_dict(saved["policy_state_dict"])
        trainer.optimizer.load_state_dict(saved["optimizer_state_dict"])
        trainer.scheduler.load_state_dict(saved["scheduler_state_dict"])
        trainer.best_eval_loss = saved["best_eval_loss"]
    trainer.step = saved["step"]


def train_bare(folder: Path, job: dict[str, Any], file: Path | None = None) -> Any:
    """Train, with checkpoints.

    Args:
        folder: The output folder.
        job: What is trained.
        file: A checkpoint to go on from, with other random numbers.
    """
    trainer, arguments = trainer_of(job)
    if file is not None:
        take_over(trainer, file)
        seed_everything(job["joint_seed"])
    trainer.train(*arguments, output_dir=str(folder))
    return trainer


def train_recorded(folder: Path, job: dict[str, Any]) -> None:
    trainer, arguments = trainer_of(job)
    torch.save(trainer.policy.state_dict(), folder / "initial.pt")
    save = trainer._save_checkpoint

    def save_and_seed(output_dir: str, filename: str) -> None:
        save(output_dir, filename)
        if filename == job.get("joint"):
            seed_everything(job["joint_seed"])

    trainer._save_checkpoint = save_and_seed
    with recording(folder / "record.pt"):
        results = trainer.train(*arguments, output_dir=str(folder))
    torch.save(trainer.policy.state_dict(), folder / "final.pt")
    (folder / "results.json").write_text(json.dumps(results))


def main(folder: Path, word: str, *more: str) -> Any:
    """Do it; return a bare run's trainer: what it holds at the end is seen while it is there."""
    torch.set_num_threads(1)
    if word == "traces":
        for job in trace_jobs():
            make_traces(folder, job)
    elif word == "bare":
        return train_bare(folder, training_job(more[0], Path(more[-1])))
    elif word == "resume":
        return train_bare(folder, resumed_job(more[1], Path(more[-1])), Path(more[0]))
    else:
        job = json.loads(word)
        (make_traces if job["phase"] == "traces" else train_recorded)(folder, job)
    return None


if __name__ == "__main__":
    kept = main(Path(sys.argv[1]), *sys.argv[2:])
