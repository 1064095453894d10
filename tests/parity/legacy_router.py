"""Runs the old router in a process of its own: ``python legacy_router.py FOLDER JOB``, where the job is JSON.

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

from bem2.router.agentic_router import create_agentic_router
from bem2.router.composition_engine import create_composition_engine
from bem2.router.macro_policy import create_macro_policy
from bem2.router.task_environment import create_task_environment
from bem2.router.trace_generator import TraceGenerator, create_trace_generator


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def main(folder: Path, job: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    if job["phase"] == "traces":
        generator = create_trace_generator(job["policy"] | job["traces"])
        generator.generate_dataset(job["traces"]["num_traces"], output_path=str(folder / job["file"]))
        return
    seed_everything(job["seed"])
    policy = create_macro_policy(job["policy"])
    torch.save(policy.state_dict(), folder / "initial.pt")
    if job["phase"] == "bc":
        trainer = create_bc_trainer(policy, job["training"])
        arguments = [TraceGenerator.load_traces(job[name]) for name in ("train", "validation")]
    else:
        router = create_agentic_router({}, policy, create_composition_engine({}))
        trainer = create_pg_trainer(router, job["training"])
        arguments = [create_task_environment(job["environment"]), job["episodes"]]
    save = trainer._save_checkpoint

    def save_and_seed(output_dir: str, filename: str) -> None:
        save(output_dir, filename)
        if filename == job.get("joint"):
            seed_everything(job["joint_seed"])

    trainer._save_checkpoint = save_and_seed
    with recording(folder / "record.pt"):
        results = trainer.train(*arguments, output_dir=str(folder))
    torch.save(policy.state_dict(), folder / "final.pt")
    (folder / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
