"""The trainings of `legacy_router` by the unified trainer: python -m tests.parity.unified_router FOLDER PHASE TRACES.

Pairs such as ``max_grad_norm=0.5`` change options of the training; with ``resume=FILE`` it goes on from a checkpoint of
the old trainer.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from bem2.router.unified_trainer import RouterTrainer
from bem_core.utils.seeding import seed_everything
from tests.parity import router_task as task
from tests.parity.options import options_of
from tests.router.jobs import experiment

NO_JOINT = 10**9
# What the old trainer had fixed.
PPO = {
    "entropy_coeff": 0.0,
    "value_target": "reward_plus_advantage",
    "minibatches": "steps",
    "kl_window": task.BATCH,
    "kl_target": task.KL_TARGET,
}


class Reseeding(RouterTrainer):
    """Seeds the generators at the beginning of an epoch, as the old run was at the joint."""

    joint = NO_JOINT

    def _batches(self, start: int) -> Any:
        if self.progress.epoch == self.joint:
            seed_everything(task.JOINT_SEED)
        return super()._batches(start)


def trainer_of(phase: str, folder: Path, joint: int, traces: Path | None = None, **training: Any) -> RouterTrainer:
    """Return the trainer for the settings of `router_task`."""
    given: dict[str, Any] = {"seed": task.SEED}
    files: dict[str, str] = {}
    if phase == "bc":
        assert traces is not None
        given |= {"max_epochs": task.EPOCHS, **task.BC}
        files = {f"{name}_file": file for name, file in task.files(traces).items()}
    else:
        given |= {"max_epochs": task.EPISODES, **task.PG}
    sections = {"compat": "legacy", "data": files, "task_environment": task.ENVIRONMENT, "policy_gradient": PPO}
    config = experiment(phase, sections, **given | training)
    if phase == "bc":
        # Left to the options of the old trainer.
        del config["training"]["eval_strategy"]
    kind = type("Joined", (Reseeding,), {"joint": joint})
    made: RouterTrainer = kind(config, folder)
    return made


def main(folder: Path, phase: str, traces: Path, *given: str) -> RouterTrainer:
    """Train, and return the trainer: what it holds at the end is recorded while it is there."""
    options = options_of(given)
    file = options.pop("resume", None)
    trainer = trainer_of(phase, folder, task.DONE[phase] if file else NO_JOINT, traces, **options)
    if file:
        trainer.resume_from(Path(file))
    trainer.train()
    return trainer


if __name__ == "__main__":
    kept = main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), *sys.argv[4:])
